"""The stream: capture and letterbox in one thread, inference in another, decoding in the consumer's.

    source -> [capture thread: read, letterbox] -> prepared -> [inference thread: run] -> outputs -> [consumer: decode]

Files wait for a slow consumer. A live source never waits: `prepared` is then a one-slot mailbox, and a frame nobody
took is replaced by the next and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import FrameError
from .images.frames import FrameLike
from .live.channel import Channel, Closed
from .runner import PlacedFrame, Request, Runner, RunnerQueue
from .sources import open_source
from .sources.base import Frame, Source
from .tasks import Result

if TYPE_CHECKING:
    from typing_extensions import Self

#: Frames a file's thread may be ahead of the next one; enough to ride over uneven decoding and drawing.
_AHEAD = 2
#: A thread that is still inside a driver's read after this long is left to end by itself.
_JOIN_TIMEOUT_S = 5.0


class Stream(Iterator[Result]):
    """Results of a source's frames, in order.

    Threads: one consumer. The worker threads start with the first result asked for and end with the last one, with
    `close`, or when the stream is dropped half-way.

    Attributes:
        source: being read, for its name, size, frame rate and frame count.
    """

    def __init__(
        self, runner: Runner, source: str | Path | int | Source | Iterable[FrameLike], request: Request
    ) -> None:
        """Opens the source; see `Model.stream`.

        Raises:
            SourceError: it cannot be opened.
        """
        self.source = _as_source(source)
        self._results = _run(runner, request, self.source)

    def __next__(self) -> Result:
        return next(self._results)

    def close(self) -> None:
        """Stops the threads and closes the source. Safe to repeat."""
        self._results.close()
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class _Prepared:
    """A frame, placed and letterboxed."""

    frame: Frame
    image: np.ndarray
    placed: PlacedFrame
    timings: dict[str, float]

    @property
    def images(self) -> np.ndarray | None:
        return None if self.placed.on_gpu else self.image


def _run(runner: Runner, request: Request, source: Source) -> Iterator[Result]:
    # Buffers: one being filled, one being run, and as many as can wait in between.
    waiting = 1 if source.live else _AHEAD
    buffers: Channel[np.ndarray] = Channel(waiting + 2)
    for _ in range(waiting + 2):
        buffers.put(runner.new_buffer())
    prepared: Channel[_Prepared] = Channel(waiting, replace=source.live)
    outputs: Channel[tuple[_Prepared, dict[str, np.ndarray]]] = Channel(waiting)
    workers = [
        threading.Thread(
            target=_worker, args=(_capture, prepared, runner, source, buffers), name="sparsevit-capture", daemon=True
        ),
        threading.Thread(
            target=_worker,
            args=(_infer, outputs, runner, request, prepared, buffers),
            name="sparsevit-inference",
            daemon=True,
        ),
    ]
    try:
        for worker in workers:
            worker.start()
        while True:
            try:
                done, arrays = outputs.get()
            except Closed:
                return
            yield runner.decode(
                arrays,
                0,
                done.placed,
                request,
                done.timings,
                frame_index=done.frame.index,
                timestamp_ns=done.frame.timestamp_ns,
                dropped=prepared.replaced,
            )
    finally:
        for channel in (buffers, prepared, outputs):
            channel.abandon()
        source.close()
        for worker in workers:
            if worker.is_alive():
                worker.join(_JOIN_TIMEOUT_S)


def _worker(work: Callable[..., None], out: Channel, *args: object) -> None:
    """Runs a stage until its input ends. An error closes `out` behind the items before it and reaches the consumer."""
    try:
        work(out, *args)
    except Closed:
        out.close()
    except Exception as error:
        out.close(error)
    else:
        out.close()


def _capture(prepared: Channel[_Prepared], runner: Runner, source: Source, buffers: Channel[np.ndarray]) -> None:
    while True:
        start = time.perf_counter()
        frame = source.read()
        if frame is None:
            return
        read = time.perf_counter()
        image = buffers.get()
        fitting = time.perf_counter()
        placed = runner.place(frame.image, frame.inputs)
        if not placed.on_gpu:
            runner.letterbox(placed, image[0])
        timings = {"capture_ms": (read - start) * 1e3, "preprocess_ms": (time.perf_counter() - fitting) * 1e3}
        lost = prepared.put(_Prepared(frame, image, placed, timings))
        if lost is not None:
            buffers.put(lost.image)


def _infer(
    outputs: Channel, runner: Runner, request: Request, prepared: Channel[_Prepared], buffers: Channel[np.ndarray]
) -> None:
    with runner.queue() as queue:
        if queue is None:
            _infer_one_by_one(outputs, runner, request, prepared, buffers)
        else:
            _infer_overlapping(outputs, queue, request, prepared, buffers)


def _infer_one_by_one(
    outputs: Channel, runner: Runner, request: Request, prepared: Channel[_Prepared], buffers: Channel[np.ndarray]
) -> None:
    while True:
        item = prepared.get()
        start = time.perf_counter()
        arrays = runner.run([item.placed], item.images, request)
        item.timings["inference_ms"] = (time.perf_counter() - start) * 1e3
        buffers.put(item.image)
        outputs.put((item, arrays))


def _infer_overlapping(
    outputs: Channel, queue: RunnerQueue, request: Request, prepared: Channel[_Prepared], buffers: Channel[np.ndarray]
) -> None:
    """Starts a frame before it waits for the one before; an answer is never held back for a frame yet to come."""
    flying: deque[tuple[_Prepared, float, Any]] = deque()

    def land() -> None:
        item, start, ticket = flying.popleft()
        arrays = queue.collect(ticket)
        item.timings["inference_ms"] = (time.perf_counter() - start) * 1e3
        outputs.put((item, arrays))

    while True:
        try:
            item = prepared.get_if_any() if flying else prepared.get()
            if item is not None:
                start = time.perf_counter()
                ticket = queue.submit([item.placed], item.images, request)
                flying.append((item, start, ticket))
                buffers.put(item.image)
        except BaseException:  # the end, or an error: it comes behind the frames before it
            while flying:
                land()
            raise
        if len(flying) == 2 or item is None:
            land()


class _Frames(Source):
    """Frames the caller already has, as a source."""

    name = "frames"

    def __init__(self, frames: Iterable[np.ndarray]) -> None:
        self._frames = iter(frames)
        self._index = 0
        self.frame_count = len(frames) if hasattr(frames, "__len__") else None

    def read(self) -> Frame | None:
        try:
            image = next(self._frames)
        except StopIteration:
            return None
        frame = Frame(image, self._index, time.time_ns())
        self._index += 1
        return frame

    def close(self) -> None:
        self._frames = iter(())


def _as_source(source: str | Path | int | Source | Iterable[np.ndarray]) -> Source:
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, Path, int)):
        return open_source(source)
    if isinstance(source, np.ndarray) and source.ndim == 3:
        raise FrameError(
            f"a stream takes several frames, got one of shape {source.shape}; call the model, or pass [frame]"
        )
    if isinstance(source, Iterable):
        return _Frames(source)
    raise FrameError(f"cannot stream from {type(source).__name__}; give a URI, a path, a camera index or frames")
