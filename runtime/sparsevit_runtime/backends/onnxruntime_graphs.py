"""Runs of an ONNX Runtime session that are recorded as CUDA graphs: one launch where there were hundreds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

#: Batch size, `keep`, and names of the outputs: what a recorded run cannot change.
Key = tuple[int, tuple[int, ...], tuple[str, ...]]

#: ONNX Runtime's option of a run: the number that its graph is kept under.
_NUMBER, _NONE = "gpu_graph_id", "-1"
#: Kinds of runs that are remembered for each graph that there is room for.
_REMEMBERED = 8


@dataclass(eq=False)
class Recording:
    """One kind of runs in one set of buffers.

    Attributes:
        binding: inputs and outputs, which stay where they are.
        options: options of the run, with its number.
        done: a run went well, and so it is recorded.
    """

    binding: Any
    options: Any
    done: bool = False


class Recorder:
    """Chooses the runs of a session that are recorded: each kind from the second time on, while there is room.

    ONNX Runtime holds a graph for as long as the session lives, one in each thread that runs it, and replays it with
    the `keep` and the addresses of the first time.

    Threads: to be used by one at a time, which holds `lock`.

    Attributes:
        lock: lock held while the session runs: what another thread queued meanwhile would be recorded, too.
        unrecorded: options of a run that is not to be recorded.
    """

    def __init__(self, ort: ModuleType, limit: int) -> None:
        """
        Args:
            ort: onnxruntime.
            limit: number of graphs to hold.
        """
        self._ort, self._limit, self._held = ort, limit, 0
        self._met: OrderedDict[Key, None] = OrderedDict()
        self._off: str | None = None
        self.lock = threading.Lock()
        self.unrecorded = self._options(_NONE)

    @property
    def state(self) -> str:
        """What is recorded, in words."""
        return f"off: {self._off}" if self._off is not None else f"{self._held} held"

    def recording(self, held: dict[Key, Recording], key: Key, bind: Callable[[], Any]) -> Recording | None:
        """What to run this kind of runs by; None for a run that is not to be recorded.

        Args:
            held: recordings of a set of buffers, which this one is added to.
            key: kind of the run.
            bind: binds the buffers.
        """
        if self._off is not None:
            return None
        found = held.get(key)
        if found is not None or not self._is_due(key):
            return found
        held[key] = found = Recording(bind(), self._options(str(self._held)))
        self._held += 1
        return found

    def turn_off(self, reason: str) -> None:
        """Records no more."""
        self._off = reason

    def _is_due(self, key: Key) -> bool:
        if self._held == self._limit:
            return False
        if key in self._met:
            return True
        self._met[key] = None
        if len(self._met) > _REMEMBERED * self._limit:
            self._met.popitem(last=False)
        return False

    def _options(self, number: str) -> Any:
        options = self._ort.RunOptions()
        options.add_run_config_entry(_NUMBER, number)
        return options
