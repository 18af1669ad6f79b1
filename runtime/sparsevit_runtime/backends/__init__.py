"""Backends by name, and the choice of one for a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import BackendError, ModelError
from .base import Backend

__all__ = ["Backend", "open_backend"]


def _open_onnxruntime(path: Path, threads: int | None, device: str | None) -> Backend:
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, threads=threads, device=device)


#: Name -> opener(path, threads, device). Each opener imports its own library, so that none is needed until chosen.
_BACKENDS: dict[str, Callable[[Path, int | None, str | None], Backend]] = {"onnxruntime": _open_onnxruntime}
#: What `auto` opens a file with, by suffix.
_BY_SUFFIX = {".onnx": "onnxruntime"}
#: Suffixes of compiled engines, which only the device that built them can run.
_ENGINE_SUFFIXES = {".engine", ".plan", ".trt"}


def open_backend(
    path: str | Path, backend: str = "auto", threads: int | None = None, device: str | None = None
) -> Backend:
    """Opens a model file.

    Args:
        path: of the file.
        backend: ``auto`` chooses by suffix, or ``onnxruntime``.
        threads: processor threads for inference; None leaves the choice to the library.
        device: ``cpu``, ``cuda``, or None for the best this machine offers.

    Raises:
        ModelError: the file is missing, broken, or not one of ours (CardError when only the card is wrong).
        BackendError: the backend or device is not available here.
        MissingDependencyError: the backend's library is not installed.
    """
    path = Path(path)
    if backend == "tensorrt" or (backend == "auto" and path.suffix in _ENGINE_SUFFIXES):
        raise BackendError(
            f"{path.name}: the tensorrt backend is not in this version (available: {', '.join(_BACKENDS)}); load the "
            ".onnx file the engine is built from"
        )
    if backend == "auto":
        if path.suffix not in _BY_SUFFIX:
            raise ModelError(
                f"{path} has suffix {path.suffix!r}; models are {', '.join(_BY_SUFFIX)} files of `sparsevit export`"
            )
        backend = _BY_SUFFIX[path.suffix]
    if backend not in _BACKENDS:
        raise BackendError(f"no backend {backend!r}; choose auto or one of: {', '.join(_BACKENDS)}")
    if not path.is_file():
        raise ModelError(f"no model file {path}; check the path, or make one with `sparsevit export`")
    return _BACKENDS[backend](path, threads, device)
