"""Who runs the segments: processes of this machine, or the workers of a Ray cluster."""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import active_children, connection, get_context, parent_process
from typing import Any, Protocol

from ..dependencies import require
from ..errors import BatchError, SparseViTError
from .segments import Segment
from .work import MOST_DEATHS, Outcome, SegmentWorker, Work, fetched_model

_log = logging.getLogger(__name__)

#: Workers that may die over a segment, also before they begin it.
_MOST_STARTS = 3 * MOST_DEATHS
#: Letters of Ray's own errors that are told.
_MOST_TOLD = 500


class Engine(Protocol):
    """Runs segments in any order, each by one worker."""

    def run(self, work: Work, segments: Sequence[Segment]) -> Iterator[Outcome]:
        """Yields what became of each segment, as it is known. Closing the iterator stops the workers.

        A worker that dies is replaced, and its segment begun again. Raises what `SegmentWorker` raises.
        """


@dataclass(frozen=True)
class ThisProcess:
    """No worker at all: segments are run where they are asked for, one after the other."""

    workers: int = 1

    def run(self, work: Work, segments: Sequence[Segment]) -> Iterator[Outcome]:
        worker = SegmentWorker(work)
        try:
            yield from map(worker, segments)
        finally:
            worker.close()


@dataclass(frozen=True)
class Processes:
    """Processes of this machine, by `concurrent.futures`.

    Attributes:
        workers: number of processes; each opens the model.
    """

    workers: int = 1

    def run(self, work: Work, segments: Sequence[Segment]) -> Iterator[Outcome]:
        waiting = deque(segments)
        work = replace(work, model=fetched_model(work.model))  # here, where it is copied once
        # A pool of one process each: when one dies it is known which, and the others go on.
        hands = [_Hand(work) for _ in range(min(self.workers, len(segments)))]
        running: dict[Future[Outcome], tuple[_Hand, Segment]] = {}
        broke: Counter[str] = Counter()
        try:
            for hand in hands:
                segment = waiting.popleft()
                running[hand.submit(segment)] = hand, segment
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    hand, segment = running.pop(future)
                    try:
                        outcome = future.result()
                    except BrokenProcessPool:
                        hand.replace()
                        broke[segment.name] += 1
                        if broke[segment.name] > _MOST_STARTS:
                            reason = f"{_MOST_STARTS} workers died over it, or before they began it"
                            yield Outcome(segment.name, "failed", reason=reason)
                        else:
                            waiting.appendleft(segment)  # the worker itself counts how often it was begun
                    else:
                        yield outcome
                    if waiting:
                        segment = waiting.popleft()
                        running[hand.submit(segment)] = hand, segment
        finally:
            for hand in hands:
                hand.stop()


class _Hand:
    """A worker process that is replaced when it dies."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.replace()

    def replace(self) -> None:
        before = set(active_children())
        # Not forked: threads of libraries do not come along, and locks that they hold would stay held.
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _begin, (self._work,))
        self._pool.submit(os.getpid)  # which starts the process
        self._started = [child for child in active_children() if child not in before]

    def submit(self, segment: Segment) -> Future[Outcome]:
        try:
            return self._pool.submit(_run, segment)
        except BrokenProcessPool:
            self.replace()
            return self._pool.submit(_run, segment)

    def stop(self) -> None:
        """Ends the process, also in the middle of a segment."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._started:
            process.kill()


_worker: SegmentWorker | None = None


def _begin(work: Work) -> None:
    """In a new worker process."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; whoever started us ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = SegmentWorker(work)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _run(segment: Segment) -> Outcome:
    if _worker is None:
        raise RuntimeError("the worker process was not begun")
    return _worker(segment)


@dataclass(frozen=True)
class RayCluster:
    """Workers of a Ray cluster, by Ray Data: each is an actor with a model of its own.

    Attributes:
        workers: number of them; None for as many as the cluster has room for.
        cpus: CPU cores of each.
        gpus: GPUs of each; a share of one lets several use it.
        address: address of the cluster; None for the one of the environment, or a local one.
    """

    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None

    def run(self, work: Work, segments: Sequence[Segment]) -> Iterator[Outcome]:
        ray = require("ray")
        data = importlib.import_module("ray.data")
        started = not ray.is_initialized()
        alone = started and self._start(ray)
        context, log = data.DataContext.get_current(), logging.getLogger("ray.data")
        before = context.enable_progress_bars, log.level
        context.enable_progress_bars = False  # who asked for the job shows its progress
        log.setLevel(logging.ERROR)
        try:
            rows = data.from_items([segment.to_json() for segment in segments], override_num_blocks=len(segments))
            outcomes = rows.map_batches(
                RayWorker,
                fn_constructor_args=(work,),
                batch_size=1,
                compute=data.ActorPoolStrategy(size=min(self._room(ray, alone), len(segments))),
                num_cpus=self.cpus,
                num_gpus=self.gpus or None,
            )
            for row in outcomes.iter_rows():
                if row["error"]:
                    failure: SparseViTError = pickle.loads(row["error"])
                    raise failure
                yield Outcome.from_json(row["outcome"])
        except ray.exceptions.RayError as error:
            told = " ".join(str(error).split())[:_MOST_TOLD]
            raise BatchError(f"Ray could not run the job ({told}); see the logs of the cluster") from error
        finally:
            context.enable_progress_bars = before[0]
            log.setLevel(before[1])
            if started:
                ray.shutdown()

    def _start(self, ray: Any) -> bool:
        """Connects to the cluster, or starts one of this machine alone. Returns whether it is that."""
        address = self.address or os.environ.get("RAY_ADDRESS")
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as error:
            told = " ".join(str(error).split())[:_MOST_TOLD]
            where = f"no Ray cluster at {address}" if address else "Ray cannot start on this machine"
            raise BatchError(f"{where} ({told}); start one with `ray start --head`, or check the address") from error
        return not address

    def _room(self, ray: Any, alone: bool = False) -> int:
        """Workers to begin with. Where none fits on any node one may join, unless the cluster is this machine alone."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(self._fitting(node) for node in nodes)
        if not room:
            asked = f"{self.cpus:g} CPU cores" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
            if alone:
                raise BatchError(f"this machine has no {asked} for a worker; ask for fewer (--cpus, --gpus)")
            _log.warning("no node of the Ray cluster has %s for a worker; waiting for one that joins", asked)
        return self.workers or max(1, room)

    def _fitting(self, node: Mapping[str, float]) -> int:
        """Workers that fit on a node."""
        asked = {"CPU": self.cpus, "GPU": self.gpus}
        return min((int(node.get(name, 0.0) / each) for name, each in asked.items() if each), default=sys.maxsize)


class RayWorker:
    """`SegmentWorker` over batches of Ray Data. Our own errors come back as values: Ray would hand on their text."""

    def __init__(self, work: Work) -> None:
        self._worker = SegmentWorker(work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        outcomes, errors = [], []
        for text in batch["item"]:
            try:
                outcomes.append(self._worker(Segment.from_json(str(text))).to_json())
                errors.append(b"")
            except SparseViTError as error:
                outcomes.append("")
                errors.append(pickle.dumps(error))
        return {"outcome": outcomes, "error": errors}
