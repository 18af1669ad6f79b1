"""The frames of a segment, as `sparsevit run` would read them from its sources."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from ..errors import ImageError, SourceError
from ..images.image_files import decode_image
from ..sources.animation import HEAD, AnimationSource, is_animated
from ..sources.base import Frame, Source
from ..sources.capture import Capture
from ..sources.video import open_video_file
from .inputs import is_image
from .places import local_copy, read_bytes
from .segments import Broken, Cut, Segment, checksum, reason_of

#: What a file that is gone, or may not be read, fails with; anything else of the system may heal.
_LASTING = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
)
#: Nanoseconds that a second seek goes further back than the first.
_FURTHER_NS = 1_000_000_000


class CannotCutError(SourceError):
    """A video's parts are not what its index of packets says; it has to be read in one piece."""


def read_segment(segment: Segment) -> Iterator[tuple[str, Frame] | Broken]:
    """The frames of a segment, each with its source; inputs that are broken stand where their frames would be.

    Raises:
        CannotCutError: the segment is part of a video that cannot be read in parts.
        OSError, BatchError: a file could not be reached, which may be different another time.
    """
    for uri in segment.sources:
        try:
            if is_image(uri):
                yield from ((uri, frame) for frame in _read_image(uri))
                continue
            with local_copy(uri) as path:
                if segment.cut is not None:
                    yield from ((uri, frame) for frame in _read_cut(path, segment.cut))
                    continue
                source = open_video_file(path)
                yield from ((uri, frame) for frame in _read_all(source))
                if source.damaged:
                    yield Broken(
                        uri, f"{source.damaged} of its frames are missing or do not decode; the others are there"
                    )
        except CannotCutError:
            raise
        except (ImageError, SourceError) as error:
            yield Broken(uri, reason_of(error))
        except OSError as error:
            if error.errno not in _LASTING and not isinstance(error, FileNotFoundError):  # fsspec's have no number
                raise
            yield Broken(uri, reason_of(error))


def _read_image(uri: str) -> Iterator[Frame]:
    data = read_bytes(uri)
    if not is_animated(data[:HEAD]):
        yield Frame(decode_image(data), 0, 0, file=uri)
        return
    with local_copy(uri) as path:
        yield from _read_all(AnimationSource(path))


def _read_all(source: Source) -> Iterator[Frame]:
    with source:
        yield from source


def _read_cut(path: Path, cut: Cut) -> Iterator[Frame]:
    capture = Capture(str(path.absolute()))
    try:
        if not (capture.skip() == cut.first_ns if cut.first_index == 0 else _go_to(capture, cut.first_ns)):
            raise CannotCutError(f"{path.name} cannot be entered at {cut.first_ns / 1e9:.3f} s")
        picture = capture.skipped()
        times = []
        while picture is not None and picture.media_ns is not None:
            if cut.stop_ns is not None and picture.media_ns >= cut.stop_ns:
                break
            times.append(picture.media_ns)
            yield Frame(picture.image, cut.first_index + len(times) - 1, picture.media_ns, media_ns=picture.media_ns)
            if len(times) == cut.frames:
                break
            picture = capture.read()
        if len(times) != cut.frames or checksum(times) != cut.checksum:
            raise CannotCutError(f"{path.name} has other frames from {cut.first_ns / 1e9:.3f} s on than its index says")
    finally:
        capture.close()


def _go_to(capture: Capture, position_ns: int) -> bool:
    """Decodes up to the frame at a position, and whether there is one."""
    back = 0
    while True:
        start = max(0, position_ns - back)
        capture.seek(start)
        at = capture.skip()
        if at is not None and at <= position_ns:
            break
        if start == 0:
            return False
        back = 2 * back + _FURTHER_NS
    while at is not None and at < position_ns:
        at = capture.skip()
    return at == position_ns
