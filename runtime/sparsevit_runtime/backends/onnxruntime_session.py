"""How a file becomes a session of ONNX Runtime: providers, settings, and the custom ops where it runs on CUDA."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from ..custom_ops import OpsInUse, OpsLibrary, find_ops
from ..errors import BackendError, CardError, ModelError
from ..graph.host_counts import KIND, with_host_counts
from ..graph.onnx_file import OnnxFile, read_onnx
from ..texts import RENAME, is_unicode, shown

_log = logging.getLogger(__name__)

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_FATAL = 4  # log severity: what goes wrong is raised, not printed
#: How long an idle worker spins before it sleeps. ONNX Runtime's own choice (1 ms) takes whole cores from capture and
#: drawing, and halves the speed beside another busy process; no spinning slows the bare session by a seventh.
_SPIN_US = "50"
#: ONNX Runtime lays out memory for the second run by what it saw in the first. Its releases of this line have values of
#: our graphs share some that are needed at the same time: from the second run on windows are not ranked any more.
_WRONG_PATTERNS = "1.18."
#: Reasons for running without custom ops that this process has said.
_SAID: set[str] = set()


@dataclass(frozen=True)
class SessionSettings:
    """How a session is made.

    Attributes:
        threads: intra-op threads, no more than there are logical cores; None for one per physical core.
        device: ``cpu``, ``cuda``, or None for CUDA when this ONNX Runtime offers it, else the CPU.
        portable: no custom ops.
        plugins: path of the library of custom ops; None for the one that is found.
        precision: precision of the products of an fp32 graph on CUDA; ONNX Runtime's own choice is ``tf32``.
        graphs: whether runs may be recorded as CUDA graphs, where the file allows it (`onnxruntime_graphs`).
        optimised: path that the graph is written to as it is run; None for nowhere.
    """

    threads: int | None = None
    device: str | None = None
    portable: bool = False
    plugins: Path | None = None
    precision: Literal["exported", "tf32"] = "exported"
    graphs: bool = False
    optimised: Path | None = None


@dataclass(frozen=True)
class OpenedSession:
    """A session.

    Attributes:
        session: ONNX Runtime's own.
        on_cuda: whether it runs on CUDA.
        ops: what the custom ops do in it.
        graphs: whether it records CUDA graphs.
    """

    session: Any
    on_cuda: bool
    ops: OpsInUse
    graphs: bool = False


def open_session(ort: ModuleType, path: Path, settings: SessionSettings) -> OpenedSession:
    """Opens a model file.

    Raises:
        ModelError: it is missing, broken, or no model.
        BackendError: the device is not available here, or the library of custom ops that was asked for is not usable.
    """
    providers = _providers(ort, settings.device)
    if settings.threads is not None and settings.threads < 1:
        raise BackendError(f"threads is {settings.threads}; give at least 1, or leave it out for one per physical core")
    if not path.is_file():
        raise ModelError(f"no model file {path}; check the path, or make one with `sparsevit export`")
    if not is_unicode(str(path)):
        raise ModelError(f"cannot open {shown(str(path))}: {RENAME}")
    on_cuda = CUDA in providers
    file = _read(path) if on_cuda else None
    library, reason = _library(settings, file) if on_cuda else (None, "they run on CUDA")
    given = _with_settings(providers, settings)
    if library is not None and file is not None:
        try:
            session, graphs = _open_with(ort, path, settings, file, library, given)
            started = session.get_providers()[0] == CUDA
            return OpenedSession(session, started, OpsInUse.of(library, file.nodes), started and graphs)
        except error_types(ort) as error:
            # A session that cannot start on CUDA has no place for them either: without them it runs on the CPU.
            reason = f"{library.path} cannot be used: {error}"
    try:
        session = _open(ort, path, _options(ort, settings, file, None), given)
    except error_types(ort) as error:
        _check_weights(path)
        raise ModelError(
            f"ONNX Runtime cannot open {path} ({path.stat().st_size} bytes): {error}. The file is truncated or not an "
            "ONNX model; copy or export it again"
        ) from error
    started = session.get_providers()[0] == CUDA
    if started and library is not None and settings.plugins is not None:
        raise BackendError(f"{reason}; leave it out, or load the model as portable")
    if started and not settings.portable and reason not in _SAID and file is not None and file.nodes:
        _SAID.add(reason)
        _log.warning("models run on CUDA without this project's kernels, slower: %s", reason)
    return OpenedSession(session, started, OpsInUse(others=file.nodes if file else (), reason=reason))


def session_options(ort: ModuleType, threads: int | None) -> Any:
    """Options that all sessions have in common."""
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    # More than there are cores help nobody; and where memory ends before all have begun, ONNX Runtime waits for ever.
    options.intra_op_num_threads = min(threads, os.cpu_count() or threads) if threads else 0
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    if ort.__version__.startswith(_WRONG_PATTERNS):
        options.enable_mem_pattern = False
    return options


def error_types(ort: ModuleType) -> tuple[type[Exception], ...]:
    """ONNX Runtime's own exceptions have no common base below Exception."""
    state = ort.capi.onnxruntime_pybind11_state
    own = [t for t in vars(state).values() if isinstance(t, type) and issubclass(t, Exception)]
    return (*own, RuntimeError, ValueError, OSError)


def _providers(ort: ModuleType, device: str | None) -> list[str]:
    available = ort.get_available_providers()
    if device not in (None, "cpu", "cuda"):
        raise BackendError(f"no device {device!r}; choose cpu or cuda, or leave it out")
    if device == "cuda" and CUDA not in available:
        raise BackendError(
            f"this onnxruntime {ort.__version__} has no CUDA (it offers {', '.join(available)}). x86: pip uninstall "
            "onnxruntime, then pip install onnxruntime-gpu. Jetson: install NVIDIA's onnxruntime-gpu wheel"
        )
    return [CUDA, CPU] if device != "cpu" and CUDA in available else [CPU]


def _with_settings(providers: list[str], settings: SessionSettings) -> list[str | tuple[str, dict[str, str]]]:
    """ONNX Runtime rounds the factors of an fp32 graph's products to TF32 unless it is told not to."""
    tf32 = "1" if settings.precision == "tf32" else "0"
    return [(name, {"use_tf32": tf32}) if name == CUDA else name for name in providers]


def _library(settings: SessionSettings, file: OnnxFile | None) -> tuple[OpsLibrary | None, str]:
    """The library to give to a session on CUDA, or why there is none."""
    if settings.portable:
        return None, "the model was loaded as portable"
    if file is None or not file.nodes:
        return None, "the file has no nodes for them"
    try:
        return find_ops(settings.plugins), ""
    except BackendError as error:
        if settings.plugins is not None:
            raise
        return None, str(error)


def _options(ort: ModuleType, settings: SessionSettings, file: OnnxFile | None, library: OpsLibrary | None) -> Any:
    """Options of a session with these ops, or without."""
    options = session_options(ort, settings.threads)
    if settings.optimised is not None:
        options.optimized_model_filepath = str(settings.optimised)
    if library is not None:
        options.register_custom_ops_library(str(library.path))
    replaced = library is not None and file is not None and set(file.nodes) <= set(library.nodes)
    if file is not None and file.repeats_shapes and not replaced:
        options.enable_mem_reuse = False
        _log.warning(
            "%s was exported by an earlier version, whose shapes ONNX Runtime mixes up on CUDA: it runs right, without "
            "reuse of memory, but slower. Export it again: sparsevit export %s -o NEW.onnx",
            file.path.name, file.path.name,
        )  # fmt: skip
    return options


def _open_with(
    ort: ModuleType,
    path: Path,
    settings: SessionSettings,
    file: OnnxFile,
    library: OpsLibrary,
    providers: list[str | tuple[str, dict[str, str]]],
) -> tuple[Any, bool]:
    """A session with custom ops, and whether it records CUDA graphs.

    That takes every node on the GPU but those that compute shapes, and no copy back from there: portable bodies have
    other nodes, and counts of `keep` come back unless `KeepCount` reads them.
    """
    model: Path | bytes = path
    counts = file.card.windows.fixed is None
    if counts and KIND in library.nodes and KIND not in file.nodes and not file.weights:
        model = with_host_counts(file.data)
    if settings.graphs and (KIND in library.nodes or not counts):
        recording = [(p[0], {**p[1], "enable_cuda_graph": "1"}) if isinstance(p, tuple) else p for p in providers]
        try:
            return _open(ort, model, _options(ort, settings, file, library), recording), True
        except error_types(ort) as error:  # another version of ONNX Runtime may place nodes otherwise
            _log.info("%s runs without CUDA graphs: %s", path.name, error)
    return _open(ort, model, _options(ort, settings, file, library), providers), False


def _open(ort: ModuleType, model: Path | bytes, options: Any, providers: list[str | tuple[str, dict[str, str]]]) -> Any:
    given = model if isinstance(model, bytes) else os.fspath(model)
    return ort.InferenceSession(given, options, providers=providers)


def _read(path: Path) -> OnnxFile | None:
    """A file that does not read is left to the session, which says what is wrong."""
    try:
        return read_onnx(path)
    except (ModelError, CardError):
        return None


def _check_weights(path: Path) -> None:
    """Raises ModelError where what is wrong with a file are its weights in other files."""
    file = _read(path)
    if file is not None:
        file.weight_files()
