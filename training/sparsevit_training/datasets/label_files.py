"""Label maps from PNG files, read as numbers: a grey level or a palette index is a class id, never a colour."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sparsevit_runtime.dependencies import require

from .base import BadSample, decode

#: Where PNG (https://www.w3.org/TR/png-3/#11IHDR) says how its pixels are written.
_SIGNATURE, _DEPTH, _KIND = b"\x89PNG\r\n\x1a\n", 24, 25
_GREY, _PALETTE = 0, 3
_ADVICE = "write the class id of every pixel as 8-bit grey, 16-bit grey, or palette PNG"


class _Header(NamedTuple):
    depth: int
    kind: int


def read_labels(path: Path) -> np.ndarray:
    """The class ids of a label map.

    Args:
        path: PNG, grey of 1 to 16 bits or with a palette.

    Returns:
        (H, W) uint8 or uint16: grey levels as written, not stretched to 8 bits; indices where there is a palette.

    Raises:
        BadSample: missing, damaged, in colour, or no PNG; says what to do.
    """
    if not path.is_file():
        raise BadSample(f"no label at {path}")
    label = decode(path, cv2.IMREAD_UNCHANGED)  # damage is found here
    header = _header(path)
    if header is None:
        raise BadSample(f"the label {path} is no PNG, and others do not keep numbers; {_ADVICE}")
    if header.kind == _PALETTE:
        return _indices(path)
    if header.kind != _GREY or label.ndim != 2:
        channels = 1 if label.ndim == 2 else label.shape[2]
        raise BadSample(f"the label {path} is a picture of {channels} channels, not of numbers; {_ADVICE}")
    if header.depth < 8:  # decoders stretch them over 0 to 255
        label = label // (255 // (2**header.depth - 1))
    return label


def _header(path: Path) -> _Header | None:
    with path.open("rb") as file:
        head = file.read(_KIND + 1)
    return _Header(head[_DEPTH], head[_KIND]) if head.startswith(_SIGNATURE) and len(head) > _KIND else None


def _indices(path: Path) -> np.ndarray:
    require("PIL")
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.array(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadSample(f"the label {path} does not decode ({error}); {_ADVICE}") from error
