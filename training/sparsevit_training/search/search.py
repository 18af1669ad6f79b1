"""The search: calibrate, evolve, draw at random as often, measure the finalists, and test."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from sparsevit_runtime.errors import SparseViTError
from sparsevit_runtime.model import Model
from sparsevit_runtime.progress import SILENT, Progress, track
from sparsevit_runtime.windows.plan import Plan, dense_keep

from ..datasets import Dataset
from ..evaluate import evaluate
from ..tasks import measured_task
from .cost import CostModel, Gauge, Measurement, calibrate, measure
from .evolution import Pool, evolve, fill_randomly
from .report import Row, SearchReport
from .space import LEVELS, Genome, Space
from .state import SearchState

#: A prediction this far over the budget is still worth a measurement, beside the cost model's own error.
_SLACK = 0.02
#: Candidates of each kind that are measured together: the best lie at the budget, and some turn out to be beyond it.
_MEASURED = 12
#: Candidates of each kind, inside the budget, that are evaluated on the whole split.
_FINALISTS = 5
#: Rounds of a fine measurement over those of a quick one.
_FINE = 5
#: Steps of the uniform ratio that is compared with.
_UNIFORM_STEPS = 100


class SearchError(SparseViTError):
    """Nothing to search: no plan fits the budget, or the model has a fixed plan."""


@dataclass(frozen=True)
class Budget:
    """The most a plan may cost; exactly one is given.

    Attributes:
        absolute: figure in the gauge's unit, ms or mJ per frame.
        ratio: ratio of the dense model's cost.
        plan: the cost of this plan, in any form `Plan.parse` reads.
    """

    absolute: float | None = None
    ratio: float | None = None
    plan: str | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.absolute, self.ratio, self.plan) if v is not None]
        if len(given) != 1:
            raise SearchError(f"{len(given)} budgets are given; give one: milliseconds, a ratio of dense, or a plan")
        number = given[0]
        if not isinstance(number, str) and not 0 < number < math.inf:
            raise SearchError(f"the budget is {number}; it must be a number above zero")

    def text(self, unit: str) -> str:
        if self.absolute is not None:
            return f"{self.absolute:g} {unit}"
        return f"{self.ratio:g} of dense" if self.ratio is not None else f"the cost of {self.plan}"


@dataclass(frozen=True)
class SearchSettings:
    """How long and how finely to search.

    Attributes:
        evaluations: plans whose metric is measured, by the search and again by the random search beside it.
        population: plans per generation.
        samples: validation images per evaluation, drawn once by the seed; None for all. The finalists are always
            evaluated on all of them.
        rounds: timed runs per candidate against dense; the finalists get five times as many.
        seed: seed of everything random.
        snap: kept counts are moved to the edges of tiles, see `Plan.snapped`.
    """

    evaluations: int = 100
    population: int = 20
    samples: int | None = None
    rounds: int = 6
    seed: int = 0
    snap: bool = False

    def __post_init__(self) -> None:
        if self.evaluations < 2 or self.population < 2 or self.rounds < 1 or self.samples == 0:
            raise SearchError(f"{self}: needs 2 evaluations, a population of 2, 1 round and 1 sample at least")


def search(
    model: Model,
    validation: Dataset,
    budget: Budget,
    gauge: Gauge,
    settings: SearchSettings,
    *,
    file: str,
    file_sha256: str,
    device: str,
    test: Dataset | None = None,
    cost_model: CostModel | None = None,
    state_path: str | Path | None = None,
    progress: Progress = SILENT,
) -> tuple[SearchReport, CostModel]:
    """Finds the plan of the best validation metric inside a budget.

    Args:
        model: the exported file, open in the backend that will serve it.
        validation: labelled data that decides.
        budget: the most a plan may cost.
        gauge: measures a run of `model`.
        settings: see SearchSettings.
        file, file_sha256, device: for the record, and to recognise a state file.
        test: labelled data on which the results are compared in the end; decides nothing.
        cost_model: goes by its predictions in place of measurements (for a device that is not here): then the outcome
            depends on the seed alone. None measures: the cost model fitted here only spares hopeless measurements.
        state_path: answers are kept there after every step; a search started again with the same arguments goes on.
        progress: listener, told the phases, and the best metric so far.

    Returns:
        The report, with the plan found first, and the cost model used.

    Raises:
        SearchError: the model's plan is fixed, or nothing fits the budget.
        StateError: the state file belongs to another search.
        DatasetError: the data does not fit the model.
    """
    return _Search(
        model, validation, budget, gauge, settings, file, file_sha256, device, test, cost_model, state_path, progress
    ).run()


def _measurements(kept: list[dict[str, Any]], count: int) -> list[Measurement]:
    """From plain values; TypeError or ValueError where they are something else."""
    if len(kept) != count:
        raise ValueError(f"{len(kept)} measurements of {count} plans")
    return [Measurement(ratio=float(entry["ratio"]), absolute=float(entry["absolute"])) for entry in kept]


def _best_note(best: float) -> str:
    return f"best {100 * best:.2f}"


class _Search:
    """One run of `search`; arguments as there."""

    def __init__(
        self,
        model: Model,
        validation: Dataset,
        budget: Budget,
        gauge: Gauge,
        settings: SearchSettings,
        file: str,
        file_sha256: str,
        device: str,
        test: Dataset | None,
        cost_model: CostModel | None,
        state_path: str | Path | None,
        progress: Progress,
    ) -> None:
        if model.card.windows.fixed is not None:
            raise SearchError(f"{file} has a fixed plan, there is nothing to search; export the model without --fixed")
        self.model, self.validation, self.test, self.gauge = model, validation, test, gauge
        self.budget, self.settings, self.progress = budget, settings, progress
        self.file, self.file_sha256, self.device = file, file_sha256, device
        depths = tuple(model.card.windows.depths)
        self.space = Space(depths, tuple(model.card.stages) if settings.snap else None)
        self.budget_plan = None if budget.plan is None else Plan.parse(budget.plan, depths)
        self.predicts, self.given = cost_model is not None, cost_model
        count = min(settings.samples or len(validation), len(validation))
        chosen = np.random.default_rng([settings.seed, 0]).permutation(len(validation))[:count]
        self.subset: Dataset = validation if count == len(validation) else validation.subset(sorted(chosen.tolist()))
        progress.start("reading the data")
        self.state = SearchState(state_path, self._identity())

    def run(self) -> tuple[SearchReport, CostModel]:
        self.cost_model = self.given or self._calibrate()
        self.limit = self._budget_ratio()
        cheapest = self._predict(self.space.plan(self.space.uniform(LEVELS - 1)))
        if cheapest > self.limit:
            raise SearchError(
                f"the cheapest plan costs {cheapest:.2f} of dense, the budget is {self.limit:.2f} "
                f"({self.budget.text(self.gauge.unit)}); allow more, or take a smaller model or input"
            )
        found = self._evolution()
        random = self._random()
        rows = self._results({"search": self._plans(found), "random": self._plans(random)}, self._uniform())
        report = SearchReport(
            rows=tuple(rows),
            metric=measured_task(self.model.task).metric,
            dataset=self.validation.name,
            test_dataset=None if self.test is None else self.test.name,
            budget=self.limit,
            budget_text=self.budget.text(self.gauge.unit),
            unit=self.gauge.unit,
            evaluations=(len(found), len(random)),
            samples=(len(self.subset), len(self.validation)),
            seed=self.settings.seed,
            predicted=self.predicts,
            model=self.file,
            model_sha256=self.file_sha256,
            device=self.device,
        )
        return report, self.cost_model

    # Costs, all against the dense model

    def _calibrate(self) -> CostModel:
        def find() -> dict[str, Any]:
            rounds, seed, who = self.settings.rounds, self.settings.seed, (self.file_sha256, self.device)
            found = calibrate(self.gauge, self.space, self._shares, rounds, seed, *who, self.progress)
            return asdict(found)

        return self.state.recall("calibration", "", find, CostModel.of)

    def _budget_ratio(self) -> float:
        if self.budget_plan is not None:
            return self._predict(self.budget_plan) if self.predicts else self._measure([self.budget_plan])[0].ratio
        if self.budget.ratio is not None:
            return self.budget.ratio
        return cast(float, self.budget.absolute) / self.cost_model.dense  # exactly one of the three is given

    def _predict(self, plan: Plan) -> float:
        return self.cost_model.ratio(self._shares(plan))

    def _measure(self, plans: Sequence[Plan], finely: bool = True) -> list[Measurement]:
        rounds = self.settings.rounds * (_FINE if finely else 1)
        key = json.dumps([rounds, *(self._key(plan) for plan in plans)])
        told = self.progress if finely else SILENT  # quick ones are a part of the search, which shows its own

        def find() -> list[dict[str, Any]]:
            seed, title = self.settings.seed, "measuring the finalists"
            return [asdict(m) for m in measure(self.gauge, plans, rounds, seed, told, title)]

        return self.state.recall("measured", key, find, lambda kept: _measurements(kept, len(plans)))

    def _admit(self, genome: Genome) -> bool:
        plan = self.space.plan(genome)
        if self.budget_plan is not None and self._key(plan) == self._key(self.budget_plan):
            return True
        predicted = self._predict(plan)
        if self.predicts:
            return predicted <= self.limit
        if predicted > self.limit + self.cost_model.error + _SLACK:
            return False
        return self._measure([plan], finely=False)[0].ratio <= self.limit

    def _shares(self, plan: Plan) -> list[float]:
        return [k / all_of for k, all_of in zip(self._key(plan), dense_keep(self.model.card.stages), strict=True)]

    def _key(self, plan: Plan) -> list[int]:
        """Windows computed per block pair: plans that agree in them are the same."""
        return plan.keep(self.model.card.stages).tolist()

    # Candidates

    def _evolution(self) -> Pool:
        pool = self._pool("searching")
        for tenths in range(LEVELS):  # a search starts from what a user would try first
            pool.offer(self.space.uniform(tenths))
        evolve(pool, self.space, np.random.default_rng([self.settings.seed, 1]), self.settings.population)
        return pool

    def _random(self) -> Pool:
        pool = self._pool("random search")
        fill_randomly(pool, self.space, np.random.default_rng([self.settings.seed, 2]), self.settings.evaluations)
        return pool

    def _pool(self, phase: str) -> Pool:
        limit = self.settings.evaluations
        best = -math.inf
        self.progress.start(phase, limit)

        def score(genome: Genome) -> float:
            nonlocal best
            value = self._score(self.subset, self.space.plan(genome))
            best = max(best, value)
            self.progress.advance(len(pool) + 1, _best_note(best))
            return value

        pool = Pool(lambda g: tuple(self._key(self.space.plan(g))), self._admit, score, limit)
        return pool

    def _score(self, dataset: Dataset, plan: Plan) -> float:
        kind = "test" if dataset is self.test else f"validation of {len(dataset)}"

        def find() -> float:
            score = evaluate(self.model, dataset, [plan])[0].score
            if math.isnan(score):
                raise SearchError(f"{len(dataset)} samples of {dataset.name} have nothing to count; take more samples")
            return score

        return self.state.recall(kind, json.dumps(self._key(plan)), find, float)

    def _plans(self, pool: Pool) -> list[Plan]:
        return [self.space.plan(genome) for genome, _ in pool.ranked]

    def _uniform(self) -> Plan:
        """The budget's own plan if it is uniform, otherwise the uniform plan that keeps most inside the budget."""
        depths = self.space.depths
        if self.budget_plan is not None and len({r for stage in self.budget_plan.ratios for r in stage}) == 1:
            return self.budget_plan
        plans = (Plan.uniform(step / _UNIFORM_STEPS, depths) for step in range(_UNIFORM_STEPS + 1))
        return next((p for p in plans if self._predict(p) <= self.limit), Plan.uniform(1.0, depths))

    # Results

    def _results(self, candidates: dict[str, list[Plan]], uniform: Plan) -> list[Row]:
        """The best of each kind on the whole validation split, measured together; then what they compare with."""
        dense = Plan.dense(self.space.depths)
        candidates = {name: plans[:_MEASURED] for name, plans in candidates.items()}
        compared = [uniform, dense] + ([] if self.budget_plan is None else [self.budget_plan])
        measured = self._measure_together([plan for plans in candidates.values() for plan in plans] + compared)

        def cost(plan: Plan) -> float:
            return self._predict(plan) if self.predicts else measured[str(self._key(plan))].ratio

        if self.budget_plan is not None:
            self.limit = cost(self.budget_plan)  # measured beside the plans that it is compared with
        chosen = {name: self._best(plans, cost) for name, plans in candidates.items()}
        rows = []
        results = [*chosen.items(), ("uniform", uniform), ("dense", dense)]
        for name, plan in track(results, "comparing", self.progress):
            found = measured[str(self._key(plan))]
            rows.append(
                Row(
                    name=name,
                    plan=plan,
                    validation=self._score(self.validation, plan),
                    test=None if self.test is None else self._score(self.test, plan),
                    ratio=found.ratio,
                    absolute=found.absolute,
                    predicted=self._predict(plan),
                    within=cost(plan) <= self.limit,
                )
            )
        return rows

    def _best(self, plans: Sequence[Plan], cost: Callable[[Plan], float]) -> Plan:
        """By the whole split, of those inside the budget; with none inside, the cheapest."""
        inside = [plan for plan in plans if cost(plan) <= self.limit][:_FINALISTS]
        if not inside:
            return min(plans, key=cost)
        scores: list[float] = []
        self.progress.start("finalists", len(inside))
        for plan in inside:
            scores.append(self._score(self.validation, plan))
            self.progress.advance(len(scores), _best_note(max(scores)))
        return inside[scores.index(max(scores))]

    def _measure_together(self, plans: Sequence[Plan]) -> dict[str, Measurement]:
        """By key; plans that are the same are measured once."""
        different = {str(self._key(plan)): plan for plan in plans}
        return dict(zip(different, self._measure(list(different.values())), strict=True))

    def _identity(self) -> dict[str, Any]:
        named = {"validation": self.validation, "test": self.test}
        data = {key: None if d is None else [d.name, len(d), d.fingerprint()] for key, d in named.items()}
        s = self.settings
        return {
            "model": self.file_sha256,
            "backend": self.model.backend.name,
            "device": self.device,
            **data,
            "budget": self.budget.text(self.gauge.unit),
            "cost model": None if self.given is None else [self.given.fixed, *self.given.pairs],
            "evaluations": s.evaluations,
            "population": s.population,
            "samples": s.samples,
            "rounds": s.rounds,
            "seed": s.seed,
            **({"snap": True} if s.snap else {}),
        }
