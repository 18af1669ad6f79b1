"""Stand-ins for cameras whose drivers do what real ones have been seen to do."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from sparsevit_runtime.sources.base import Frame, Source

#: Longer than any test; a call that hangs so long counts as one that does not return.
FOR_EVER_S = 60.0


class Device:
    """What is plugged in: opened again and again, each time it does what the next script says.

    A script is a list of steps: a number of frames, "hang", "wait" (until it is closed), or an exception. The last
    script is that of all further openings.

    Attributes:
        opened: openings so far.
        hanging: events of the calls that do not return; set one to let its call go.
        sources: those that are still in memory.
        given: images handed out, in order.
    """

    made: ClassVar[weakref.WeakSet[Device]] = weakref.WeakSet()

    def __init__(self, *scripts: list, hang_open: tuple[int, ...] = ()) -> None:
        self.made.add(self)
        self.scripts = scripts
        self.hang_open = hang_open
        self.opened = 0
        self.hanging: list[threading.Event] = []
        self.sources: weakref.WeakSet[Camera] = weakref.WeakSet()
        self.given: list[np.ndarray] = []

    def open(self) -> Camera:
        number = self.opened
        self.opened += 1
        if number in self.hang_open:
            self.hang()
        camera = Camera(self, self.scripts[min(number, len(self.scripts) - 1)])
        self.sources.add(camera)
        return camera

    def hang(self) -> None:
        """Does not return, as `time.sleep` in a driver, until the test is over."""
        event = threading.Event()
        self.hanging.append(event)
        event.wait(FOR_EVER_S)

    def let_go(self) -> None:
        for event in self.hanging:
            event.set()


class Camera(Source):
    """A device, opened."""

    name, live, size_wh, fps = "camera", True, (8, 6), 30.0

    def __init__(self, device: Device, script: list) -> None:
        self.closed = threading.Event()
        self.closers: set[str] = set()
        self._device = device
        self._steps = self._run(script)
        self._index = 0

    def read(self) -> Frame | None:
        return next(self._steps, None)

    def close(self) -> None:
        self.closers.add(threading.current_thread().name)
        self.closed.set()

    def _run(self, script: list) -> Iterator[Frame]:
        for step in script:
            if step == "hang":
                self._device.hang()
            elif step == "wait":
                self.closed.wait(FOR_EVER_S)
                return
            elif isinstance(step, Exception):
                raise step
            else:
                for _ in range(step):
                    image = np.full((6, 8, 3), len(self._device.given) % 256, np.uint8)
                    self._device.given.append(image)
                    yield Frame(image, self._index, time.time_ns())
                    self._index += 1


class Feed(Source):
    """A live source or a file that gives the frames put into it; None is its end, an exception its error."""

    name = "feed"

    def __init__(self, live=True):
        self.live = live
        self.closed = False
        self._items = queue.Queue()
        self._index = 0

    def give(self, *items):
        for item in items:
            self._items.put(item)

    def read(self):
        item = self._items.get()
        if isinstance(item, Exception):
            raise item
        if item is None:
            return None
        self._index += 1
        return Frame(item, self._index - 1, time.time_ns())

    def close(self):
        self.closed = True
        self._items.put(None)
