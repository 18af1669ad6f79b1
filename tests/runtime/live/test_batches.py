"""Frames of several sources that run together."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.live.devices import Device
from sparsevit_runtime.errors import ArgumentError, BackendError
from sparsevit_runtime.live.outlet import Pull
from sparsevit_runtime.live.session import Session

pytestmark = pytest.mark.timed


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def batches(model, monkeypatch) -> list[int]:
    """Frames of each run of the backend."""
    seen, run = [], model.runner.backend.run

    def watched(feeds, outputs):
        seen.append(len(feeds["image"]))
        return run(feeds, outputs)

    monkeypatch.setattr(model.runner.backend, "run", watched)
    return seen


def pictures(count, shade):
    return iter([np.full((40, 60, 3), (shade + 8 * i) % 256, np.uint8) for i in range(count)])


@pytest.mark.parametrize("batch", [None, 1, 2, 3, 8])
def test_answers_are_those_of_frames_that_run_alone_in_order_and_to_their_source(model, batches, batch):
    sources = {f"camera {i}": pictures(20, 64 * i) for i in range(3)}
    results = Pull(2)
    with Session(model.runner, sources, [results], level=0.5, activity=True, batch=batch) as session:
        taken = [delivery.result for delivery in results]
    for i in range(3):
        mine = [result for result in taken if result.source == f"camera {i}"]
        assert [result.frame_index for result in mine] == list(range(20))
        for result, image in zip(mine, pictures(20, 64 * i), strict=True):
            alone = model(image, 0.5, activity=True)
            np.testing.assert_array_equal(result.label_map, alone.label_map)
            assert result.keep == alone.keep and (result.image == image).all()
    assert sum(batches[: len(batches) - 60]) == 60  # the others are those that ran alone
    assert max(batches) <= (batch or 1) and (max(batches) > 1) == (batch in (2, 3, 8))
    assert all(c.processed == c.captured == 20 for c in session.metrics.sources.values())


def test_a_dead_camera_is_not_waited_for(model):
    dead, alive = Device(["hang"]), Device([30, "wait"])
    results = Pull(2)
    with Session(model.runner, {"dead": dead.open, "alive": alive.open}, [results], batch=2) as session:
        assert next(results).result.source == next(results).result.source == "alive"
        session.stop()


def test_every_frame_of_a_run_that_fails_is_counted(model, monkeypatch):
    def fail(feeds, outputs):
        raise BackendError("no more")

    monkeypatch.setattr(model.runner.backend, "run", fail)
    session = Session(model.runner, {"a": pictures(9, 0), "b": pictures(9, 64)}, [], batch=4)
    with session, pytest.raises(BackendError, match="no more"):
        session.wait(10)
    for counts in session.metrics.sources.values():
        assert counts.captured == counts.failed + counts.dropped + counts.processed and counts.processed == 0
    assert sum(counts.failed for counts in session.metrics.sources.values()) >= 1


def test_a_batch_of_none_is_refused(model):
    with pytest.raises(ArgumentError, match="batch"):
        Session(model.runner, pictures(1, 0), batch=0)
