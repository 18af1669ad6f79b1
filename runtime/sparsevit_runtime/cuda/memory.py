"""Memory: buffers own it, views borrow it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from .runtime import CudaRuntime, Owned


@dataclass(frozen=True)
class DeviceView:
    """Memory that the GPU reaches and somebody else owns.

    Attributes:
        address: address as the GPU sees it.
        nbytes: bytes from there on.
    """

    address: int
    nbytes: int

    def part(self, start: int, nbytes: int) -> DeviceView:
        """A part of it.

        Raises:
            ValueError: it reaches beyond the end.
        """
        if start < 0 or nbytes < 0 or start + nbytes > self.nbytes:
            raise ValueError(f"bytes {start} to {start + nbytes} of a view of {self.nbytes}")
        return DeviceView(self.address + start, nbytes)


class DeviceBuffer(Owned):
    """Memory of the GPU.

    Attributes:
        view: all of it.
    """

    def __init__(self, cuda: CudaRuntime, nbytes: int) -> None:
        """Raises CudaError when there is not that much."""
        super().__init__(cuda, cuda.call("cudaMalloc", max(1, nbytes)), "cudaFree")
        self.view = DeviceView(int(self.handle), nbytes)


class PinnedBuffer(Owned):
    """Memory of the host that the GPU copies from and to by itself, and on an integrated GPU works in.

    Attributes:
        host: (nbytes,) uint8, the host's view; invalid after `close`.
        address: address as the host sees it.
        view: the same memory as the GPU sees it.
    """

    def __init__(self, cuda: CudaRuntime, nbytes: int) -> None:
        """Raises CudaError when there is not that much."""
        size = max(1, nbytes)
        super().__init__(cuda, cuda.call("cudaHostAlloc", size, cuda.bindings.cudaHostAllocMapped), "cudaFreeHost")
        self.address = int(self.handle)
        pages = memoryview((ctypes.c_uint8 * size).from_address(self.address))
        self.host = np.frombuffer(pages, np.uint8)[:nbytes]
        self.view = DeviceView(int(cuda.call("cudaHostGetDevicePointer", self.handle, 0)), nbytes)
