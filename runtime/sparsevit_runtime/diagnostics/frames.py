"""The frames that a model is measured on."""

from __future__ import annotations

from itertools import islice

import numpy as np

from ..errors import SourceError
from ..sources import open_source

#: Frames when no source is named: a street at the size of a common camera.
DEFAULT_SOURCE = "synthetic://street?size=1280x720"
#: Frames held in memory; the runs go through them again and again.
_FRAMES = 8


def read_frames(uri: str) -> tuple[str, list[np.ndarray]]:
    """Name of the source and its first frames, (H, W, 3) uint8 BGR, all of one size.

    Raises:
        SourceError: it cannot be opened or has no frames.
    """
    with open_source(uri) as source:
        frames = [frame.image for frame in islice(source, _FRAMES)]
        if not frames:
            raise SourceError(f"{uri} has no frames; name another source")
        return source.name, [f for f in frames if f.shape == frames[0].shape]
