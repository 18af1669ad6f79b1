"""What a search reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from sparsevit_runtime.windows.plan import Plan

SEARCH_SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One plan among the results.

    Attributes:
        name: ``search``, ``random``, ``uniform`` or ``dense``.
        plan: ratios per block.
        validation: metric on the whole validation split, 0..1.
        test: figure on the test split; None where none was named.
        ratio: measured cost against dense, in one run with the other rows.
        absolute: the same in the report's unit.
        predicted: cost against dense by the cost model.
        within: inside the budget, by what the search went by.
    """

    name: str
    plan: Plan
    validation: float
    test: float | None
    ratio: float
    absolute: float
    predicted: float
    within: bool


@dataclass(frozen=True)
class SearchReport:
    """A finished search.

    Attributes:
        rows: the search's plan first, then what stands beside it.
        metric: name of the metric.
        dataset, test_dataset: names; None where there is no test split.
        budget: cost against dense.
        budget_text: budget text as it was asked for.
        unit: unit of the absolute costs, ``ms`` or ``mJ``.
        evaluations: evaluations of the evolutionary and of the random search, each.
        samples: validation images per evaluation, and of the whole split.
        seed: seed of everything random.
        predicted: the search went by the cost model alone.
        model, device: file and hash, device in words.
    """

    rows: tuple[Row, ...]
    metric: str
    dataset: str
    test_dataset: str | None
    budget: float
    budget_text: str
    unit: str
    evaluations: tuple[int, int]
    samples: tuple[int, int]
    seed: int
    predicted: bool
    model: str
    model_sha256: str
    device: str

    @property
    def best(self) -> Row:
        """The plan to run: of those inside the budget the one of the best validation metric, the search's own in a tie.

        With none inside, the search's own.
        """
        return max((row for row in self.rows if row.within), key=lambda row: row.validation, default=self.rows[0])

    def row(self, name: str) -> Row:
        """A row by its name. Raises KeyError."""
        return {row.name: row for row in self.rows}[name]

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        document = {"schema": SEARCH_SCHEMA, **asdict(self)}
        for row in document["rows"]:
            row["plan"] = row["plan"]["ratios"]
        return document

    def provenance(self) -> dict:
        """Where the plan comes from, for its file."""
        best = self.best
        return {
            "found_by": best.name,
            "found": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": self.model,
            "model_sha256": self.model_sha256,
            "device": self.device,
            "budget": self.budget_text,
            "cost_of_dense": round(best.ratio, 4),
            "cost": f"{best.absolute:.3g} {self.unit}",
            "metric": self.metric,
            "validation": {self.dataset: round(best.validation, 5)},
            "test": {} if self.test_dataset is None or best.test is None else {self.test_dataset: round(best.test, 5)},
            "seed": self.seed,
        }
