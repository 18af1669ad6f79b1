import pytest

from sparsevit_training.recipe import ScheduleRecipe
from sparsevit_training.schedule import Schedule


def test_steps_alone_decide_without_a_budget():
    schedule = Schedule(ScheduleRecipe(steps=200), elapsed_s=1e9)
    assert [schedule.progress(s) for s in (0, 50, 200, 300)] == [0, 0.25, 1, 1]


@pytest.mark.parametrize(("elapsed_s", "step", "expected"), [(0, 50, 0.5), (45, 50, 0.75), (60, 0, 1.0), (90, 0, 1.0)])
def test_a_budget_can_run_ahead_of_the_steps(elapsed_s, step, expected):
    schedule = Schedule(ScheduleRecipe(steps=100, budget_minutes=1), elapsed_s=elapsed_s)
    assert schedule.progress(step) == pytest.approx(expected, abs=0.01)


def test_learning_rate_warms_up_then_falls_to_its_end():
    recipe = ScheduleRecipe(steps=100, warmup_steps=10, final_lr=0.02)
    schedule = Schedule(recipe)
    factors = [schedule.lr_factor(s, schedule.progress(s)) for s in range(101)]
    assert factors[0] == pytest.approx(0.1, rel=0.01)
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0.02)


def test_no_warm_up():
    assert Schedule(ScheduleRecipe(steps=10, warmup_steps=0)).lr_factor(0, 0.0) == 1.0
