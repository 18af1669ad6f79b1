import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

import searchable
from shared_files import made_once
from sparsevit_runtime import load
from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.plan import Plan, dense_keep
from sparsevit_training.evaluate import evaluate
from sparsevit_training.evaluation_data import open_evaluation_data
from sparsevit_training.search import Budget, CostModel, SearchError, SearchSettings, Space, StateError, search
from sparsevit_training.search.space import LEVELS
from told import Told

SETTINGS = SearchSettings(evaluations=40, population=8, rounds=2, seed=1)
SPACE = Space(searchable.DEPTHS)
PAIRS = (0.6, 0.2, 0.1)


def cost_of(plan):
    """Against dense: every pair has its price, by the windows it really computes."""
    stages = stage_geometries(searchable.HEIGHT, searchable.WIDTH, searchable.DEPTHS, searchable.WINDOW)
    return 0.1 + float(np.dot(PAIRS, plan.keep(stages) / dense_keep(stages)))


class Device:
    """A device of known costs; counts its runs."""

    unit = "ms"

    def __init__(self):
        self.runs = 0

    def __call__(self, plan):
        self.runs += 1
        return 20.0 * cost_of(plan)


@pytest.fixture(scope="module")
def to_search(tmp_path_factory):
    """The small model, and its validation and test split."""
    root = tmp_path_factory.mktemp("searchable")
    path = made_once(tmp_path_factory, "searchable/model.onnx", searchable.write_model)
    searchable.write_data(root / "data", path, val=6, test=4)
    with load(path, threads=1) as model:
        yield model, *(open_evaluation_data(model, root / "data", split, 100) for split in ("val", "test"))


def run(to_search, budget, settings=SETTINGS, **arguments):
    model, validation, test = to_search
    about = {"file": "model.onnx", "file_sha256": "ab", "device": "a device", "test": test}
    gauge = arguments.pop("gauge", None) or Device()
    return search(model, validation, budget, gauge, settings, **{**about, **arguments})[0]


@pytest.mark.slow
def test_the_plan_found_beats_uniform_inside_the_budget(to_search):
    model, validation, test = to_search
    report = run(to_search, Budget(plan="0.5"))
    best, random, uniform, dense = (report.row(name) for name in ("search", "random", "uniform", "dense"))
    assert report.best is best and report.evaluations == (40, 40)
    assert best.validation > uniform.validation  # against chance: test_evolution.py, on plans that differ by more
    assert uniform.plan == Plan.uniform(0.5, searchable.DEPTHS)
    assert best.within and random.within and uniform.within and not dense.within
    assert best.ratio <= uniform.ratio == pytest.approx(report.budget)
    # figures are those of `evaluate`, on both splits
    for row in report.rows:
        for dataset, value in ((validation, row.validation), (test, row.test)):
            assert evaluate(model, dataset, [row.plan])[0].score == pytest.approx(value)


@pytest.mark.slow
def test_nothing_inside_the_budget_is_much_better(to_search):
    """Against every plan there is."""
    model, validation, _ = to_search
    report = run(to_search, Budget(ratio=0.6))
    scores = []
    for genome in itertools.product(range(LEVELS), repeat=3):
        plan = SPACE.plan(genome) if genome[1] <= genome[2] else None
        if plan is not None and cost_of(plan) <= 0.6:
            scores.append((plan.keep(model.card.stages).tolist(), plan))
    different = {str(keep): plan for keep, plan in scores}
    reached = sorted((e.score for e in evaluate(model, validation, list(different.values()))), reverse=True)
    assert report.best.validation >= reached[len(reached) // 20]


@pytest.mark.parametrize("budget", [Budget(absolute=12.0), Budget(ratio=0.6)])
def test_budgets_in_milliseconds_and_of_dense(to_search, budget):
    report = run(to_search, budget)
    assert report.budget == pytest.approx(0.6, abs=1e-6)
    for row in report.rows[:3]:
        assert row.ratio <= 0.6 + 1e-9 and row.within
    # the uniform plan beside it leaves no room for a percent less pruned
    ratio = report.row("uniform").plan.ratios[0][0]
    assert cost_of(Plan.uniform(ratio - 0.01, searchable.DEPTHS)) > 0.6


def test_samples_are_a_part_and_finalists_see_all(to_search):
    report = run(to_search, Budget(ratio=0.6), replace(SETTINGS, samples=2))
    assert report.samples == (2, 6)
    model, validation, _ = to_search
    best = report.best
    assert best.validation == pytest.approx(evaluate(model, validation, [best.plan])[0].score)


def test_the_seed_decides(to_search):
    settings = replace(SETTINGS, evaluations=8, population=4)
    reports = [run(to_search, Budget(ratio=0.6), replace(settings, seed=seed)) for seed in (1, 1, 2)]
    assert reports[0].rows == reports[1].rows
    assert reports[0].rows != reports[2].rows


@pytest.mark.slow
def test_stopped_anywhere_and_started_again_it_ends_the_same(to_search, tmp_path):
    class Stop(Exception):
        pass

    settings = replace(SETTINGS, evaluations=8, population=4)
    unbroken = run(to_search, Budget(ratio=0.6), settings, state_path=tmp_path / "unbroken.json")
    answers = json.loads((tmp_path / "unbroken.json").read_text())["answers"]
    for after in (0, 1, 5, 9, 16):
        path = tmp_path / f"{after}.json"
        steps = iter(range(after))

        def stop(steps=steps):
            if next(steps, None) is None:
                raise Stop

        with pytest.raises(Stop):
            run(to_search, Budget(ratio=0.6), settings, state_path=path, progress=Told(stop))
        assert run(to_search, Budget(ratio=0.6), settings, state_path=path).rows == unbroken.rows
        assert json.loads(path.read_text())["answers"] == answers
    device = Device()
    assert run(to_search, Budget(ratio=0.6), settings, state_path=path, gauge=device).rows == unbroken.rows
    assert device.runs == 0  # everything was known


def test_another_search_does_not_take_the_state(to_search, tmp_path):
    settings = replace(SETTINGS, evaluations=4, population=2)
    run(to_search, Budget(ratio=0.6), settings, state_path=tmp_path / "s.json")
    for change in ({"budget": Budget(ratio=0.5)}, {"settings": replace(settings, seed=9)}, {"file_sha256": "cd"}):
        arguments = {"budget": Budget(ratio=0.6), "settings": settings, "state_path": tmp_path / "s.json"} | change
        with pytest.raises(StateError, match="now"):
            run(to_search, **arguments)


def test_a_cost_model_in_place_of_measurements(to_search):
    """Its device is elsewhere: what this one measures is reported and decides nothing."""
    elsewhere = CostModel("ab", "elsewhere", "ms", 50.0, 0.0, (0.8, 0.1, 0.1), 0.01)
    report = run(to_search, Budget(absolute=25.0), cost_model=elsewhere)
    assert report.predicted and report.budget == 0.5
    for row in report.rows[:3]:
        assert row.predicted <= 0.5 and row.within
    assert report.best.plan.ratios[0][0] >= 0.4  # the first pair is dear there


@pytest.mark.parametrize("values", [{}, {"ratio": 0.5, "plan": "0.5"}, {"ratio": 0.0}, {"absolute": float("nan")}])
def test_budgets_that_are_none(values):
    with pytest.raises(SearchError, match="budget"):
        Budget(**values)


@pytest.mark.parametrize("values", [{"evaluations": 1}, {"population": 1}, {"rounds": 0}, {"samples": 0}])
def test_settings_that_cannot_search(values):
    with pytest.raises(SearchError, match="at least"):
        SearchSettings(**values)


def test_a_budget_that_nothing_fits(to_search):
    with pytest.raises(SearchError, match=r"cheapest plan costs 0\.\d+ of dense"):
        run(to_search, Budget(ratio=0.05))


def test_answers_of_other_data_are_not_taken(to_search, tmp_path):
    """Of the other split, and of the same files with other labels."""
    model, validation, test = to_search
    settings, state = replace(SETTINGS, evaluations=2, population=2), tmp_path / "state.json"
    run(to_search, Budget(ratio=0.6), settings, state_path=state)
    with pytest.raises(StateError, match="another search"):
        run((model, test, validation), Budget(ratio=0.6), settings, state_path=state, test=validation)
    assert test.subset([0, 1]).fingerprint() != validation.subset([0, 1]).fingerprint()
    sample = validation[0]
    before, pixel = validation.fingerprint(), sample.label[0, 0].copy()
    sample.label[0, 0] = 1 - min(pixel, 1)  # kept in memory
    try:
        assert validation.fingerprint() != before
    finally:
        sample.label[0, 0] = pixel
    assert validation.fingerprint() == before


@pytest.mark.parametrize("damage", [{"measured": 3}, {"calibration": {"": {}}}, {"validation of 6": "x"}], ids=str)
def test_damaged_answers_are_told(to_search, tmp_path, damage):
    state = tmp_path / "state.json"
    settings = replace(SETTINGS, evaluations=2, population=2)
    run(to_search, Budget(ratio=0.6), settings, state_path=state)
    document = json.loads(state.read_text())
    document["answers"].update(damage)
    state.write_text(json.dumps(document))
    with pytest.raises(StateError, match="state.json"):
        run(to_search, Budget(ratio=0.6), settings, state_path=state)


def test_the_best_plan_inside_the_budget_is_the_one_to_run(to_search):
    report = run(to_search, Budget(ratio=0.6), replace(SETTINGS, evaluations=2, population=2))
    rows = {name: replace(report.row(name), validation=0.5, within=True) for name in ("search", "random", "uniform")}
    order = tuple(rows.values())
    assert replace(report, rows=order).best is rows["search"]  # no better one
    better = replace(rows["random"], validation=0.6)
    assert replace(report, rows=(rows["search"], better)).best is better
    assert replace(report, rows=(rows["search"], replace(better, within=False))).best is rows["search"]
