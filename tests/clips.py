"""Clips of our own: small, of any container and times, whole or damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from time_code import SIZE_WH, draw_code

MILLISECONDS = Fraction(1, 1000)


def pictures(count: int, size_wh: tuple[int, int] = (64, 48)) -> Iterator[np.ndarray]:
    """A pattern of blocks that moves, (H, W, 3) uint8 BGR."""
    width, height = size_wh
    blocks = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    pattern = blocks.repeat(8, 0).repeat(8, 1)
    for i in range(count):
        yield np.roll(pattern, 3 * i, 1)


def write_clip(
    path: Path,
    frames: int = 60,
    *,
    codec: str = "libx264",
    fps: int | None = None,
    times_ms: Sequence[int] | None = None,
    size_wh: tuple[int, int] = (64, 48),
    reordered: int = 0,
) -> Path:
    """A clip in the container of its suffix, with a key frame every twelve; `times_ms` are the frames' own, and as many
    as `reordered` in a row are shown before what they are decoded behind. The index of an .mp4 stands at its
    beginning."""
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=fps or (25 if times_ms is None else 1000))
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec == "libx264":
            stream.options = {"g": "12", "bf": str(reordered)}
        if times_ms is not None:
            stream.codec_context.time_base = MILLISECONDS
        for i, image in enumerate(pictures(frames, size_wh)):
            frame = av.VideoFrame.from_ndarray(image, "bgr24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[i], MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def damage(path: Path, zeros: int = 1200) -> Path:
    """Zeroes so many bytes in the middle of a clip's frames."""
    data = bytearray(path.read_bytes())
    start = max(0, data.find(b"mdat"))
    middle = (start + len(data)) // 2
    data[middle : middle + zeros] = bytes(zeros)
    path.write_bytes(data)
    return path


def write_coded_clip(path: Path, frames: int, fps: float = 25) -> Path:
    """H.264 whose frames say their numbers, with a key frame a second. Needs PyAV."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(fps))
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        stream.options = {"g": str(round(fps)), "bf": "0", "preset": "ultrafast"}
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw_code(i), "bgr24")))
        container.mux(stream.encode(None))
    return path
