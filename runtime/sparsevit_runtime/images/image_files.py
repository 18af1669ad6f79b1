"""Still images from files, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import ImageError

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"
_JPEG_SCAN, _JPEG_END, _PNG_END = b"\xff\xda", b"\xff\xd9", b"IEND"


def read_image(path: str | Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decodes an image file.

    OpenCV decodes a truncated JPEG or PNG as far as it goes and fills the rest with grey; here that is an error.

    Args:
        path: the file.
        flags: flags of `cv2.imdecode`.

    Returns:
        The image as OpenCV gives it: (H, W, 3) uint8 BGR by default.

    Raises:
        ImageError: missing, truncated, or no image; the message is a sentence without the path.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"it cannot be read ({error.strerror})") from error
    if is_truncated(data):
        raise ImageError(f"it is truncated after {len(data)} bytes")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise ImageError(f"its {len(data)} bytes do not decode as an image")
    return np.asarray(image)


def is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; other formats are taken for whole.

    A JPEG's end mark may stand in a thumbnail at its beginning too: what counts is one behind the last scan.
    """
    if data.startswith(_JPEG):
        scan = data.rfind(_JPEG_SCAN)
        return scan < 0 or data.rfind(_JPEG_END) < scan
    return data.startswith(_PNG) and data.rfind(_PNG_END) < 0
