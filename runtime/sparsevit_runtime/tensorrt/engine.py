"""An engine file, opened on the GPU."""

from __future__ import annotations

import importlib.util
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contract import IMAGE, KEEP, TensorSpec
from ..cuda import CudaRuntime
from ..dependencies import missing, require
from ..errors import BackendError, BuildError, ModelError
from ..tasks import task_of
from . import capabilities
from .engine_card import NO_GPU, EngineCard, read_sidecar, sha256
from .log import process_log
from .plugin_library import PLUGIN_NAMES, PLUGIN_NAMESPACE, PLUGIN_VERSION, find_plugins_to_run

_loading = threading.Lock()  # of plugin libraries
_brought: set[str] = set()  # TensorRT modules that a library was loaded into; one of before has no namespace to tell by
_AGAIN = "build the engine again on this device with `sparsevit build`"


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine.

    Attributes:
        name: name as in the model file.
        dtype: type of its elements.
        on_host: the engine reads it from the host's memory, because its values decide shapes.
        shape: shape of one frame's, without the batch; -1 for sizes that the engine tells later.
    """

    name: str
    dtype: np.dtype
    on_host: bool
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Engine:
    """An open engine.

    Attributes:
        path: path of the file.
        card: its side-car.
        trt: the Python module, ``tensorrt`` or ``tensorrt_rtx``.
        log: log of this process.
        runtime, engine: TensorRT's.
        image: the frames; `keep` the windows per block pair, None in a fixed export.
        frame_inputs: tensors that come with each frame beside its pixels.
        outputs: tensors by name.
        batches: smallest and largest.
        levels: `keep` that each optimisation profile is tuned for; empty where there is one.
        plugins: the library it was opened with; None for an engine without plugins, and where an engine opened before
            had brought them.
    """

    path: Path
    card: EngineCard
    trt: Any
    log: Any
    runtime: Any
    engine: Any
    image: Tensor
    keep: Tensor | None
    frame_inputs: tuple[Tensor, ...]
    outputs: dict[str, Tensor]
    batches: tuple[int, int]
    levels: tuple[tuple[int, ...], ...] = ()
    plugins: Path | None = None


def read_engine(path: str | Path) -> tuple[bytes, EngineCard]:
    """An engine file and its side-car. Needs neither TensorRT nor a GPU.

    Raises:
        ModelError: there is no such file, or it is not the one that its card describes.
        CardError: the side-car is missing, or no engine card.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no engine file {path}; check the path, or make one with `sparsevit build`")
    card = read_sidecar(path)
    data = path.read_bytes()
    if sha256(data) != card.engine_sha256:
        raise ModelError(
            f"{path} ({len(data)} bytes) is not the engine its card describes ({card.engine_bytes} bytes, sha256 "
            f"{card.engine_sha256[:8]}): it is damaged, or the card is another's; copy both again, or {_AGAIN}"
        )
    return data, card


def find_tensorrt(card: EngineCard, path: Path) -> Any:
    """The TensorRT module of an engine's flavour.

    Raises:
        MissingDependencyError: it is not installed.
        BackendError: it does not load.
    """
    flavour = card.inputs.tensorrt.partition(" ")[0]
    if flavour not in capabilities.FLAVOURS:
        raise BackendError(f"{path.name} is of {card.inputs.tensorrt!r}, which this version does not know; {_AGAIN}")
    if importlib.util.find_spec(flavour) is None:
        raise missing(flavour)
    try:
        trt = require(flavour)
        trt.__version__  # noqa: B018 - a module without it is a broken installation
    except (ImportError, OSError, AttributeError) as error:
        raise BackendError(f"{flavour} is installed but does not load ({error}); install it again") from error
    return trt


def check_version(trt: Any, card: EngineCard, path: Path) -> None:
    """Raises BackendError when an engine is of another TensorRT than `trt`; engines run in their own version only."""
    here = f"{trt.__name__} {trt.__version__}"
    if card.inputs.tensorrt != here:
        raise BackendError(f"{path.name} needs {card.inputs.tensorrt}, which built it; here is {here}: {_AGAIN}")


def open_engine(
    path: Path, data: bytes, card: EngineCard, trt: Any, cuda: CudaRuntime, plugins: Path | None = None
) -> Engine:
    """Opens an engine on the GPU.

    Args:
        plugins: the plugin library; None for where `find_plugins_to_run` looks.

    Raises:
        BackendError: it is of another GPU, its plugin library is missing, or TensorRT does not take it.
        ModelError: its inputs or outputs are not those of its card.
    """
    _check_gpu(card, cuda, trt, path)
    log = process_log(trt)
    if card.inputs.plugins_sha256 is not None:
        plugins = _load_plugins(trt, card, path, log, plugins)
    mark = log.mark()
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise BackendError(
            f"{trt.__name__} {trt.__version__} does not open {path} on {cuda.device.name} (built by "
            f"{card.inputs.tensorrt} for {card.inputs.gpu}): {log.summary(mark)}; {_AGAIN}"
        )
    return _describe(path, card, trt, log, runtime, engine, plugins)


def _check_gpu(card: EngineCard, cuda: CudaRuntime, trt: Any, path: Path) -> None:
    """Engines of TensorRT for RTX are for many GPUs: there opening it tells."""
    device = cuda.device
    here = f"{device.name}, compute capability {device.compute_capability}"
    if card.inputs.gpu in (NO_GPU, here) or trt.__name__ == capabilities.RTX:
        return
    if card.inputs.gpu.rpartition(" ")[2] != device.compute_capability:
        raise BackendError(f"{path.name} was built for {card.inputs.gpu}; here is {here}: {_AGAIN}")
    logging.getLogger(__name__).warning("%s was built for %s, here is %s", path.name, card.inputs.gpu, here)


def _load_plugins(trt: Any, card: EngineCard, path: Path, log: Any, chosen: Path | None) -> Path | None:
    """Loads the plugin library unless an engine opened before has; returns its path where it is found.

    One thread at a time: TensorRT takes no plugin twice.
    """
    with _loading:
        return _load_plugins_once(trt, card, path, log, chosen)


def _load_plugins_once(trt: Any, card: EngineCard, path: Path, log: Any, chosen: Path | None) -> Path | None:
    registry = trt.get_plugin_registry()
    # One is enough: a library of before some of these nodes came is loaded, too, and TensorRT takes none twice.
    loaded = trt.__name__ in _brought or any(
        PLUGIN_NAMESPACE in capabilities.creator_namespaces(registry, name, PLUGIN_VERSION) for name in PLUGIN_NAMES
    )
    try:
        library = find_plugins_to_run(card.plugins_path, card.inputs.plugins_sha256, chosen)
        library.check_version(trt.__name__, trt.__version__)
    except BuildError as error:
        if loaded:
            return None
        raise BackendError(f"{path.name} runs with the plugins it was built with: {error}") from error
    if loaded:
        return library.path
    if sha256(library.data) != card.inputs.plugins_sha256:
        logging.getLogger(__name__).warning("%s was built with another build of %s", path.name, library.path)
    mark = log.mark()
    if registry.load_library(str(library.path)) is None:
        raise BackendError(f"TensorRT cannot load the plugin library {library.path}: {log.summary(mark)}")
    _brought.add(trt.__name__)
    return library.path


def _describe(
    path: Path, card: EngineCard, trt: Any, log: Any, runtime: Any, engine: Any, plugins: Path | None
) -> Engine:
    tensors: dict[str, Tensor] = {}
    inputs: list[str] = []
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        kind = engine.get_tensor_dtype(name)
        dtype = capabilities.numpy_type(kind)
        if dtype is None:
            raise ModelError(f"{name} of {path} is of type {kind.name}, which no model has; {_AGAIN}")
        on_host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
        tensors[name] = Tensor(name, dtype, on_host, tuple(engine.get_tensor_shape(name))[1:])
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            inputs.append(name)

    def spec(name: str) -> TensorSpec:
        sizes = tuple(engine.get_tensor_shape(name))
        return TensorSpec(name, tensors[name].dtype, tuple(size if size >= 0 else "?" for size in sizes))

    contract = task_of(card.model).contract
    outputs = [name for name in tensors if name not in inputs]
    contract.check_graph([spec(name) for name in inputs], [spec(name) for name in outputs], str(path))
    if engine.num_optimization_profiles != max(1, len(card.inputs.levels)):
        raise ModelError(
            f"{path} has {engine.num_optimization_profiles} optimisation profiles, its card says "
            f"{len(card.inputs.levels)} levels; {_AGAIN}"
        )
    smallest, _, largest = (tuple(shape) for shape in engine.get_tensor_profile_shape(IMAGE, 0))
    return Engine(
        path=path,
        card=card,
        trt=trt,
        log=log,
        runtime=runtime,
        engine=engine,
        image=tensors[IMAGE],
        keep=tensors.get(KEEP),
        frame_inputs=tuple(tensors[extra.name] for extra in contract.frame_inputs),
        outputs={name: tensors[name] for name in outputs},
        batches=(smallest[0], largest[0]),
        levels=card.inputs.levels,
        plugins=plugins,
    )
