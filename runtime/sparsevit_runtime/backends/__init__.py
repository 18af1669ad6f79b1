"""Backends by name, and the choice of one for a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..bundled import is_bundled_in_half
from ..errors import BackendError, ModelError
from ..triton import SCHEME, is_served
from .base import Backend, Capabilities, DeviceInfo
from .options import LoadOptions

__all__ = ["Backend", "Capabilities", "DeviceInfo", "LoadOptions", "open_backend"]


def _open_onnxruntime(path: Path, options: LoadOptions) -> Backend:
    from .onnxruntime import OnnxRuntimeBackend, may_run_on_cuda

    def open_(file: Path) -> Backend:
        return OnnxRuntimeBackend(
            file,
            threads=options.threads,
            device=options.device,
            portable=options.portable,
            plugins=options.plugins,
            precision="tf32" if options.precision == "tf32" else "exported",
            graphs=options.graphs,
        )

    if options.precision == "auto" and is_bundled_in_half(path) and may_run_on_cuda(options.device):
        from ..half_twin import half_twin

        twin = half_twin(path)
        backend = open_(twin)
        if twin == path or backend.device.kind == "cuda":
            return backend
        backend.close()  # CUDA is offered and does not start: a CPU computes slower in half precision
    return open_(path)


def _open_tensorrt(path: Path, options: LoadOptions) -> Backend:
    from .tensorrt import TensorRtBackend, build_or_reuse

    engine = build_or_reuse(path, options) if path.suffix == ".onnx" else path
    return TensorRtBackend(engine, device=options.device, graphs=options.graphs, plugins=options.plugins)


#: Name -> opener. Each opener imports its own library, so that none is needed until chosen.
_BACKENDS: dict[str, Callable[[Path, LoadOptions], Backend]] = {
    "onnxruntime": _open_onnxruntime,
    "tensorrt": _open_tensorrt,
}
#: What `auto` opens a file with, by suffix. Compiled engines run on the device that built them only.
_BY_SUFFIX = {".onnx": "onnxruntime", ".engine": "tensorrt", ".plan": "tensorrt", ".trt": "tensorrt"}


#: Runs models on a server, which have no path.
_SERVED = "triton"


def open_backend(path: str | Path, backend: str = "auto", options: LoadOptions | None = None) -> Backend:
    """Opens a model file.

    Args:
        path: path of the file, or ``triton://host:port/name`` of a model on a server.
        backend: ``auto`` chooses by suffix; ``onnxruntime``; ``tensorrt`` runs an engine, and makes one of an .onnx
            file first, once; ``triton`` asks a server.
        options: options of the backend.

    Raises:
        ModelError: the file is missing, broken, or not one of ours (CardError when only the card is wrong).
        BackendError: the backend or device is not available here, or the engine is of another TensorRT or GPU;
            `ServerError` where a server is away.
        BuildError: no engine can be made of the file.
        MissingDependencyError: the backend's library is not installed.
    """
    if is_served(path) or backend == _SERVED:
        if not is_served(path) or backend not in ("auto", _SERVED):
            raise BackendError(
                f"backend {backend!r} does not run {str(path)!r}; models on a server are {SCHEME}host:port/name"
            )
        from .triton import TritonBackend

        return TritonBackend(str(path))
    path = Path(path)
    if backend == "auto":
        if path.suffix not in _BY_SUFFIX:
            raise ModelError(
                f"{path} has suffix {path.suffix!r}; models are .onnx files of `sparsevit export` and .engine files of "
                "`sparsevit build`"
            )
        backend = _BY_SUFFIX[path.suffix]
    if backend not in _BACKENDS:
        raise BackendError(f"no backend {backend!r}; choose auto or one of: {', '.join((*_BACKENDS, _SERVED))}")
    if backend == "onnxruntime" and _BY_SUFFIX.get(path.suffix) == "tensorrt":
        raise BackendError(f"{path.name} is an engine, which TensorRT runs; load the .onnx file it was built from")
    if not path.is_file():
        raise ModelError(f"no model file {path}; check the path, or make one with `sparsevit export`")
    return _BACKENDS[backend](path, options or LoadOptions())
