"""Annotated video: .mp4 or .avi."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SinkError
from ..files import resolve_links, write_error
from ..texts import RENAME, is_unicode, shown
from .encoders import OPENCV_CODECS, Encoder, open_encoder
from .parts import Parts, Rotation
from .paths import part_path
from .recording import RecordingSink
from .timeline import Timeline

if TYPE_CHECKING:
    from ..tasks import Result

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = tuple(OPENCV_CODECS)
DEFAULT_FPS = 25.0
#: Lowest and highest rate of a video, frames per second.
LOWEST_FPS, HIGHEST_FPS = 0.01, 1000.0
#: A kill costs an .mp4 that OpenCV writes whole: live, no more than so much of it.
_UNSAFE_PART_S = 10.0


class VideoSink(RecordingSink):
    """Writes a video that plays as fast as things happened: a picture is shown when its frame was taken, by its
    result's `timestamp_ns`, and stands until the next. The last one stands as long as those before on average.

    Pictures of another size, and those after a pause that one file cannot hold, go on in a new part, ``out-0002.mp4``.
    Encoders drop the last row or column of odd sizes.

    A part is written under a temporary name in the same folder and renamed when it is complete. Of a live source it is
    written under its own name: an .mp4 in fragments of a second, so that a kill leaves what plays up to the last of
    them, and any other end an ordinary file. Without PyAV an .mp4 cannot be written so: the parts last 10 s then, of
    which a kill costs the last; an .avi plays at any moment.

    Attributes:
        codec: H.264 where PyAV is installed, else MPEG-4; Motion JPEG for .avi.

    Args:
        path: path of the video, .mp4 or .avi.
        fps: frames per second of results that have no time, and of the encoders of OpenCV, which repeat and leave out
            pictures; 25 when None.
        overwrite: replaces a file that this program did not write.
        live: what is written cannot be made again: it is kept, whatever happens.
        rotation: limits of a part.

    Raises:
        SinkError: the folder is missing or cannot be written, the file may not be replaced, its name is no Unicode, the
            rate is out of range, or OpenCV has no encoder.
    """

    needs_image = True

    codec: str

    def __init__(
        self,
        path: Path,
        fps: float | None = None,
        overwrite: bool = True,
        *,
        live: bool = False,
        rotation: Rotation | None = None,
    ):
        self.name = str(path)
        if not is_unicode(self.name):
            raise SinkError(f"cannot write {shown(self.name)}: {RENAME}")
        self._live = live
        self._fps = DEFAULT_FPS if fps is None else float(fps)
        if not LOWEST_FPS <= self._fps <= HIGHEST_FPS:
            raise SinkError(
                f"{self.name}: the rate is {fps} frames per second; choose one from {LOWEST_FPS:g} to {HIGHEST_FPS:g}"
            )
        self._parts = Parts(path, overwrite, live, rotation or Rotation())
        self._encoder: Encoder | None = None
        self._size_wh: tuple[int, int] | None = None
        self._closed = False
        self._timeline = Timeline(self._fps)
        self._start_ns = self._last_ns = 0
        # A trial file: a missing encoder shows now and not at the first frame.
        trial_path = part_path(resolve_links(path))
        try:
            trial = self._open(trial_path, (64, 64))
            trial.abort()
        except OSError as error:
            raise write_error(self.name, error) from error
        finally:
            trial_path.unlink(missing_ok=True)
        self.codec = trial.codec
        if live and trial.needs_closing:
            _log.warning(
                "%s: without PyAV an .mp4 plays only when it is closed, so it is written in parts of %g s; "
                "pip install 'sparsevit-edge[video]', or write an .avi",
                self.name,
                _UNSAFE_PART_S,
            )
            self._parts.rotation = self._parts.rotation.at_most(_UNSAFE_PART_S)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        image = self._checked(image)
        if self._closed:
            raise SinkError(f"{self.name} is closed; open a new sink")
        size_wh = (image.shape[1], image.shape[0])
        at_ns = self._timeline.place(result.timestamp_ns)
        try:
            if self._encoder is not None and self._ends_before(self._encoder, at_ns, size_wh):
                self._complete(self._encoder)
            if self._encoder is None:
                self._encoder, self._size_wh = self._open(self._parts.begin(at_ns), size_wh), size_wh
                self._start_ns = at_ns
            self._encoder.write(image, at_ns - self._start_ns)
        except OSError as error:
            raise self._failed(error) from error
        except SinkError:
            self._give_up()
            raise
        self._last_ns = at_ns

    @property
    def may_pause(self) -> bool:
        """A live source goes on without; of a file nobody would want a part alone."""
        return self._live

    def pause(self) -> None:
        if self._encoder is None:
            return
        try:
            self._complete(self._encoder)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.pause()
        if not self.written:
            _log.warning("%s: no frame was written, so there is no video", self.name)

    def _open(self, path: Path, size_wh: tuple[int, int]) -> Encoder:
        try:
            return open_encoder(path, size_wh, self._fps, self._live)
        except SinkError as error:
            raise SinkError(f"{self.name}: {error}") from error

    def _ends_before(self, encoder: Encoder, at_ns: int, size_wh: tuple[int, int]) -> bool:
        """Whether a picture is for the next part."""
        if size_wh != self._size_wh or at_ns - self._last_ns > encoder.longest_ns:
            return True
        part = self._parts.current
        return part is not None and self._parts.is_due(at_ns, part.stat().st_size)

    def _complete(self, encoder: Encoder) -> None:
        """Closes the part under way and puts it in place. Raises OSError."""
        encoder.close()
        self._encoder = None
        self._check_complete()
        self._parts.complete()

    def _give_up(self) -> None:
        """Nothing more is written. What can be kept of a live source is kept as it is."""
        self._closed = True
        if self._encoder is not None:
            self._encoder.abort()
            self._encoder = None
        self._parts.give_up()

    def _check_complete(self) -> None:
        """OpenCV reports no error when the disk fills up; a video that cannot be read back tells."""
        capture = cv2.VideoCapture(str(self._parts.current))
        readable = capture.isOpened() and capture.grab()
        capture.release()
        if not readable:
            raise OSError("it does not read back")
