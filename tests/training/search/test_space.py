from itertools import pairwise

import numpy as np
import pytest

from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.plan import Plan
from sparsevit_training.search.space import LEVELS, Space


@pytest.fixture
def space():
    return Space((2, 3, 6, 1))


def orderly(space, genome) -> bool:
    """Whether ratios stay in range and never decrease within a stage."""
    ends = np.cumsum(space.pairs)
    stages = [genome[end - n : end] for n, end in zip(space.pairs, ends)]
    return all(0 <= v < LEVELS for v in genome) and all(list(s) == sorted(s) for s in stages)


def test_an_odd_number_of_blocks_ends_in_a_pair_of_one(space):
    assert space.pairs == (1, 2, 3, 1)
    assert [len(stage) for stage in space.plan(space.uniform(5)).ratios] == [2, 3, 6, 1]


def test_uniform_is_the_uniform_plan(space):
    assert space.plan(space.uniform(3)) == Plan.uniform(0.3, space.depths)
    assert space.plan(space.uniform(0)).is_dense


def test_everything_drawn_is_a_plan(space):
    rng = np.random.default_rng(0)
    drawn = [space.random(rng) for _ in range(50)]
    drawn += [space.mutate(g, rng, 0.3) for g in drawn] + [space.cross(a, b, rng) for a, b in pairwise(drawn)]
    assert all(orderly(space, genome) for genome in drawn)
    assert len(set(drawn)) > 100
    for genome in drawn:
        space.plan(genome)


def test_draws_follow_the_seed(space):
    assert space.random(np.random.default_rng(4)) == space.random(np.random.default_rng(4))


def test_a_child_has_its_parents_pairs_where_they_agree(space):
    rng = np.random.default_rng(1)
    a, b = (1, 2, 3, 4, 5, 6, 7), (8, 2, 3, 4, 5, 6, 0)
    children = {space.cross(a, b, rng) for _ in range(40)}
    assert {child[1:6] for child in children} == {a[1:6]}
    assert {(child[0], child[6]) for child in children} == {(1, 7), (1, 0), (8, 7), (8, 0)}


def test_snapped_plans_are_those_of_the_same_genomes():
    depths = (2, 2, 6, 2)
    stages = stage_geometries(672, 672, depths, 7)
    plain, snapped = Space(depths), Space(depths, stages)
    for tenths in range(LEVELS):
        genome = plain.uniform(tenths)
        assert snapped.uniform(tenths) == genome
        assert snapped.plan(genome) == plain.plan(genome).snapped(stages)
    assert snapped.plan(plain.uniform(6)).keep(stages).tolist() == [230, 57, 15, 15, 15, 5]
