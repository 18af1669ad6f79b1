"""Arrays that drawing works in, kept from frame to frame: new memory costs more than what is done in it."""

from __future__ import annotations

import math
import threading

import numpy as np


class Scratch(threading.local):
    """Memory of a thread, by name. What an array held is gone when its name is asked for again in that thread."""

    def __init__(self) -> None:
        self._memory: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A uint8 array of any content."""
        size = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.size < size:
            memory = self._memory[name] = np.empty(size, np.uint8)
        return memory[:size].reshape(shape)
