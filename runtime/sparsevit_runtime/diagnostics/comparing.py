"""Compares whole tensors of a model, on any backend and device, with those of a model file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..agreement import (
    COMPARED,
    Limits,
    Precision,
    TensorAgreement,
    compare_order,
    compare_values,
    precision_of,
    windows_apart,
    worst_first,
)
from ..backends import Backend
from ..bundled import is_bundled_in_half
from ..card import ModelCard
from ..errors import ModelError
from ..half_twin import twin_of
from ..model import Model, bundled_models, find_model, load
from ..progress import SILENT, Progress, track
from ..tasks import Task
from ..tensorrt.engine_card import sha256
from ..windows.plan import Plan, kept_windows
from .checking import CHECK_SCHEMA
from .probes import batch_sizes, engine_card, probe_batch, probe_feeds

if TYPE_CHECKING:
    from ..tensorrt import EngineCard

#: Shares of windows pruned: dense, and two that the recorded outputs have as well.
RATIOS = (0.0, 0.3, 0.6)
#: Where two windows score about the same, one side may compute the one and the other the other, and what follows
#: differs with good reason. Then other images are taken, so many times, and those with the fewest such windows decide.
TRIES = 4


class ComparisonReport(BaseModel):
    """Schema-versioned result of `sparsevit check --against FILE --json`.

    Attributes:
        model: the file checked; `library` and `device` ran it.
        against: the file it is compared with; `against_library` and `against_device` ran that.
        precision: precision whose limits apply.
        runs: titles of what was run: plan and batch.
        agrees: every tensor does.
        tensors: one row each, that of its worst run; the worst tensor first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = CHECK_SCHEMA
    kind: Literal["compared"] = "compared"
    model: str
    library: str
    device: str
    against: str
    against_library: str
    against_device: str
    precision: Precision
    runs: tuple[str, ...]
    agrees: bool
    tensors: tuple[TensorAgreement, ...]

    @property
    def worst(self) -> TensorAgreement:
        return self.tensors[0]


def compare(
    model: Model,
    against: Model | str | Path,
    *,
    file: str = "",
    ratios: Sequence[float] = RATIOS,
    batches: tuple[int, int] | None = None,
    outputs: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> ComparisonReport:
    """Runs a model and what it should compute on the same probe images, and compares every output, all of it.

    Args:
        model: loaded; what is checked.
        against: model of what it should compute: loaded, or a model file or bundled name, which is opened in ONNX
            Runtime on the CPU. On a GPU, ONNX Runtime's own products may be rounded to TF32.
        file: the model's, for the report; its card's name unless given.
        ratios: windows pruned, alike in every block; a fixed export has its own plan.
        batches: the plans take turns with them; the least that the model takes and a larger one unless given.
        outputs: names to compare; None for all of the model's.
        progress: listener, told the runs.

    Returns:
        The report; limits are those of the less exact of both (`agreement.COMPARED`).

    Raises:
        ModelError: the two are not the same network at the same size, or `against` is no model file.
        BackendError: a run failed.
    """
    if not isinstance(against, Model):
        path = find_model(against)
        with load(path, "onnxruntime", device="cpu") as reference:
            names = file or model.card.name, path.name
            return _compare(model, reference, names, ratios, batches, outputs, progress)
    names = file or model.card.name, against.card.name
    return _compare(model, against, names, ratios, batches, outputs, progress)


def _compare(
    model: Model,
    against: Model,
    names: tuple[str, str],
    ratios: Sequence[float],
    batches: tuple[int, int] | None,
    outputs: Sequence[str] | None,
    progress: Progress,
) -> ComparisonReport:
    candidate, reference, card = model.backend, against.backend, model.card
    engine = engine_card(candidate)
    outputs = tuple(candidate.output_names if outputs is None else outputs)
    _check_same_network(card, reference, outputs, names)
    precisions = {card.precision, reference.card.precision, *(() if engine is None else (engine.inputs.precision,))}
    precision = precision_of(precisions, tf32=engine is not None and engine.inputs.tf32)
    runs = _runs(card, ratios, batch_sizes(candidate) if batches is None else batches)
    rows: list[TensorAgreement] = []
    for number, (title, keep, batch) in enumerate(track(runs, "comparing", progress)):
        seeds = (range(first, first + batch) for first in range(100 * number, 100 * number + TRIES * batch, batch))
        images = (probe_batch(model.runner, those) for those in seeds)
        rows += compare_run(candidate, reference, images, keep, outputs, precision, title)
    tensors = worst_first(rows)
    return ComparisonReport(
        model=names[0],
        library=candidate.details.get("library", candidate.name),
        device=str(candidate.device),
        against=names[1],
        against_library=reference.details.get("library", reference.name),
        against_device=str(reference.device),
        precision=precision,
        runs=tuple(title for title, _, _ in runs),
        agrees=all(tensor.agrees for tensor in tensors),
        tensors=tensors,
    )


def compare_run(
    candidate: Backend,
    reference: Backend,
    batches: Iterable[np.ndarray],
    keep: np.ndarray | None,
    outputs: Sequence[str],
    precision: Precision,
    title: str,
) -> list[TensorAgreement]:
    """One plan at one batch size: a row per output, two for an engine (`_answers`).

    Args:
        candidate, reference: see `compare`.
        batches: images as both take them; the next ones are taken where the two computed other windows, see `TRIES`.
        keep: (pairs,) windows computed per block pair; None for all of them, or a fixed export.
        outputs: names to compare.
        precision: precision whose limits apply.
        title: title of the run, for the rows.
    """
    kept = kept_by_order(candidate.card, keep)
    names = tuple(dict.fromkeys((*outputs, *kept)))
    best: tuple[float, list[TensorAgreement]] = (np.inf, [])
    for images in batches:
        wanted = reference.run(probe_feeds(reference, images, keep), names)
        answers = list(_answers(candidate, images, keep, names))
        apart = max(windows_apart(found, wanted, kept) for found in answers)
        compared = {name: wanted[name] for name in outputs}
        if apart < best[0]:
            rows = [
                row
                for found in answers
                for row in compare_outputs(candidate.task, found, compared, COMPARED[precision])
            ]
            best = apart, [row.model_copy(update={"run": title}) for row in rows]
        if apart == 0.0:
            break
    return best[1]


def compare_outputs(
    task: Task, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits
) -> list[TensorAgreement]:
    """Compares every output of `theirs` with ours of the same name.

    Args:
        task: task of the model, which knows what its answers stand for.
        ours: arrays by name, (B, ...) each: what is checked.
        theirs: arrays that it should be.
        limits: limits of what is accepted.
    """
    answers = {row.tensor: row for row in task.agreement(ours, theirs, limits)}
    orders = task.contract.orders
    rows = []
    for name, wanted in theirs.items():
        if name in answers:
            rows.append(answers[name])
        elif name in orders:
            rows.append(compare_order(name, ours[name], wanted, limits))
        else:
            rows.append(compare_values(name, ours[name], wanted, limits))
    return rows


def find_source(engine: Path, card: EngineCard) -> Path | None:
    """The model file that an engine was built from, told by the hash in its card: beside the engine, or bundled, which
    may have been built in half precision (`half_twin`)."""
    from ..graph.onnx_file import read_onnx

    beside = sorted(engine.parent.glob("*.onnx"), key=lambda path: path.stem != engine.stem)  # its namesake first
    for path in (*beside, *bundled_models().values()):
        try:
            if path.is_file() and read_onnx(path).digest() == card.inputs.onnx_sha256:
                return path
            if is_bundled_in_half(path) and sha256(twin_of(path)) == card.inputs.onnx_sha256:
                return path
        except ModelError:  # another project's file, or a damaged one
            continue
    return None


def _check_same_network(card: ModelCard, reference: Backend, outputs: Sequence[str], names: tuple[str, str]) -> None:
    other = reference.card
    for what, ours, theirs in (
        ("task", card.task, other.task),
        (
            "input",
            (card.input.height, card.input.width, card.input.layout),
            (other.input.height, other.input.width, other.input.layout),
        ),
        ("windows", card.windows, other.windows),
        ("outputs", set(outputs), set(outputs) & set(reference.output_names)),
    ):
        if ours != theirs:
            raise ModelError(
                f"{names[0]} and {names[1]} are not the same network at the same size: {what} {ours} against {theirs}. "
                "Compare with the file it was made from, or with another export of the same checkpoint"
            )


def _runs(
    card: ModelCard, ratios: Sequence[float], batches: tuple[int, int]
) -> list[tuple[str, np.ndarray | None, int]]:
    """Title, windows per block pair and batch of each run."""
    if card.windows.fixed is not None:
        return [(f"fixed plan, batch {batch}", None, batch) for batch in dict.fromkeys(batches)]
    runs: list[tuple[str, np.ndarray | None, int]] = []
    for number, ratio in enumerate(ratios):
        keep, batch = Plan.uniform(ratio, card.windows.depths).keep(card.stages), batches[number % 2]
        runs.append((f"{f'{ratio:.0%} pruned' if ratio else 'dense'}, batch {batch}", keep, batch))
    return runs


def kept_by_order(card: ModelCard, keep: np.ndarray | None) -> dict[str, list[int]]:
    """How many windows each block computes, of those that compute a part, by the order that they are the first of."""
    kept: dict[str, list[int]] = {}
    pair = 0
    for number, stage in enumerate(card.stages):
        for block in range(stage.depth):
            if keep is not None:
                count = int(keep[pair + block // 2])
            else:
                ratio = 0.0 if card.windows.fixed is None else card.windows.fixed[number][block]
                count = kept_windows(stage.windows, ratio)
            if 0 < count < stage.windows:
                kept.setdefault(f"{('windows', 'shifted_windows')[block % 2]}{number}", []).append(count)
        pair += stage.pairs
    return kept


def _answers(
    candidate: Backend, images: np.ndarray, keep: np.ndarray | None, outputs: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """The candidate's outputs; an engine's twice, as it is launched at first and as it is from then on."""
    yield candidate.run(probe_feeds(candidate, images, keep), outputs)
    if engine_card(candidate) is not None:
        # The second run is recorded into a CUDA graph, the third replays it. The second is of other images, so that
        # a replay that computes nothing is seen.
        candidate.run(probe_feeds(candidate, np.flip(images, axis=-2), keep), outputs)
        yield candidate.run(probe_feeds(candidate, images, keep), outputs)
