"""`synthetic://street`: a rendered street camera, for demos, tests and training without a camera."""

from __future__ import annotations

from ..errors import SourceError
from .base import Frame, Source
from .options import parse_number, parse_size, split_options

_USAGE = (
    "accepted: synthetic://street?size=WxH (each from 64 to 4096, default 960x540) &seed=N (from 0, default 0) "
    "&frames=N (from 1, default 250) &fps=F (0.1 to 240, default 25)"
)


class SyntheticSource(Source):
    """The frames of one street scene, with truth.

    Args:
        size_wh: width and height in pixels.
        seed: number that picks the scene.
        frames: frames until the end of the stream.
        fps: frames per second of media time; frames are delivered as fast as they are read.
    """

    def __init__(self, size_wh: tuple[int, int] = (960, 540), seed: int = 0, frames: int = 250, fps: float = 25.0):
        from sparsevit_street import StreetScene  # a demo's asset: not imported where cameras are read

        self.name = f"synthetic street, seed {seed}"
        self.size_wh = size_wh
        self.fps = fps
        self.frame_count = frames
        self._scene = StreetScene(size_wh, seed, fps)
        self._frames, self._rate = frames, fps
        self._next = 0

    def read(self) -> Frame | None:
        index = self._next
        if index >= self._frames:
            return None
        self._next += 1
        image, truth = self._scene.render(index)
        return Frame(image, index, round(index / self._rate * 1e9), truth=truth)

    def close(self) -> None:
        self._next = self._frames


def open_synthetic(uri: str) -> SyntheticSource:
    """Opens ``synthetic://street?size=WxH&seed=N&frames=N&fps=F``.

    Raises:
        SourceError: another scene, an unknown key, or a value out of range.
    """
    head, options = split_options(uri, ("size", "seed", "frames", "fps"), _USAGE)
    scene = head.partition("://")[2].strip("/")
    if scene != "street":
        raise SourceError(f"{uri!r} names the scene {scene!r}; the only scene is 'street'. {_USAGE}")

    def number(key: str, default: str, smallest: float, largest: float, whole: bool = True) -> float:
        return parse_number(uri, key, options.get(key, default), smallest, largest, _USAGE, whole)

    return SyntheticSource(
        parse_size(uri, options.get("size", "960x540"), 64, 4096, _USAGE),
        seed=int(number("seed", "0", 0, 2**32 - 1)),
        frames=int(number("frames", "250", 1, 10**9)),
        fps=number("fps", "25", 0.1, 240, whole=False),
    )
