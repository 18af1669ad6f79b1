"""A result on its way to the outlets, with a picture that is drawn once for all of them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from ..errors import FrameError
from ..tasks import Result

#: Draws the annotated picture of a frame, (H, W, 3) uint8 BGR, and its result: another image of that shape, or the
#: frame itself.
Draw = Callable[[np.ndarray, Result], np.ndarray]


class Delivery:
    """A result, handed to every outlet.

    Threads: safe from any thread; whoever first asks for the picture draws it, the others wait for it.

    Attributes:
        result: result of one frame.
    """

    def __init__(self, result: Result, draw: Draw) -> None:
        self.result = result
        self._draw = draw
        self._lock = threading.Lock()
        self._picture: np.ndarray | None = None

    def picture(self) -> np.ndarray:
        """The annotated frame, (H, W, 3) uint8 BGR. Shared by all outlets: to be read only.

        Raises:
            FrameError: the frame is on the GPU. Whatever drawing raises.
        """
        with self._lock:
            if self._picture is None:
                image = self.result.image
                if image is None:
                    raise FrameError(
                        f"frame {self.result.frame_index} is on the GPU, where nothing is drawn; leave out what wants "
                        "pictures, or stream frames of the host"
                    )
                self._picture = self._draw(image, self.result)
            return self._picture


class Drawing:
    """Draws the pictures of a session's results, each once, whoever asks for it: an outlet, or a page by the session.

    Threads: safe from any thread.
    """

    def __init__(self, draw: Draw, activity: bool) -> None:
        """
        Args:
            draw: draws a picture.
            activity: whether pictures show the windows that were computed, of results that tell them.
        """
        self._draw, self._activity = draw, activity
        self._lock = threading.Lock()
        self._newest: dict[str, Delivery] = {}
        self._held: weakref.WeakSet[Delivery] = weakref.WeakSet()  # by outlets that are behind

    def deliver(self, result: Result) -> Delivery:
        """A result on its way."""
        delivery = Delivery(result, self._drawn)
        with self._lock:
            self._newest[result.source] = delivery
            self._held.add(delivery)
        return delivery

    def draw(self, image: np.ndarray, result: Result) -> np.ndarray:
        """The picture of a frame and its result; that of an outlet where it has one.

        Args:
            image: (H, W, 3) uint8 BGR.
            result: result of that frame.

        Returns:
            (H, W, 3) uint8 BGR, to be read only.
        """
        with self._lock:
            held = [each for each in self._held if each.result.image is image]
        for each in held:
            if self._shows_the_same(result, each.result):
                return each.picture()
        return self._drawn(image, result)

    def forget(self) -> None:
        """Lets go of all pictures."""
        with self._lock:
            self._newest.clear()

    def _drawn(self, image: np.ndarray, result: Result) -> np.ndarray:
        return self._draw(
            image, result if self._activity or result.activity is None else replace(result, activity=None)
        )

    def _shows_the_same(self, one: Result, other: Result) -> bool:
        """Whether two results are the same but for windows that are not shown."""
        names = {field.name for field in fields(other)} - (set() if self._activity else {"activity"})
        return type(one) is type(other) and all(getattr(one, name) is getattr(other, name) for name in names)
