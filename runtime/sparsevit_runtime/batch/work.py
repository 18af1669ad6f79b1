"""What a worker does: one segment after the other, each into a file of its own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import BatchError, ServerError
from ..files import is_no_room, write_error
from ..model import find_model
from ..sources.base import Frame
from ..triton import is_served
from ..windows.plan import PlanLike
from .places import arrow, arrow_module, is_remote, local_copy, open_system
from .predictor import FramePredictor
from .reading import CannotCutError, read_segment
from .rows import answer_of, say_broken, schema_of
from .segments import Broken, Segment
from .store import STATE, Store, open_store
from .temporary import own_folder

if TYPE_CHECKING:
    from ..tasks import Result

#: Rows of a group in a file; so many answers are held in memory.
_GROUP = 64
#: Runs of a segment that ended with the worker, after which it is not tried again before the job is started anew.
MOST_DEATHS = 5
#: Time that a server may be away without ending the job, seconds.
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Work:
    """What every segment of a job is run with; the same wherever it is run.

    Attributes:
        model: path of the model, name of a bundled one, ``triton://host:port/name``, or URI of a file that each worker
            copies first.
        digest: digest that it has to have; empty for any.
        sparsity: any form `Plan.parse` reads; None for all windows.
        threshold: least score of a detection; None for what the card says.
        backend, device, threads: the same as in `load`.
        batch: frames of a run; None for what suits model and device.
        out: URI of the folder of results.
    """

    model: str
    digest: str = ""
    sparsity: PlanLike | None = None
    threshold: float | None = None
    backend: str = "auto"
    device: str | None = None
    threads: int | None = None
    batch: int | None = None
    out: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a segment.

    Attributes:
        segment: its name.
        state: ``done``; ``uncut``, when its video cannot be read in parts; ``failed``.
        rows: number of rows that were written.
        broken: inputs that cannot be read.
        reason: reason, where it failed.
        seconds: time it took.
    """

    segment: str
    state: Literal["done", "uncut", "failed"]
    rows: int = 0
    broken: tuple[Broken, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        said: dict[str, Any] = json.loads(text)
        return cls(**{**said, "broken": tuple(Broken(**each) for each in said["broken"])})


def part_name(segment: str) -> str:
    """Name of the file that a segment's rows are in, by the segment's name."""
    return f"part-{segment}.parquet"


def deaths_name(segment: str) -> str:
    """Name of the file that counts how often a segment was begun and not ended."""
    return f"{STATE}/begun/{segment}"


def whole_name(segment: Segment) -> str:
    """Name of the file that says that a video is read in one piece."""
    return f"{STATE}/whole/{segment.whole().name}"


class SegmentWorker:
    """Runs segments: ``worker(segment)``. The model is opened with the first one. Pickled it is what to do, no more.

    Threads: one at a time.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._predictor: FramePredictor | None = None
        self._store: Store | None = None

    def __reduce__(self) -> tuple[type[SegmentWorker], tuple[Work]]:
        return SegmentWorker, (self._work,)

    def __call__(self, segment: Segment) -> Outcome:
        """Runs a segment, unless it is finished or has ended its worker too often.

        Raises:
            ModelError, BackendError, MissingDependencyError: the model cannot be opened here.
            BatchError: it is another model than the job's.
            SinkError: the results cannot be written.
        """
        store = self._store = self._store or open_store(self._work.out)
        if segment.cut is not None and store.read(whole_name(segment)) is not None:
            return Outcome(segment.name, "uncut")
        deaths = len(store.read(deaths_name(segment.name)) or b"")
        if deaths >= MOST_DEATHS:
            reason = f"its worker died {deaths} times: out of memory, or a file that ends the decoder"
            return Outcome(segment.name, "failed", reason=reason)
        predictor = self._predictor = self._predictor or self._open()
        start = time.perf_counter()
        try:
            store.write(deaths_name(segment.name), b"." * (deaths + 1))
            rows, broken = self._write(segment, predictor, store)
        except CannotCutError as error:
            store.write(whole_name(segment), str(error).encode())
            return Outcome(segment.name, "uncut", reason=str(error))
        except (OSError, BatchError) as error:  # of a file system that may be back another time
            return Outcome(segment.name, "failed", reason=" ".join(str(error).split()))
        finally:
            store.remove(deaths_name(segment.name))
        return Outcome(segment.name, "done", rows, tuple(broken), seconds=time.perf_counter() - start)

    def close(self) -> None:
        """Releases the model."""
        if self._predictor is not None:
            self._predictor.close()

    def _open(self) -> FramePredictor:
        work = self._work
        options: dict[str, Any] = {
            "threshold": work.threshold,
            "backend": work.backend,
            "device": work.device,
            "threads": work.threads,
            "batch": work.batch,
        }
        predictor = FramePredictor(fetched_model(work.model), work.sparsity, **options)
        if work.digest and predictor.digest != work.digest:
            predictor.close()
            raise BatchError(
                f"{work.model} is another model here (digest {predictor.digest[:12]}) than where the job was begun "
                f"({work.digest[:12]}); put the same file on every machine"
            )
        return predictor

    def _write(self, segment: Segment, predictor: FramePredictor, store: Store) -> tuple[int, list[Broken]]:
        """Writes the file of a segment. Returns its rows, and the inputs that are broken."""
        schema = schema_of(predictor.model.card)
        name = part_name(segment.name)
        with store.scratch(name) as path:
            try:
                done = _write_rows(path, schema, segment, predictor)
            except OSError as error:
                if is_no_room(error):
                    raise write_error(path, error) from error
                raise
            store.take(path, name)
        return done


def _write_rows(path: Path, schema: Any, segment: Segment, predictor: FramePredictor) -> tuple[int, list[Broken]]:
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[str, Frame, float]] = []
    broken: list[Broken] = []
    count = 0
    with arrow_module("parquet").ParquetWriter(path, schema, compression="zstd") as writer:

        def flush() -> None:
            nonlocal rows
            if rows:
                writer.write_table(arrow().Table.from_pylist(rows, schema=schema))
            rows = []

        def run() -> None:
            rows.extend(_rows(waiting, predictor))
            waiting.clear()
            if len(rows) >= _GROUP:
                flush()

        asked = time.perf_counter()
        for found in read_segment(segment):
            if isinstance(found, Broken):
                broken.append(found)
            else:
                uri, frame = found
                waiting.append((uri, frame, (time.perf_counter() - asked) * 1e3))
                count += 1
                if len(waiting) == predictor.batch:
                    run()
            asked = time.perf_counter()
        run()
        flush()
        writer.add_key_value_metadata(say_broken(broken))
    return count, broken


def _rows(frames: Sequence[tuple[str, Frame, float]], predictor: FramePredictor) -> list[dict[str, Any]]:
    results = _patiently(lambda: predictor.predict([_host(frame) for _, frame, _ in frames]))
    return [
        {
            "source": uri,
            "frame_index": frame.index,
            "timestamp_ns": frame.timestamp_ns,
            **answer_of(replace(result, timings=replace(result.timings, capture_ms=capture_ms))),
            "model": predictor.model.card.name,
            "model_digest": predictor.digest,
        }
        for (uri, frame, capture_ms), result in zip(frames, results, strict=True)
    ]


def _patiently(ask: Callable[[], list[Result]]) -> list[Result]:
    """Asks again for a while where a server is away, as one that is started anew is."""
    until, wait_s = time.monotonic() + _PATIENCE_S, 0.5
    while True:
        try:
            return ask()
        except ServerError:
            if time.monotonic() + wait_s > until:
                raise
        time.sleep(wait_s)
        wait_s *= 2


def _host(frame: Frame) -> Any:
    return frame.image


def fetched_model(model: str) -> str:
    """The path of a model file; of a copy, made once, where it lies elsewhere. One on a server is named as it was.

    Raises:
        ModelError: neither a file nor a bundled model.
        BatchError: it cannot be copied.
    """
    if is_served(model):
        return model
    if not is_remote(model):
        return str(find_model(model))
    try:
        system, path = open_system(model)
        about = system.get_file_info(path)
        # Another model under the same address is another file here.
        what = f"{model} {about.size} {about.mtime_ns or secrets.token_hex(8)}"
        target = own_folder() / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}-{model.rpartition('/')[2]}"
        if not target.exists():
            with local_copy(model) as copy:
                part = target.with_name(f"{target.name}.{os.getpid()}")
                shutil.copyfile(copy, part)
                os.replace(part, target)
    except OSError as error:
        raise BatchError(f"the model {model} cannot be read ({error}); check the address") from error
    return str(target)
