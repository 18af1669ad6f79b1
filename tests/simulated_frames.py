"""Frames on the simulated GPU, and the kernel that letterboxes them there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simulated_gpu import POISON, Cuda
from sparsevit_runtime.tensorrt.letterbox_kernel import LetterboxCall, LetterboxKernel


class GpuImage:
    """A frame on the simulated GPU with the interface of CuPy and PyTorch, its pixels written late, on a stream.

    Attributes:
        stream: handle of that stream, which the interface tells from version 3 on.
        address: of the pixels.
    """

    def __init__(
        self, cuda: Cuda, pixels: np.ndarray, version: int = 3, gap: int = 0, stream: int | None = None
    ) -> None:
        height, width, _ = pixels.shape
        rows = np.full((height, 3 * width + gap), POISON, np.uint8)
        rows[:, : 3 * width] = pixels.reshape(height, -1)
        self.stream = cuda.cudaStreamCreateWithFlags(1)[1] if stream is None else stream
        self.address = cuda.cudaMalloc(rows.size)[1]
        self._about = {
            "shape": pixels.shape,
            "typestr": "|u1",
            "data": (self.address, False),
            "strides": (3 * width + gap, 3, 1) if gap else None,
            "version": version,
        }
        if version == 3:
            self._about["stream"] = self.stream

        def write() -> None:
            cuda.memory.view(self.address, rows.size)[:] = rows.reshape(-1)

        cuda.stream(self.stream).add(write)

    @property
    def __cuda_array_interface__(self) -> dict:
        return self._about


class QueuedLetterbox:
    """The letterbox kernel compiled for the host, on the simulated streams."""

    def __init__(self, cuda: Cuda, library: Path, resize: str = "letterbox") -> None:
        self._cuda, self._kernel = cuda, LetterboxKernel(library, resize)

    def queue(self, call: LetterboxCall, stream: int) -> None:
        self._cuda.stream(stream).add(lambda: self._kernel.queue(call, 0))
