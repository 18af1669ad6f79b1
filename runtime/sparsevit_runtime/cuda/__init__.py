"""A few CUDA objects with an owner each, over cuda-python. Importing this needs no CUDA."""

from __future__ import annotations

from .bindings import open_cuda
from .memory import DeviceBuffer, DeviceView, PinnedBuffer
from .runtime import CudaError, CudaRuntime
from .stream import Event, Graph, Stream

__all__ = [
    "CudaError",
    "CudaRuntime",
    "DeviceBuffer",
    "DeviceView",
    "Event",
    "Graph",
    "PinnedBuffer",
    "Stream",
    "open_cuda",
]
