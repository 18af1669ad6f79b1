import functools
import itertools

import numpy as np
import pytest

from sparsevit_training.search.evolution import Pool, evolve, fill_randomly
from sparsevit_training.search.space import LEVELS, Space

SPACE = Space((2, 2, 6, 2))
#: A landscape with one summit: accuracy suffers with the square of the ratio, by pair.
HARM = np.array([3.0, 1.0, 2.0, 1.5, 0.5, 0.2])
GAIN = np.array([2.0, 2.0, 1.5, 1.5, 1.5, 1.0])


def score(genome):
    return -float(HARM @ np.square(genome))


def admit(genome):
    return float(GAIN @ genome) >= 38


def pool_of(limit, admit=admit, key=lambda genome: genome):
    return Pool(key, admit, score, limit)


@functools.cache
def summit():
    best = -np.inf
    for genome in itertools.product(range(LEVELS), repeat=6):
        if list(genome[2:5]) == sorted(genome[2:5]) and admit(genome):
            best = max(best, score(genome))
    return best


def run(seed, limit=150):
    found, drawn = pool_of(limit), pool_of(limit)
    evolve(found, SPACE, np.random.default_rng([seed, 1]), population=20)
    fill_randomly(drawn, SPACE, np.random.default_rng([seed, 2]), limit)
    return found, drawn


@pytest.mark.parametrize("seed", range(5))
def test_evolution_climbs_where_chance_does_not(seed):
    found, drawn = run(seed)
    assert len(found) == len(drawn) == 150
    assert found.ranked[0][1] > drawn.ranked[0][1]
    assert found.ranked[0][1] >= 1.15 * summit()  # negative: close to the very best, of 60 000 plans


def test_everything_in_the_pool_was_admitted_once():
    found, _ = run(0)
    genomes = [genome for genome, _ in found.ranked]
    assert all(admit(genome) for genome in genomes) and len(set(genomes)) == len(genomes)
    assert [s for _, s in found.ranked] == sorted((score(g) for g in genomes), reverse=True)


def test_the_seed_decides():
    assert run(3)[0].ranked == run(3)[0].ranked != run(4)[0].ranked


def test_plans_that_compute_the_same_count_once():
    pool = pool_of(50, admit=lambda genome: True, key=lambda genome: genome[0])
    evolve(pool, SPACE, np.random.default_rng(0), population=10)
    assert len(pool) == LEVELS


def test_a_space_without_a_plan_ends_empty():
    pool = pool_of(20, admit=lambda genome: False)
    evolve(pool, SPACE, np.random.default_rng(0), population=10)
    fill_randomly(pool, SPACE, np.random.default_rng(0), 10)
    assert pool.ranked == []
