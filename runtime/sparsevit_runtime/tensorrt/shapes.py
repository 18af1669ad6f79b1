"""What is prepared for each batch size and `keep` met so far, a bounded number of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..cuda import CudaRuntime, DeviceBuffer, Graph, PinnedBuffer, Stream

#: Bytes from one `keep` to the next: TensorRT wants its tensors at multiples of 256.
_ALIGNMENT = 256


@dataclass(frozen=True)
class Replay:
    """A recorded run.

    Attributes:
        graph: CUDA graph of it.
        execution: context it was recorded from, bound to nothing else since: it lives as long as the graph is launched.
    """

    graph: Graph
    execution: Any


@dataclass(eq=False)
class Prepared:
    """One batch size and `keep`.

    Attributes:
        batch: frames.
        keep_address: address of its counts, where the engine reads them: a graph reads them again at each launch, so
            they stay where they are. 0 for a fixed export.
        row: row of the counts in their buffer.
        profile: number of the optimisation profile that is tuned for counts next to these.
        output_shapes: shapes by name, filled in by the first run.
        runs: number of runs so far.
        replays: recorded runs by slot.
    """

    batch: int
    keep_address: int
    row: int
    profile: int = 0
    output_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    runs: int = 0
    replays: dict[int, Replay] = field(default_factory=dict)


class PreparedShapes:
    """The batch sizes and `keep`s met last.

    Threads: one at a time.
    """

    def __init__(
        self,
        cuda: CudaRuntime,
        pairs: int,
        dtype: np.dtype,
        on_host: bool,
        limit: int,
        levels: Sequence[Sequence[int]] = (),
    ) -> None:
        """
        Args:
            pairs: entries of `keep`; 0 for a fixed export.
            dtype: type of `keep` in the engine.
            on_host: the engine reads `keep` from the host's memory.
            limit: number of entries to hold.
            levels: counts that each optimisation profile is tuned for; empty where there is one.
        """
        self._stride = -(-pairs * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
        self._pairs, self._dtype, self._on_host, self._limit = pairs, dtype, on_host, limit
        self._levels = [np.array(level) for level in levels]
        self._host = PinnedBuffer(cuda, self._stride * limit)
        self._device = None if on_host or cuda.device.integrated else DeviceBuffer(cuda, self._stride * limit)
        self._entries: OrderedDict[tuple[int, tuple[int, ...]], Prepared] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def graphs(self) -> int:
        """Graphs held."""
        return sum(len(entry.replays) for entry in self._entries.values())

    def get(self, batch: int, keep: np.ndarray | None, stream: Stream, drain: Callable[[], None]) -> Prepared:
        """What is prepared for a batch size and `keep`; a new entry takes the place of the one used longest ago.

        Args:
            keep: (pairs,) integers, None for a fixed export.
            stream: stream on which the engine runs.
            drain: waits for everything that may still use the entry to be given up.
        """
        key = _key(batch, keep)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            return entry
        row = len(self._entries)
        if row == self._limit:
            drain()
            _, oldest = self._entries.popitem(last=False)
            _close_graphs(oldest)
            row = oldest.row
        address = 0 if keep is None else self._store(keep, row, stream)
        self._entries[key] = entry = Prepared(batch, address, row, self._profile(keep))
        return entry

    def is_full(self, batch: int, keep: np.ndarray | None) -> bool:
        """Whether a batch size and `keep` would take the place of others."""
        return _key(batch, keep) not in self._entries and len(self._entries) == self._limit

    def drop_graphs(self) -> None:
        """Gives up all graphs. The streams they ran on are idle."""
        for entry in self._entries.values():
            _close_graphs(entry)

    def close(self) -> None:
        """Gives everything back. The streams are idle."""
        self.drop_graphs()
        self._entries.clear()
        self._host.close()
        if self._device is not None:
            self._device.close()

    def _profile(self, keep: np.ndarray | None) -> int:
        """The profile tuned for the counts that differ least, all pairs together; any of them runs every `keep`."""
        if keep is None or not self._levels:
            return 0
        return int(np.argmin([np.abs(level - keep).sum() for level in self._levels]))

    def _store(self, keep: np.ndarray, row: int, stream: Stream) -> int:
        start, nbytes = row * self._stride, self._pairs * self._dtype.itemsize
        self._host.host[start : start + nbytes] = keep.astype(self._dtype).view(np.uint8)
        if self._on_host:
            return self._host.address + start
        if self._device is None:
            return self._host.view.part(start, nbytes).address
        target = self._device.view.part(start, nbytes)
        stream.upload(self._host, target, nbytes, start)
        return target.address


def _key(batch: int, keep: np.ndarray | None) -> tuple[int, tuple[int, ...]]:
    return batch, () if keep is None else tuple(keep.tolist())


def _close_graphs(entry: Prepared) -> None:
    for replay in entry.replays.values():
        replay.graph.close()  # before the execution context goes
    entry.replays.clear()
