"""What a video shows, and when: read with PyAV, which this project does not read videos with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import av
import numpy as np


class Played(NamedTuple):
    """A video, decoded.

    Attributes:
        times_s: when each picture is shown, seconds.
        levels: mean of each picture.
        shapes: height and width of each picture.
        length_s: end of the last picture, as the container tells.
    """

    times_s: list[float]
    levels: list[float]
    shapes: list[tuple[int, int]]
    length_s: float


def play(path: str | Path) -> Played:
    """Decodes all pictures of a video."""
    played = Played([], [], [], 0.0)
    with av.open(str(path)) as file:
        length_s = (file.duration or 0) / 1e6
        for frame in file.decode(video=0):
            played.times_s.append(float(frame.pts * frame.time_base))
            picture = frame.to_ndarray(format="bgr24")
            played.levels.append(float(np.mean(picture)))
            played.shapes.append(picture.shape[:2])
    return played._replace(length_s=length_s)


def boxes(path: str | Path) -> list[str]:
    """Kinds of an MP4 file's outermost boxes, in order; ``...`` for one that is not whole."""
    data, start, kinds = Path(path).read_bytes(), 0, []
    while start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        kinds.append(data[start + 4 : start + 8].decode("latin-1"))
        start += size or len(data)
    return kinds if start == len(data) else [*kinds, "..."]
