"""Calls of the CUDA runtime, with CUDA's errors as exceptions."""

from __future__ import annotations

import ctypes.util
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BackendError

if TYPE_CHECKING:
    from typing_extensions import Self

_NO_DRIVER = ("cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorStubLibrary")
#: Where cuda-python 12 cannot load the driver, or lacks one of its functions, it raises instead of returning this.
_UNLOADED = "cudaErrorInsufficientDriver"
_DRIVER = "libcuda.so.1"
#: Held while a stream is captured and while the whole device is waited for: that includes the captured stream, which
#: CUDA refuses, and the capture is lost.
CAPTURING = threading.Lock()


class CudaError(BackendError):
    """A function of CUDA failed.

    Attributes:
        name: CUDA's own, such as ``cudaErrorMemoryAllocation``.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Device:
    """The GPU in use.

    Attributes:
        index: index as CUDA counts.
        name: name as the driver says.
        compute_capability: such as ``8.7``.
        integrated: True for one that shares the memory of the host, as on a Jetson, and can work in pinned memory.
    """

    index: int
    name: str
    compute_capability: str
    integrated: bool


class CudaRuntime:
    """The CUDA runtime on its first device.

    Threads: safe from any thread; they all use that device.

    Attributes:
        bindings: cuda-python's module, or one with the same functions: each returns a tuple (error, values...).
        device: device in use.
    """

    def __init__(self, bindings: Any) -> None:
        """Raises CudaError where there is no driver, a driver too old for `bindings`, or no GPU."""
        self.bindings = bindings
        try:
            if not self.call("cudaGetDeviceCount"):
                raise self._failure("cudaGetDeviceCount", bindings.cudaError_t.cudaErrorNoDevice)
        except CudaError as error:
            if error.name not in _NO_DRIVER:
                raise
            raise CudaError(f"no GPU to run on: {error}; {self._driver_report()}", error.name) from error
        self.device = self._describe(0)

    def call(self, function: str, *arguments: Any) -> Any:
        """Calls a function of the runtime by its name.

        Returns:
            Its value without the error code; None where there is none.

        Raises:
            CudaError: with CUDA's name and text of the error, or the driver does not load.
        """
        try:
            error, *values = getattr(self.bindings, function)(*arguments)
        except RuntimeError as found:
            raise CudaError(f"{function} cannot be called ({found})", _UNLOADED) from found
        if int(error):
            raise self._failure(function, error)
        return values[0] if values else None

    def synchronize(self) -> None:
        """Waits for the work of all streams of the device, other libraries' too. Raises CudaError when some failed."""
        with CAPTURING:
            self.call("cudaDeviceSynchronize")

    def device_of(self, address: int) -> int | None:
        """The GPU that memory is of, as CUDA counts: the one in use where memory of the host is within its reach.

        Returns:
            None for memory that no GPU reaches.
        """
        about, kinds = self.call("cudaPointerGetAttributes", address), self.bindings.cudaMemoryType
        if int(about.type) == int(kinds.cudaMemoryTypeDevice):
            return int(about.device)
        return self.device.index if int(about.devicePointer or 0) else None

    def forget_error(self) -> None:
        """Clears the error that CUDA keeps for its next check, after one that was dealt with."""
        self.bindings.cudaGetLastError()

    def _failure(self, function: str, error: Any) -> CudaError:
        name, text = (_text(f(error)[1]) for f in (self.bindings.cudaGetErrorName, self.bindings.cudaGetErrorString))
        return CudaError(f"{function} failed with {name} ({text})", name)

    def _driver_report(self) -> str:
        """What was found and what is needed, for a machine that cannot start CUDA."""
        driver, runtime = map(self._answer, ("cudaDriverGetVersion", "cudaRuntimeGetVersion"))
        needed = f"for CUDA {_version(runtime)}" if runtime else "for a version of CUDA that it does not tell"
        if driver:
            return (
                f"the driver supports CUDA {_version(driver)}, cuda-python is {needed}. Install the "
                "cuda-python of the driver's major version, or a newer driver, and check that nvidia-smi or tegrastats "
                "shows a GPU"
            )
        found = ctypes.util.find_library("cuda")
        state = f"{found} does not start" if found else f"no driver: looked for {_DRIVER} where the loader looks"
        return (
            f"{state}, cuda-python is {needed}. Install NVIDIA's driver for it (a container has to be started "
            "with the GPU), or run the .onnx file with backend='onnxruntime'"
        )

    def _answer(self, function: str) -> int:
        """A number that CUDA knows; 0 where it does not answer."""
        try:
            return int(self.call(function))
        except CudaError:
            return 0

    def _describe(self, index: int) -> Device:
        found = self.call("cudaGetDeviceProperties", index)
        capability = f"{found.major}.{found.minor}"
        integrated = bool(found.integrated and found.canMapHostMemory)
        return Device(index, _text(found.name), capability, integrated)


class Owned:
    """Base of what CUDA made and must get back: once, by `close`, by the end of a `with`, or with the last reference.

    Attributes:
        handle: CUDA's object; use after `close` is an error of CUDA.
    """

    def __init__(self, cuda: CudaRuntime, handle: Any, release: str) -> None:
        self._cuda = cuda
        self.handle = handle
        self._release = weakref.finalize(self, getattr(cuda.bindings, release), handle)
        self._release.atexit = False  # the end of the process gives everything back

    def close(self) -> None:
        """Gives it back. Safe to repeat."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace").rstrip("\0") if isinstance(value, bytes) else str(value)


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
