"""A job: an archive's frames through a model into a Parquet data set, killed and gone on with at any point."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..card import ModelCard
from ..errors import BatchError
from ..files import write_error
from ..graph.onnx_file import read_onnx
from ..model import bundled_models, load
from ..progress import SILENT, Progress
from ..runner import least_score
from ..texts import shown
from ..triton import is_served
from ..windows.level import Level
from ..windows.plan import Plan
from .coco import names_in, write_coco
from .engines import Engine, Processes
from .inputs import list_inputs
from .places import absolute, arrow_module, is_remote
from .predictor import digest_of
from .rows import check_columns, read_broken
from .segments import SEGMENT_FRAMES, SEGMENT_IMAGES, Broken, Segment, plan
from .store import SCRATCH, STATE, Store, open_store
from .work import Outcome, Work, fetched_model, part_name

#: Version of what a job writes about itself.
_SCHEMA = 1
_JOB, _PLAN = f"{STATE}/job.json", f"{STATE}/plan.jsonl"
#: What a job leaves beside its Parquet files; readers of data sets pass over such names.
REPORT, COCO = "_report.json", "_coco.json"
#: Rows that are read at a time to write COCO.
_READ_ROWS = 256


@dataclass(frozen=True)
class Report:
    """What a job has done, in all its runs.

    Attributes:
        out: URI of its results.
        frames: rows of the data set.
        sources: inputs that were named.
        segments: parts of the work; `finished` of them were done before this run.
        finished: parts that were done before this run.
        broken: inputs that cannot be read, or not to their end.
        failed: parts that may be done another time, with reasons: name and sources of each.
    """

    out: str
    frames: int
    sources: int
    segments: int
    finished: int
    broken: tuple[Broken, ...]
    failed: tuple[Broken, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"schema": _SCHEMA, **asdict(self)}


def run_batch(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    work: Work,
    engine: Engine | None = None,
    *,
    coco: bool = False,
    segment_frames: int = SEGMENT_FRAMES,
    segment_images: int = SEGMENT_IMAGES,
    progress: Progress = SILENT,
) -> Report:
    """Runs a job, or goes on with one: what is finished is not run again.

    What is to be done is written down before the first segment is run, and stays: files that come into a folder later
    belong to another job.

    Args:
        inputs: images and videos, in any form that `list_inputs` takes.
        out: folder of the results, here or on any file system that pyarrow or fsspec reaches and all workers see.
        work: what is run; its `out` and `digest` are filled in here.
        engine: who runs it; one process of this machine when None.
        coco: writes ``_coco.json`` beside the Parquet files, too.
        segment_frames: frames of a part of a video, about.
        segment_images: images of a segment.
        progress: told of the frames.

    Returns:
        What was done; the same is in ``_report.json``.

    Raises:
        BatchError: nothing to do, a folder with something else in it, or a job of another model or other settings.
        ModelError, BackendError, PlanError, SinkError, MissingDependencyError: from the parts.
    """
    arrow_module("parquet")
    given = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
    names = [absolute(os.fspath(each)) for each in given]
    place = absolute(os.fspath(out))
    store = open_store(place)
    work, card = _resolved(work, place)
    with store.lock():
        _begin(store, work, card, names)
        segments, broken = _planned(store, names, segment_frames, segment_images, progress)
        return _Job(store, work, card, segments, broken, engine or Processes()).run(coco, progress)


def _resolved(work: Work, out: str) -> tuple[Work, ModelCard]:
    """The work as every worker is told it, and the model's card.

    A model file is read and not opened: the machine that drives the job may have no GPU.
    """
    path = fetched_model(work.model)
    if not is_served(path) and Path(path).suffix == ".onnx":
        file = read_onnx(path)
        card, digest = file.card, file.digest()
    else:
        with load(path, work.backend, device=work.device, threads=work.threads) as model:
            card, digest = model.card, digest_of(path, model.backend)
    check_columns(card)
    plan = Level.resolve(card, work.sparsity).plan
    fixed = card.windows.fixed is not None
    sparsity = None if fixed or work.sparsity is None else plan
    # Workers may be in other folders. Where a bundled model is they know, and where a copy is made they make their own.
    elsewhere = is_served(work.model) or is_remote(work.model) or Path(path) in bundled_models().values()
    named = work.model if elsewhere else str(Path(path).absolute())
    least = least_score(card, work.threshold)
    return replace(work, model=named, out=out, digest=digest, sparsity=sparsity, threshold=least), card


def _begin(store: Store, work: Work, card: ModelCard, names: list[str]) -> None:
    """Writes down what the job is, or checks that it is the one that was begun."""
    said = {
        "schema": _SCHEMA,
        "inputs": names,
        "model": card.name,
        "model_digest": work.digest,
        "sparsity": work.sparsity.ratios if isinstance(work.sparsity, Plan) else None,
        "threshold": work.threshold,
    }
    said = json.loads(json.dumps(said))
    earlier = store.read(_JOB)
    if earlier is None and store.names() - {REPORT, COCO}:
        raise BatchError(f"{shown(store.uri)} holds files that no job wrote; name an empty or a new folder")
    if earlier is None or store.read(_PLAN) is None:  # nothing was planned: the inputs may have been wrong
        store.write(_JOB, (json.dumps({**said, "version": __version__}, indent=2) + "\n").encode())
        return
    with _of_our_own(store, _JOB):
        begun = dict(json.loads(earlier))
    differing = [name for name in said if begun.get(name) != said[name]]
    if differing:
        told = ", ".join(f"{name} {shown(begun.get(name))}, now {shown(said[name])}" for name in differing)
        raise BatchError(f"{shown(store.uri)} holds another job ({told}); name another folder, or remove that one")


@contextmanager
def _of_our_own(store: Store, name: str) -> Iterator[None]:
    """Whatever is wrong with a file that a job wrote about itself, as our error."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        where = shown(f"{store.uri}/{name}")
        raise BatchError(f"{where} is not what a job wrote ({error!r}); name another folder, or remove it") from error


def _planned(
    store: Store, inputs: list[str], segment_frames: int, segment_images: int, progress: Progress
) -> tuple[list[Segment], list[Broken]]:
    """The job's segments and the inputs that could not be planned: as written down, or planned now."""
    written = store.read(_PLAN)
    if written is None:
        sources = list_inputs(inputs)
        progress.start("planning", len(sources))
        lines, seen = [], 0
        for found in plan(sources, segment_frames, segment_images):
            lines.append(json.dumps({"broken": asdict(found)}) if isinstance(found, Broken) else found.to_json())
            if isinstance(found, Broken) or found.cut is None or found.cut.first_index == 0:
                seen += 1 if isinstance(found, Broken) else len(found.sources)
                progress.advance(seen)
        written = "\n".join([*lines, "."]).encode()
        store.write(_PLAN, written)
    segments, broken = [], []
    with _of_our_own(store, _PLAN):
        *lines, end = written.decode().split("\n")
        if end != ".":
            raise ValueError("it has no end")
        for line in lines:
            if line.startswith('{"broken"'):
                broken.append(Broken(**json.loads(line)["broken"]))
            else:
                segments.append(Segment.from_json(line))
        if not segments and not broken:
            raise ValueError("it is empty")
    if not segments:
        store.write(REPORT, json.dumps({"broken": [asdict(each) for each in broken]}, indent=2).encode())
        raise BatchError(
            f"none of the {len(broken)} inputs can be read; {broken[0].source}: {broken[0].reason}. All reasons are in "
            f"{store.uri}/{REPORT}; remove the folder to begin anew"
        )
    return segments, broken


class _Job:
    """One run of a job whose plan is written."""

    def __init__(
        self, store: Store, work: Work, card: ModelCard, segments: list[Segment], broken: list[Broken], engine: Engine
    ) -> None:
        self._store, self._work, self._card, self._engine = store, work, card, engine
        self._segments, self._unplanned = segments, broken
        self._failed: dict[str, str] = {}

    def run(self, coco: bool, progress: Progress) -> Report:
        self._clean()
        finished = self._finished()
        before = len(finished)
        total = sum(each.frames or 0 for each in self._effective() if each.name not in finished)
        progress.start("frames", total or None)
        done = 0
        while todo := [s for s in self._effective() if s.name not in finished and s.name not in self._failed]:
            with closing(_as_generator(self._engine.run(self._work, todo))) as outcomes:
                for outcome in outcomes:
                    if outcome.state == "done":
                        finished.add(outcome.segment)
                    elif outcome.state == "failed":
                        self._failed[outcome.segment] = outcome.reason
                    done += outcome.rows
                    broken = len(outcome.broken)
                    progress.advance(done, f"{broken} broken" if broken else "")
        self._clean()  # parts of a video that was read in one piece in the end
        report = self._report(before)
        if coco:
            self._write_coco()
        return report

    def _effective(self) -> list[Segment]:
        """The plan, with videos that cannot be read in parts in one piece."""
        whole = self._store.names(f"{STATE}/whole")
        if not whole:
            return self._segments
        whole = {name.partition("-")[2] for name in whole}
        chosen: dict[str, Segment] = {}
        pieces: dict[tuple[str, ...], Segment] = {}
        for segment in self._segments:
            if segment.cut is not None:
                piece = pieces.setdefault(segment.sources, segment.whole())
                if piece.name.partition("-")[2] in whole:
                    frames = sum(s.frames or 0 for s in self._segments if s.sources == segment.sources)
                    segment = replace(piece, frames=frames)
            chosen.setdefault(segment.name, segment)
        return list(chosen.values())

    def _finished(self) -> set[str]:
        there = self._store.names()
        return {segment.name for segment in self._effective() if part_name(segment.name) in there}

    def _clean(self) -> None:
        """Removes what runs left that were killed, and parts that the plan no longer has."""
        wanted = {part_name(segment.name) for segment in self._effective()}
        for name in self._store.names():
            if name.startswith("part-") and name not in wanted:
                self._store.remove(name)
        for folder in (SCRATCH, f"{STATE}/begun"):
            for name in self._store.names(folder):
                self._store.remove(f"{folder}/{name}")

    def _report(self, before: int) -> Report:
        """Counts what is there, and writes the report."""
        parquet = arrow_module("parquet")
        there = self._store.names()
        frames, broken, failed, sources = 0, list(self._unplanned), [], {each.source for each in self._unplanned}
        effective = self._effective()
        for segment in effective:
            sources.update(segment.sources)
            if part_name(segment.name) not in there:
                reason = self._failed.get(segment.name, "it was not run")
                failed.append(Broken(f"{segment.name}: {', '.join(segment.sources[:3])}", reason))
                continue
            try:
                with self._store.open(part_name(segment.name)) as file:
                    metadata = parquet.read_metadata(file)
            except (OSError, ValueError) as error:  # pyarrow's own are of these
                failed.append(
                    Broken(part_name(segment.name), f"its file is damaged ({error}); remove that, and start again")
                )
                continue
            frames += metadata.num_rows
            broken += read_broken(metadata.metadata)
        broken = list(dict.fromkeys(broken))  # each part of a video says what is wrong with it
        report = Report(self._store.uri, frames, len(sources), len(effective), before, tuple(broken), tuple(failed))
        self._store.write(REPORT, (json.dumps(report.to_dict(), indent=2) + "\n").encode())
        return report

    def _write_coco(self) -> None:
        name_of = names_in([uri for segment in self._segments for uri in segment.sources])
        with self._store.scratch(COCO) as path:
            try:
                with path.open("w", encoding="utf-8") as file:
                    write_coco(self._rows(), self._card.class_names, name_of, file.write)
            except OSError as error:
                raise write_error(path, error) from error
            self._store.take(path, COCO)

    def _rows(self) -> Iterator[dict[str, Any]]:
        parquet = arrow_module("parquet")
        there = self._store.names()
        for segment in self._effective():
            name = part_name(segment.name)
            if name not in there:
                continue
            try:
                with self._store.open(name) as file:
                    for batch in parquet.ParquetFile(file).iter_batches(_READ_ROWS):
                        yield from batch.to_pylist()
            except (OSError, ValueError) as error:
                where = shown(f"{self._store.uri}/{name}")
                raise BatchError(
                    f"{where} cannot be read ({error}); remove it, and start the same command again"
                ) from error


def _as_generator(outcomes: Iterator[Outcome]) -> Any:
    """What `closing` can close; engines are generators already."""
    return outcomes if hasattr(outcomes, "close") else iter(_passed(outcomes))


def _passed(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    yield from outcomes
