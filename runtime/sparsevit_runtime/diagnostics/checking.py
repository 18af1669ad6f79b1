"""Compares a model on this machine with the outputs recorded when it was exported."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..agreement import count_not_finite
from ..card import CheckCard
from ..errors import ModelError
from ..model import Model
from ..progress import SILENT, Progress, track
from .probes import batch_sizes, probe_batch, probe_feeds

CHECK_SCHEMA: Literal[2] = 2


class OutputCheck(BaseModel):
    """One output of one recorded run.

    Attributes:
        run: position of the record in the card.
        keep: windows computed per block pair; None for a fixed export.
        output: name.
        values: compared.
        agreement: share of values within their tolerance.
        required: least share accepted.
        difference: largest absolute difference; None when the shapes differ.
        problem: reason why it is not right; None when the output agrees.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: int
    keep: tuple[int, ...] | None
    output: str
    values: int
    agreement: float
    required: float
    difference: float | None
    problem: str | None

    @property
    def agrees(self) -> bool:
        return self.problem is None


class CheckReport(BaseModel):
    """Schema-versioned result of `sparsevit check --json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = CHECK_SCHEMA
    kind: Literal["recorded"] = "recorded"
    model: str
    library: str
    device: str
    agrees: bool
    outputs: tuple[OutputCheck, ...]

    @property
    def worst(self) -> OutputCheck:
        """The output with the least agreement; among equals the one that differs most."""
        return min(self.outputs, key=lambda o: (o.agrees, o.agreement - o.required, -(o.difference or 0.0)))


def check(model: Model, progress: Progress = SILENT) -> CheckReport:
    """Runs every record of a model's card, at the smallest batch it takes: copies of the image recorded.

    Args:
        model: loaded.
        progress: listener, told the runs.

    Raises:
        ModelError: the card holds no records.
        BackendError: a run failed.
    """
    backend, card = model.backend, model.card
    if not card.checks:
        raise ModelError(
            f"the card of {card.name} holds no recorded outputs, so there is nothing to compare; export the model again"
        )
    least, _ = batch_sizes(backend)
    outputs: list[OutputCheck] = []
    for run, record in enumerate(track(card.checks, "checking", progress)):
        images = probe_batch(model.runner, [record.seed] * least)
        keep = None if record.keep is None else np.array(record.keep, np.int64)
        names = [output.name for output in record.outputs]
        arrays = backend.run(probe_feeds(backend, images, keep), names)
        outputs += [_compare(run, record, expected, arrays[expected.name][:1]) for expected in record.outputs]
    return CheckReport(
        model=card.name,
        library=backend.details.get("library", backend.name),
        device=str(backend.device),
        agrees=all(output.agrees for output in outputs),
        outputs=tuple(outputs),
    )


def _compare(run: int, record: CheckCard, expected: CheckCard.Output, value: np.ndarray) -> OutputCheck:
    wanted = np.array(expected.values, np.float64)
    agreement, difference, problem = 0.0, None, None
    if value.shape != expected.shape:
        problem = f"its shape is {value.shape}, recorded is {expected.shape}"
    else:
        found = value.reshape(-1)[np.array(expected.positions, np.int64)].astype(np.float64)
        distance = np.abs(found - wanted)
        agreement = float((distance <= expected.atol + expected.rtol * np.abs(wanted)).mean())  # NaN never agrees
        difference = float(distance.max()) if np.isfinite(distance).all() else None
        wrong = count_not_finite(value)  # of all values, recorded or not
        if wrong:
            problem = f"{wrong} of its {value.size} values are not finite"
        elif agreement < expected.min_agreement:
            problem = f"{agreement:.1%} of its {found.size} values agree, {expected.min_agreement:.1%} must"
    return OutputCheck(
        run=run,
        keep=record.keep,
        output=expected.name,
        values=wanted.size,
        agreement=round(agreement, 6),
        required=expected.min_agreement,
        difference=difference,
        problem=problem,
    )
