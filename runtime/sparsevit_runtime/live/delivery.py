"""A result on its way to the outlets, with a picture that is drawn once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

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
