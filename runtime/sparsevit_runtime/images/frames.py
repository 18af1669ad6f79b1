"""What counts as a frame."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..errors import FrameError


class CudaArray(Protocol):
    """Memory of a GPU, as CuPy, PyTorch, pycuda and Numba offer it."""

    @property
    def __cuda_array_interface__(self) -> Any: ...


#: A frame of the host, (H, W, 3) uint8 BGR, or the same on the GPU.
FrameLike = np.ndarray | CudaArray


def check_frame(image: object) -> np.ndarray:
    """Checks that an array is a frame: (H, W, 3) uint8 BGR with H, W >= 1.

    Returns:
        The same array, or a contiguous copy when its pixels do not lie side by side in memory (a mirrored view, a
        channel-swapped view). Crops are not copied.

    Raises:
        FrameError: it is not; the message says what it is and how to convert it.
    """
    if not isinstance(image, np.ndarray):
        hint = "; cv2.imread returns None for a file it cannot read" if image is None else ""
        raise FrameError(f"a frame is a numpy array (H, W, 3) uint8 BGR, got {type(image).__name__}{hint}")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise _wrong(image, "it is grey: convert with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)")
    if image.ndim == 4:
        raise _wrong(image, "it is a batch: pass one image, or list(images)")
    if image.ndim != 3:
        raise _wrong(image, "pass an image as OpenCV reads it")
    if 0 in image.shape:
        raise _wrong(image, "it is empty: check the crop or the file it came from")
    if image.shape[2] == 4:
        raise _wrong(image, "it has an alpha channel: convert with cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)")
    if image.shape[2] != 3:
        channels_first = image.shape[0] in (1, 3)
        raise _wrong(image, "channels come last: image.transpose(1, 2, 0)" if channels_first else "pass three channels")
    if image.dtype != np.uint8:
        raise _wrong(image, "scale its values to 0..255 and convert with .astype(np.uint8)")
    rows, columns, channels = image.strides
    if (columns, channels) == (3, 1) and rows > 0:
        return image
    return np.ascontiguousarray(image)


def _wrong(image: np.ndarray, advice: str) -> FrameError:
    return FrameError(f"a frame is (H, W, 3) uint8 BGR, got shape {image.shape} {image.dtype}; {advice}")
