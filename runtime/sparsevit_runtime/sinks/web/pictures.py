"""Pictures for viewers: drawn and encoded once for all who look at the same camera, and only while somebody does."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import cv2
import numpy as np

from ...draw import draw_result
from ...tasks import Result
from .protocol import Draw

_log = logging.getLogger(__name__)

#: A result without windows is shown to those who want to see them when no other has come for so long, seconds.
_WINDOWS_S = 2.0

#: A camera, and whether the windows that were computed are drawn.
Key = tuple[str, bool]


class Viewer:
    """Somebody who looks: a mailbox for one picture, in which a newer one takes the place of one not yet fetched.

    Threads: `offer` and `close` from any; `next` in the event loop that it was made in.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._picture: bytes | None = None
        self._closed = False

    def offer(self, picture: bytes) -> None:
        """Puts a JPEG into the mailbox."""
        self._picture = picture
        self._wake()

    def close(self) -> None:
        """No more pictures."""
        self._closed = True
        self._wake()

    async def next(self) -> bytes | None:
        """The newest picture not yet fetched, waiting for one; None after `close`."""
        while not self._closed:
            picture, self._picture = self._picture, None
            if picture is not None:
                return picture
            self._changed.clear()
            if self._picture is None and not self._closed:
                await self._changed.wait()
        return None

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be woken
            self._loop.call_soon_threadsafe(self._changed.set)


class _View:
    """What the viewers of one key share."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.painted: Result | None = None
        self.due_s = 0.0


class Pictures:
    """Paints the newest results that somebody looks at.

    Threads: one of its own, "sparsevit-web-pictures", that draws and encodes, so that whoever brings results never
    waits. Every method is safe from any thread.

    Attributes:
        encoded: pictures encoded so far.
    """

    def __init__(
        self,
        *,
        fps: float,
        quality: int,
        width: int,
        draw: Callable[[], Draw | None],
        on_windows: Callable[[bool], None],
    ) -> None:
        """
        Args:
            fps: pictures per second at most, each camera.
            quality: JPEG quality, 1 to 100.
            width: width of pictures at most, pixels.
            draw: tells how pictures without windows are drawn; None for `draw_result`.
            on_windows: told when somebody wants to see the computed windows, and when nobody does any more.
        """
        self.encoded = 0
        self._pause_s, self._quality, self._width = 1 / fps, quality, width
        self._draw, self._on_windows = draw, on_windows
        self._changed = threading.Condition()
        self._views: dict[Key, _View] = {}
        self._newest: dict[str, tuple[Result, np.ndarray | None, float]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sparsevit-web-pictures", daemon=True)

    @property
    def viewers(self) -> int:
        """Those who look now."""
        with self._changed:
            return sum(len(view.viewers) for view in self._views.values())

    @property
    def windows_wanted(self) -> bool:
        """Whether somebody looks at the windows that were computed."""
        with self._changed:
            return any(windows for _, windows in self._views)

    def start(self) -> None:
        self._thread.start()

    def take(self, camera: str, result: Result, image: np.ndarray | None) -> None:
        """Has a result painted as soon as somebody wants it.

        Args:
            camera: label of its source.
            result: result of the frame.
            image: (H, W, 3) uint8 BGR, annotated, for a result that carries no frame; else None.
        """
        with self._changed:
            self._newest[camera] = (result, image, time.monotonic())
            if self._views:
                self._changed.notify_all()

    def clear(self) -> None:
        """Forgets the results of all cameras; those who look stay."""
        with self._changed:
            self._newest.clear()

    def watch(self, key: Key, viewer: Viewer) -> None:
        """Has a viewer given pictures, the newest at once."""
        with self._changed:
            before = self.windows_wanted
            view = self._views.setdefault(key, _View())
            view.viewers.add(viewer)
            view.painted, view.due_s = None, 0.0
            if self._closed:
                viewer.close()
            self._tell_windows(before)
            self._changed.notify_all()

    def leave(self, key: Key, viewer: Viewer) -> None:
        """Gives a viewer no more pictures."""
        with self._changed:
            before = self.windows_wanted
            view = self._views.get(key)
            if view is not None:
                view.viewers.discard(viewer)
                if not view.viewers:
                    del self._views[key]
            self._tell_windows(before)

    def close(self) -> None:
        """Sends the viewers away. Waits a moment for a picture that is being painted."""
        with self._changed:
            self._closed = True
            for view in self._views.values():
                for viewer in view.viewers:
                    viewer.close()
            self._changed.notify_all()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(0.3)

    def _tell_windows(self, before: bool) -> None:
        wanted = self.windows_wanted
        if wanted != before:
            self._on_windows(wanted)

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            key, view, result, image = job
            try:
                picture = self._paint(result, image, windows=key[1])
            except Exception as error:  # one picture that cannot be drawn ends nothing
                _log.warning("frame %d of %s cannot be drawn: %s", result.frame_index, key[0], error)
                continue
            with self._changed:
                for viewer in view.viewers:
                    viewer.offer(picture)

    def _next_job(self) -> tuple[Key, _View, Result, np.ndarray | None] | None:
        """Waits for a picture that somebody wants; None at the end."""
        with self._changed:
            while not self._closed:
                now, wait_s = time.monotonic(), None
                for key, view in list(self._views.items()):
                    if key[0] not in self._newest:
                        continue
                    result, image, came_s = self._newest[key[0]]
                    if result is view.painted or (result.image is None and image is None):
                        continue
                    due_s = view.due_s
                    if key[1] and result.activity is None:  # a result that tells its windows is on its way
                        due_s = max(due_s, came_s + _WINDOWS_S)
                    if due_s > now:
                        wait_s = due_s - now if wait_s is None else min(due_s - now, wait_s)
                        continue
                    self._views[key] = self._views.pop(key)  # to the end: each in turn
                    view.painted = result
                    view.due_s = max((view.due_s or now) + self._pause_s, now + self._pause_s / 2)
                    return key, view, result, image
                self._changed.wait(wait_s)
            return None

    def _paint(self, result: Result, image: np.ndarray | None, windows: bool) -> bytes:
        if result.image is None:
            picture = image
        elif windows:
            picture = draw_result(result.image, result)
        else:
            picture = (self._draw() or draw_result)(result.image, replace(result, activity=None))
        assert picture is not None
        height, width = picture.shape[:2]
        if width > self._width:
            size = (self._width, max(1, round(height * self._width / width)))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        if not done:
            raise ValueError(f"a picture of {picture.shape} does not become a JPEG")
        self.encoded += 1
        jpeg: bytes = data.tobytes()
        return jpeg
