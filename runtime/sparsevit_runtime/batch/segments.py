"""Segments: the units of work, each finished as a whole. Long videos are cut at key frames."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingDependencyError, SparseViTError
from ..sources.capture import packets
from ..sources.clock import media_ns
from ..sources.video import open_video_file
from ..texts import RENAME, is_unicode
from .inputs import is_image, suffix_of
from .places import local_copy

#: Frames of a segment of a video, about.
SEGMENT_FRAMES = 300
#: Images of a segment.
SEGMENT_IMAGES = 64
#: Damaged packets in a row behind which the rest of a video is looked for.
_FAILURES = 100


@dataclass(frozen=True)
class Cut:
    """Part of a video, from one key frame to another.

    Attributes:
        first_index: index of its first frame.
        first_ns: media time of that, nanoseconds.
        stop_ns: media time of the first frame behind it; None for the last part.
        frames: number of its frames.
        checksum: checksum of the media times of its frames, see `checksum`.
    """

    first_index: int
    first_ns: int
    stop_ns: int | None
    frames: int
    checksum: int


@dataclass(frozen=True)
class Segment:
    """A unit of work.

    Attributes:
        name: name that no other segment of the job has, the same whenever it is planned.
        sources: URIs of images, or of one video.
        frames: number of its frames; None where nobody knows before they are read.
        cut: part of the video; None for all of it.
    """

    name: str
    sources: tuple[str, ...]
    frames: int | None = None
    cut: Cut | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Segment:
        said: dict[str, Any] = json.loads(text)
        cut = said.pop("cut")
        return cls(**{**said, "sources": tuple(said["sources"])}, cut=None if cut is None else Cut(**cut))

    def whole(self) -> Segment:
        """The same video in one piece."""
        return _named(self.name.split("-")[0], Segment("", self.sources))


@dataclass(frozen=True)
class Broken:
    """An input that cannot be read, or not to its end.

    Attributes:
        source: URI.
        reason: reason, in a sentence.
    """

    source: str
    reason: str


def checksum(times_ns: Iterable[int]) -> int:
    """A checksum of media times, nanoseconds, in order."""
    return zlib.crc32(np.fromiter(times_ns, np.int64).tobytes())


def plan(
    sources: Sequence[str], segment_frames: int = SEGMENT_FRAMES, segment_images: int = SEGMENT_IMAGES
) -> Iterator[Segment | Broken]:
    """Segments for all sources, in their order: images next to each other together, videos in parts.

    Reads every video's index of packets, and decodes its first frame.

    Args:
        sources: URIs of images and videos.
        segment_frames: frames of a part of a video, about; parts begin at key frames.
        segment_images: images of a segment.
    """
    images: list[str] = []
    number = 0
    for uri in [*sources, None]:
        if images and (uri is None or not is_image(uri) or len(images) == segment_images):
            yield _named(f"{number:06d}", Segment("", tuple(images), len(images)))
            number += 1
            images = []
        if uri is None:
            return
        if not is_unicode(uri):
            yield Broken(uri, RENAME)
            continue
        if is_image(uri):
            images.append(uri)
            continue
        found = plan_video(uri, segment_frames)
        if isinstance(found, Broken):
            yield found
            continue
        for segment in found:
            yield _named(f"{number:06d}", segment)
            number += 1


def plan_video(uri: str, segment_frames: int) -> list[Segment] | Broken:
    """The parts of one video, or why it has none.

    It stays in one piece where it is short, where it has no key frames to cut at, and where it is damaged, ends early
    or has times that do not go up: then only reading from the beginning tells which frame is which, and how many are
    missing.
    """
    try:
        with local_copy(uri) as path, open_video_file(path) as video:
            times, keys = _packets(path) if suffix_of(uri) != ".gif" else (None, [])
            ends_early = times is not None and video.lacks(len(times))
    except MissingDependencyError:
        raise
    except (SparseViTError, OSError) as error:
        return Broken(uri, reason_of(error))
    if times is None:
        return [Segment("", (uri,))]
    cuts = _cuts(times, keys, segment_frames)
    if len(cuts) < 2 or ends_early:
        return [Segment("", (uri,), len(times))]
    return [Segment("", (uri,), cut.frames, cut) for cut in cuts]


def reason_of(error: Exception) -> str:
    """Why an input cannot be read, in a line."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(said.split())


def _packets(path: Path) -> tuple[np.ndarray | None, list[int]]:
    """Times of all frames in nanoseconds, in order, and of the key frames; None where they are not all different."""
    times, keys = [], []
    for time_ms, key in packets(str(path.absolute()), _FAILURES):
        at = media_ns(time_ms)  # none of a packet that is damaged
        if at is None:
            return None, []
        times.append(at)
        if key:
            keys.append(at)
    ordered = np.sort(np.array(times, np.int64))
    if len(ordered) < 2 or not (np.diff(ordered) > 0).all():
        return None, []
    return ordered, sorted(keys)


def _cuts(times: np.ndarray, keys: list[int], segment_frames: int) -> list[Cut]:
    starts = [0]
    for index in np.searchsorted(times, keys).tolist():
        if index - starts[-1] >= segment_frames and len(times) - index >= segment_frames // 2:
            starts.append(index)
    cuts = []
    for first, stop in zip(starts, [*starts[1:], len(times)]):
        part = times[first:stop].tolist()
        behind = int(times[stop]) if stop < len(times) else None
        cuts.append(Cut(first, part[0], behind, len(part), checksum(part)))
    return cuts


def _named(prefix: str, segment: Segment) -> Segment:
    what = json.dumps([segment.sources, None if segment.cut is None else asdict(segment.cut)])
    return replace(segment, name=f"{prefix}-{hashlib.sha256(what.encode()).hexdigest()[:12]}")
