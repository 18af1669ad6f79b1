"""Compares whole tensors of a model, on any backend and device, with those of a model file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sparsevit_runtime import Backend, ModelCard, Plan
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.errors import ModelError
from sparsevit_runtime.model import bundled_models
from sparsevit_runtime.windows.plan import kept_windows

from .agreement import LIMITS, TensorAgreement, compare_tensors, windows_apart, worst_first
from .checking import CHECK_SCHEMA, probe_batch

if TYPE_CHECKING:
    from sparsevit_runtime.tensorrt import EngineCard

#: Shares of windows pruned: dense, and two that the recorded outputs have as well.
RATIOS = (0.0, 0.3, 0.6)
#: Images in the largest batch compared; more would only take longer.
MOST_IMAGES = 4
#: Where two windows score about the same, one side may compute the one and the other the other, and what follows
#: differs with good reason. Then other images are taken, so many times, and those with the fewest such windows decide.
TRIES = 4


class ComparisonReport(BaseModel):
    """Schema-versioned result of `sparsevit check --against FILE --json`.

    Attributes:
        model: the file checked; `library` and `processor` ran it.
        against: the file it is compared with; `against_library` and `against_processor` ran that.
        precision: whose limits apply.
        runs: what was run: plan and batch.
        agrees: every tensor does.
        tensors: one row each, that of its worst run; the worst tensor first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = CHECK_SCHEMA
    kind: Literal["compared"] = "compared"
    model: str
    library: str
    processor: str
    against: str
    against_library: str
    against_processor: str
    precision: Literal["fp32", "fp16"]
    runs: tuple[str, ...]
    agrees: bool
    tensors: tuple[TensorAgreement, ...]

    @property
    def worst(self) -> TensorAgreement:
        return self.tensors[0]


def check_against(
    candidate: Backend,
    reference: Backend,
    names: tuple[str, str],
    ratios: Sequence[float] = RATIOS,
    batches: tuple[int, int] = (1, 2),
    outputs: Sequence[str] | None = None,
    precision: Literal["fp32", "fp16"] | None = None,
    on_run: Callable[[int, int], None] = lambda done, total: None,
) -> ComparisonReport:
    """Runs both on the same probe images and compares every output, all of it.

    Args:
        candidate: what is checked.
        reference: what it should compute.
        names: of the two, for the report.
        ratios: windows pruned, alike in every block; a fixed export has its own plan.
        batches: the least that the candidate takes, and a larger one; the plans take turns with them.
        outputs: to compare; None for all of the candidate's.
        precision: whose limits apply; None for that of the less exact of both.
        on_run: told runs done and in total.

    Raises:
        ModelError: the two are not the same network at the same size.
        BackendError: a run failed.
    """
    card = candidate.card
    outputs = tuple(candidate.output_names if outputs is None else outputs)
    _check_same_network(card, reference, outputs, names)
    if precision is None:
        precision = "fp16" if "fp16" in (card.precision, reference.card.precision) else "fp32"
    runs = _runs(card, ratios, batches)
    rows: list[TensorAgreement] = []
    for number, (title, keep, batch) in enumerate(runs):
        on_run(number, len(runs))
        seeds = (range(first, first + batch) for first in range(100 * number, 100 * number + TRIES * batch, batch))
        images = (probe_batch(card.input, those) for those in seeds)
        rows += compare_run(candidate, reference, images, keep, outputs, precision, title)
    on_run(len(runs), len(runs))
    tensors = worst_first(rows)
    return ComparisonReport(
        model=names[0],
        library=candidate.details.get("library", candidate.name),
        processor=str(candidate.device),
        against=names[1],
        against_library=reference.details.get("library", reference.name),
        against_processor=str(reference.device),
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
    precision: Literal["fp32", "fp16"],
    title: str,
) -> list[TensorAgreement]:
    """One plan at one batch size: a row per output, two for an engine (`_answers`).

    Args:
        candidate, reference: see `check_against`.
        batches: images as both take them; the next ones are taken where the two computed other windows, see `TRIES`.
        keep: (pairs,) windows computed per block pair; None for a fixed export.
        outputs: to compare.
        precision: whose limits apply.
        title: of the run, for the rows.
    """
    kept = _kept_by_order(candidate.card, keep)
    names = tuple(dict.fromkeys((*outputs, *kept)))
    best: tuple[float, list[TensorAgreement]] = (np.inf, [])
    for images in batches:
        wanted = reference.run(feeds_of(images, keep), names)
        answers = list(_answers(candidate, images, keep, names))
        apart = max(windows_apart(found, wanted, kept) for found in answers)
        compared = {name: wanted[name] for name in outputs}
        if apart < best[0]:
            best = apart, [row for a in answers for row in compare_tensors(a, compared, LIMITS[precision], title)]
        if apart == 0.0:
            break
    return best[1]


def batch_sizes(card: EngineCard | None) -> tuple[int, int]:
    """The least batch that a backend takes, and one to compare with beside it.

    Args:
        card: of an engine; None for what takes any batch.
    """
    if card is None:
        return 1, 2
    image = card.inputs.profile["image"]
    return image.min[0], min(image.max[0], max(image.min[0], MOST_IMAGES))


def limits_of(card: EngineCard, reference: ModelCard) -> Literal["fp32", "fp16"]:
    """Whose limits apply to an engine: TF32 has no more bits of mantissa than half precision."""
    exact = card.inputs.precision == reference.precision == "fp32" and not card.inputs.tf32
    return "fp32" if exact else "fp16"


def find_source(engine: Path, card: EngineCard) -> Path | None:
    """The model file that an engine was built from, told by the hash in its card: beside the engine, or bundled."""
    from sparsevit_runtime.tensorrt.engine_card import sha256

    beside = sorted(engine.parent.glob("*.onnx"), key=lambda path: path.stem != engine.stem)  # its namesake first
    for path in (*beside, *bundled_models().values()):
        if path.is_file() and sha256(path.read_bytes()) == card.inputs.onnx_sha256:
            return path
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
    runs = []
    for number, ratio in enumerate(ratios):
        keep, batch = Plan.uniform(ratio, card.windows.depths).keep(card.stages), batches[number % 2]
        runs.append((f"{f'{ratio:.0%} pruned' if ratio else 'dense'}, batch {batch}", keep, batch))
    return runs


def _kept_by_order(card: ModelCard, keep: np.ndarray | None) -> dict[str, list[int]]:
    """How many windows each block computes, of those that compute a part, by the order that they are the first of."""
    kept: dict[str, list[int]] = {}
    pair = 0
    for number, stage in enumerate(card.stages):
        for block in range(stage.depth):
            if card.windows.fixed is not None:
                count = kept_windows(stage.windows, card.windows.fixed[number][block])
            else:
                count = int(keep[pair + block // 2])
            if 0 < count < stage.windows:
                kept.setdefault(f"{('windows', 'shifted_windows')[block % 2]}{number}", []).append(count)
        pair += stage.pairs
    return kept


def _answers(
    candidate: Backend, images: np.ndarray, keep: np.ndarray | None, outputs: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """The candidate's outputs; an engine's twice, as it is launched at first and as it is from then on."""
    yield candidate.run(feeds_of(images, keep), outputs)
    if candidate.name == "tensorrt":
        # The second run is recorded into a CUDA graph, the third replays it. The second is of other images, so that
        # a replay that computes nothing is seen.
        candidate.run(feeds_of(np.flip(images, axis=-2), keep), outputs)
        yield candidate.run(feeds_of(images, keep), outputs)
