"""What a frame carries decides its answer, and nothing that ran before."""

from __future__ import annotations

import numpy as np
import pytest

from sparsevit_runtime import load
from sparsevit_runtime.errors import ArgumentError, FrameError
from sparsevit_runtime.runner import Runner


@pytest.fixture(scope="module")
def network(exported):
    with load(exported(), threads=1) as model:
        yield model


def frames(count):
    return np.random.default_rng(0).integers(0, 256, (count, 60, 88, 3), dtype=np.uint8)


def test_a_frame_at_a_level_is_bit_equal_whatever_came_before(network):
    first, second = frames(2)
    levels = [network.level(sparsity) for sparsity in (None, 0.3, 0.6, 1.0)]
    alone = [network(first, level).label_map for level in levels]
    assert any((alone[0] != other).any() for other in alone[1:])  # the level matters
    for before in levels:
        for level, expected in zip(levels, alone):
            network(second, before)
            np.testing.assert_array_equal(network(first, level).label_map, expected)


def test_results_say_the_level_they_were_run_at(network):
    for sparsity in (0.0, 0.5, [0.6, 0.4, 0.2, 0]):
        level = network.level(sparsity)
        result = network(frames(1)[0], level)
        assert (result.keep, result.window_share) == (level.kept, level.window_share)


def test_only_what_a_request_names_is_asked_of_the_graph(network):
    runner = Runner(network.backend)
    level = runner.level(0.5)
    assert runner.request(level).outputs == ("labels",)
    assert set(runner.request(level, activity=True).outputs) == set(network.backend.output_names)


@pytest.mark.parametrize("threshold", [0, 1, 0.5, "0.5", np.float32(0.5), np.array(0.5)])
def test_a_threshold_is_a_number_from_0_to_1(network, threshold):
    assert network.runner.request(network.level(0.5), threshold=threshold).threshold == float(threshold)


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.1, float("inf"), True, "much", [0.5], 10**400])
def test_any_other_threshold_is_refused(network, threshold):
    with pytest.raises(ArgumentError, match="threshold is .*; give a number from 0 to 1"):
        network(frames(1)[0], threshold=threshold)
    with pytest.raises(ArgumentError):
        network.stream(list(frames(1)), threshold=threshold)


@pytest.mark.parametrize("sparsity", [".5", "50%", "0.50", "0.5,50%,.5,5e-1", np.array(0.5), "[0.5,0.5,0.5,0.5]"])
def test_python_takes_a_sparsity_as_the_command_line_does(network, sparsity):
    assert network.level(sparsity) == network.level(0.5)


class OnGpu:
    @property
    def __cuda_array_interface__(self):
        return {"shape": (4, 4, 3), "typestr": "|u1", "data": (4096, False), "version": 3}


def test_a_frame_on_the_gpu_is_for_a_backend_that_reaches_it(network):
    with pytest.raises(FrameError, match="onnxruntime takes frames of the host"):
        network(OnGpu())
