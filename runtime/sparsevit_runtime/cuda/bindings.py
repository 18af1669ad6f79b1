"""Where cuda-python keeps the CUDA runtime: the only place that imports it."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..dependencies import missing
from ..errors import BackendError
from .runtime import CudaRuntime

#: Modules with the same functions: of cuda-python 12.8 and later, and of the older ones.
_PLACES = ("cuda.bindings.runtime", "cuda.cudart")


def open_cuda() -> CudaRuntime:
    """The CUDA runtime of this machine.

    Raises:
        MissingDependencyError: cuda-python is not installed.
        BackendError: it does not load, or there is no driver or no GPU (CudaError).
    """
    return CudaRuntime(_find_bindings())


def _find_bindings() -> ModuleType:
    for name in _PLACES:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            absent = error.name if isinstance(error, ModuleNotFoundError) else None
            if absent is not None and f"{name}.".startswith(f"{absent}."):
                continue
            raise BackendError(f"cuda-python is installed but does not load ({error}); install it again") from error
    raise missing("cuda")
