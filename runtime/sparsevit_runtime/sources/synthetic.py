"""`synthetic://street`: a rendered street camera, for demos, tests and training without a camera."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from ..errors import SourceError
from .base import Frame, Source
from .street import STREET_CLASSES, StreetScene

__all__ = ["STREET_CLASSES", "StreetScene", "SyntheticSource", "open_synthetic"]

_ACCEPTED = (
    "accepted: synthetic://street?size=WxH (64x64 to 4096x4096, default 960x540), seed=N (from 0, default 0), "
    "frames=N (from 1, default 250), fps=F (above 0, at most 240, default 25)"
)


class SyntheticSource(Source):
    """The frames of one street scene, with truth.

    Args:
        size_wh: width and height in pixels.
        seed: picks the scene.
        frames: frames until the end of the stream.
        fps: frames per second of media time; frames are delivered as fast as they are read.
    """

    def __init__(self, size_wh: tuple[int, int] = (960, 540), seed: int = 0, frames: int = 250, fps: float = 25.0):
        self.name = f"synthetic street, seed {seed}"
        self.size_wh = size_wh
        self.fps = fps
        self.frame_count = frames
        self._scene = StreetScene(size_wh, seed, fps)
        self._next = 0

    def read(self) -> Frame | None:
        index = self._next
        if index >= self.frame_count:
            return None
        self._next += 1
        image, truth = self._scene.render(index)
        return Frame(image, index, round(index / self.fps * 1e9), truth)

    def close(self) -> None:
        self._next = self.frame_count


def open_synthetic(uri: str) -> SyntheticSource:
    """Opens ``synthetic://street?size=WxH&seed=N&frames=N&fps=F``.

    Raises:
        SourceError: another scene, an unknown key, or a value out of range.
    """
    parts = urlsplit(uri)
    scene = (parts.netloc + parts.path).strip("/")
    if scene != "street":
        raise SourceError(f"{uri!r} names the scene {scene!r}; the only scene is 'street'. {_ACCEPTED}")
    values: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in ("size", "seed", "frames", "fps"):
            raise SourceError(f"{uri!r} has the unknown key {key!r}; {_ACCEPTED}")
        if key in values:
            raise SourceError(f"{uri!r} gives {key!r} twice; {_ACCEPTED}")
        values[key] = value
    try:
        size = tuple(int(n) for n in values.get("size", "960x540").lower().split("x"))
        seed, frames, fps = int(values.get("seed", 0)), int(values.get("frames", 250)), float(values.get("fps", 25))
    except ValueError as error:
        raise SourceError(f"{uri!r} has a value that is not a number ({error}); {_ACCEPTED}") from None
    if len(size) != 2 or not all(64 <= n <= 4096 for n in size):
        raise SourceError(f"{uri!r} has the size {values['size']!r}; {_ACCEPTED}")
    if not (0 <= seed < 2**32 and frames >= 1 and 0.0 < fps <= 240.0):
        raise SourceError(f"{uri!r} has a value out of range (seed {seed}, frames {frames}, fps {fps}); {_ACCEPTED}")
    return SyntheticSource((size[0], size[1]), seed, frames, fps)
