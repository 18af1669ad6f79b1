"""What a comparison of the exported graph with the network found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsevit_runtime.agreement import PARITY, Limits, Precision
from sparsevit_runtime.card import InputCard


@dataclass(frozen=True)
class ParityRow:
    """One tensor of one run.

    Attributes:
        plan: name of the plan.
        batch: images in the run.
        tensor: name of what was compared.
        difference: largest absolute difference over the scale of the tensor, or the share of wrong entries.
        limit: largest accepted difference.
        cosine: similarity of the flattened tensors; None for integers.
        holds: True within the limits.
    """

    plan: str
    batch: int
    tensor: str
    difference: float
    limit: float
    cosine: float | None
    holds: bool


@dataclass(frozen=True)
class ParityReport:
    """All rows of all runs.

    Attributes:
        precision: arithmetic of the graph.
        rows: rows in the order of the runs.
    """

    precision: str
    rows: tuple[ParityRow, ...]

    @property
    def holds(self) -> bool:
        return all(row.holds for row in self.rows)

    @property
    def worst(self) -> ParityRow:
        """The row closest to, or furthest beyond, its limit."""
        return max(self.rows, key=lambda row: (not row.holds, row.difference / row.limit if row.limit else 0.0))


@dataclass(frozen=True)
class ParityRun:
    """One run whose tensors are compared; makes the rows.

    Attributes:
        plan: name of the plan.
        batch: images in the run.
        precision: decides the limits.
        input: geometry of the images.
    """

    plan: str
    batch: int
    precision: Precision
    input: InputCard

    @property
    def limits(self) -> Limits:
        return PARITY[self.precision]

    def real(self, tensor: str, found: Tensor, expected: Tensor) -> ParityRow:
        """Compares real numbers, any shape, by their largest difference and their cosine."""
        a, b = found.double().flatten(), expected.double().flatten()
        difference = float((a - b).abs().max() / b.abs().max().clamp(min=1.0))
        cosine = float(torch.nn.functional.cosine_similarity(a, b, dim=0)) if bool(b.any()) else 1.0
        holds = difference <= self.limits.difference and cosine >= self.limits.cosine  # false for NaN too
        return ParityRow(self.plan, self.batch, tensor, difference, self.limits.difference, cosine, holds)

    def wrong(self, tensor: str, share: float, limit: float) -> ParityRow:
        """A row for a share of entries that are wrong."""
        return ParityRow(self.plan, self.batch, tensor, share, limit, None, share <= limit)
