import numpy as np
import pytest

from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.plan import Plan, validate_keep
from sparsevit_training.plan_sampler import keep_of_ratios, sample_ratios
from sparsevit_training.recipe import PlanRecipe

DEPTHS = (2, 2, 6, 1)
DEFAULT = PlanRecipe()
STAGES = stage_geometries(420, 560, DEPTHS, 7)


def draw(count: int, recipe: PlanRecipe = DEFAULT, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    return [sample_ratios(DEPTHS, recipe, rng) for _ in range(count)]


def test_plans_have_one_ratio_per_pair_and_never_decrease():
    for plan in draw(300):
        assert [len(s) for s in plan] == [1, 1, 3, 1]
        assert all(stage == sorted(stage) for stage in plan)
        assert all(r in PlanRecipe().ratios for stage in plan for r in stage)


def test_every_plan_is_accepted_by_the_deployed_model():
    for plan in draw(300):
        keep = keep_of_ratios(plan, STAGES)
        if keep is not None:
            assert validate_keep(keep, STAGES).tolist() == Plan.parse(plan, DEPTHS).keep(STAGES).tolist()


def test_every_ratio_is_drawn_in_every_stage():
    sparse = PlanRecipe(dense_share=0.0)
    plans = draw(500, sparse)
    for stage in range(len(DEPTHS)):
        assert {r for plan in plans for r in plan[stage]} == set(sparse.ratios)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_dense_steps(share):
    recipe = PlanRecipe(ratios=(0.5,), dense_share=share)
    dense = np.mean([keep_of_ratios(p, STAGES) is None for p in draw(2000, recipe)])
    assert abs(dense - share) < 0.04


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_share_of_plans_that_prune_every_block_alike(share):
    recipe = PlanRecipe(ratios=(0.3, 0.5, 0.6), dense_share=0.0, uniform_share=share)
    plans = draw(2000, recipe)
    alike = [len({r for stage in plan for r in stage}) == 1 for plan in plans]
    by_chance = 3**-5  # six pairs, though sorting a stage makes it likelier
    assert share - 0.04 < np.mean(alike) < share + (1 - share) * 10 * by_chance + 0.04
    assert {plan[0][0] for plan, one in zip(plans, alike, strict=True) if one} == {0.3, 0.5, 0.6}


def test_same_seed_same_plans():
    assert draw(20, seed=4) == draw(20, seed=4)
    assert draw(20, seed=4) != draw(20, seed=5)


def test_kept_counts_follow_the_truncation_of_the_reference():
    stages = stage_geometries(28 * 10, 28 * 12, (2,), 7)  # 120 windows
    assert keep_of_ratios([[0.8]], stages) == (23,)


def test_a_run_may_begin_dense():
    recipe = PlanRecipe(dense_share=0.0, dense_until=0.25, ratios=(0.5,))
    rng = np.random.default_rng(0)
    plans = [sample_ratios(DEPTHS, recipe, rng, progress) for progress in (0.0, 0.24, 0.25, 1.0)]
    assert [plan[0][0] for plan in plans] == [0.0, 0.0, 0.5, 0.5]
