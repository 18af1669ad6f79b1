"""What differs between TensorRT 10.3 to 11.x and TensorRT for RTX, found by asking the module, never by its version.

`trt` is the imported module throughout: ``tensorrt`` or ``tensorrt_rtx``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RTX = "tensorrt_rtx"
#: Python modules, the first installed one is used.
FLAVOURS = ("tensorrt", RTX)
#: The name by which RTX's parser opens its core, and the file in the wheel.
_RTX_CORE, _RTX_CORE_FILE = "libtensorrt_rtx.so", "libtensorrt_rtx.so.1"


def launch_environment(flavour: str, folder: Path) -> dict[str, str]:
    """Environment for a process that is to use the ONNX parser.

    The wheel of TensorRT for RTX lacks the name by which its parser opens its core, and the parser ends the process
    where it does not find it. The loader reads its search path when a process starts, so links to the wheel's own file
    have to be there before.

    Args:
        flavour: the Python module.
        folder: an empty folder that lives as long as the process.
    """
    environment = dict(os.environ)
    if flavour != RTX or _opens(_RTX_CORE):
        return environment
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        core = Path(place) / _RTX_CORE_FILE
        if core.is_file():
            for name in (_RTX_CORE, _RTX_CORE_FILE):
                (folder / name).symlink_to(core)
            paths = [str(folder), environment.get("LD_LIBRARY_PATH", "")]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(p for p in paths if p)
    return environment


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def parser_finds_its_core(trt: Any) -> bool:
    """Whether creating an ONNX parser is safe."""
    return trt.__name__ != RTX or _opens(_RTX_CORE)


def network_flags(trt: Any) -> int:
    """Flags of a strongly typed network; such networks are all there is where the flag is gone."""
    flags = getattr(trt, "NetworkDefinitionCreationFlag", None)
    strongly_typed = getattr(flags, "STRONGLY_TYPED", None)
    return 0 if strongly_typed is None else 1 << int(strongly_typed)


def set_tf32(trt: Any, config: Any, allowed: bool) -> None:
    """TensorRT's own default is to allow it."""
    flag = getattr(trt.BuilderFlag, "TF32", None)
    if flag is not None:
        (config.set_flag if allowed else config.clear_flag)(flag)


def has_aliased_plugins(trt: Any) -> bool:
    """Whether a plugin may write into its input: a preview feature, from TensorRT 10.3 on."""
    return hasattr(getattr(trt, "PreviewFeature", None), "ALIASED_PLUGIN_IO_10_03")


def allow_aliased_plugins(trt: Any, config: Any) -> None:
    """Lets scatters work in place; only where `has_aliased_plugins`."""
    config.set_preview_feature(trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03, True)


def keep_layer_details(trt: Any, config: Any) -> None:
    """Makes the engine remember what its layers were made of, for profiles; it runs no slower."""
    details = getattr(getattr(trt, "ProfilingVerbosity", None), "DETAILED", None)
    if details is not None and hasattr(config, "profiling_verbosity"):
        config.profiling_verbosity = details


def set_values(profile: Any, tensor: Any, low: list[int], typical: list[int], high: list[int]) -> bool:
    """Sets the profile of an input: of its values where they decide shapes, of its shape otherwise.

    Returns:
        Whether the bounds could be set.
    """
    set_range = profile.set_shape_input if tensor.is_shape_tensor else profile.set_shape
    try:
        return set_range(tensor.name, low, typical, high) is not False
    except (ValueError, RuntimeError):  # some versions answer, others raise; 10.3 what pybind makes of any exception
        return False


def creator_namespaces(registry: Any, name: str, version: str) -> set[str]:
    """The namespaces in which a plugin is registered. `get_creator` would log an error where it is not."""
    for attribute in ("all_creators", "plugin_creator_list"):
        creators = getattr(registry, attribute, None)
        if creators is not None:
            return {c.plugin_namespace for c in creators if (c.name, c.plugin_version) == (name, version)}
    return set()


def set_monitor(trt: Any, config: Any, report: Callable[[str, int, int], None]) -> None:
    """Reports progress as (phase, steps done, steps), where TensorRT has a progress monitor.

    Phases nest; each is reported for itself.
    """
    if not hasattr(trt, "IProgressMonitor") or not hasattr(config, "progress_monitor"):
        return

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            report(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            report(phase_name, step + 1, self._steps.get(phase_name, step + 1))
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps = self._steps.pop(phase_name, 0)
            report(phase_name, steps, steps)

    config.progress_monitor = Monitor()


def has_timing_cache(flavour: str) -> bool:
    """Whether a timing cache does anything: RTX takes one, ignores it, and gives back what it does not read again."""
    return flavour != RTX


def set_timing_cache(config: Any, data: bytes) -> bool:
    """Gives the builder a timing cache, empty or of an earlier build.

    Returns:
        False where TensorRT does not take it: another version or GPU made it.
    """
    cache = config.create_timing_cache(data)
    return cache is not None and bool(config.set_timing_cache(cache, False))


def timing_cache(config: Any) -> bytes:
    """The timing cache after a build; empty where there is none."""
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(cache.serialize())


def parser_error(error: Any) -> str:
    """One line for one of the parser's errors: the node's type and name, and what is wrong with it."""
    node, name = (getattr(error, attribute, str)() for attribute in ("node_operator", "node_name"))
    where = " ".join(part for part in (node, f"'{name}'" if name else "") if part)
    text = " ".join(str(error.desc()).split())
    return f"{where}: {text}" if where else text


def numpy_type(dtype: Any) -> np.dtype[Any] | None:
    """NumPy's type of a tensor; None for one that it does not have."""
    return _NUMPY_TYPES.get(dtype.name)


_NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "INT64": np.dtype(np.int64),
    "INT32": np.dtype(np.int32),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def context_maker(trt: Any, engine: Any) -> Callable[[], Any]:
    """What makes execution contexts of an engine that have no memory for activations; it is lent to them.

    TensorRT for RTX compiles kernels for every context anew. A cache in memory lets the later ones have what the first
    one compiled.

    Returns:
        A function; it returns None where TensorRT makes no context.
    """
    strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
    if not hasattr(getattr(trt, "IRuntimeConfig", None), "create_runtime_cache"):
        return lambda: engine.create_execution_context(strategy)
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(strategy)
    cache = config.create_runtime_cache()
    config.set_runtime_cache(cache)

    held = config, cache  # the cache lives as long as what needs it

    def make() -> Any:
        return engine.create_execution_context(held[0])

    return make


def capture_obstacle(context: Any, stream: int) -> str | None:
    """Why the work of an execution context cannot be recorded in a CUDA graph, where it can say so; None otherwise.

    TensorRT for RTX still compiles kernels for new shapes while it runs, and tells.
    """
    asked = getattr(context, "is_stream_capturable", None)
    return None if asked is None or asked(stream) else "TensorRT says that its work cannot be captured here"


def make_profiler(trt: Any, report: Callable[[str, float], None]) -> Any:
    """A profiler for an execution context; `report` gets each layer's name and milliseconds."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            report(layer_name, ms)

    return Profiler()
