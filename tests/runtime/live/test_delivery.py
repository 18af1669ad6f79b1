"""Pictures of results: drawn when somebody asks, once for all of them."""

import weakref
from dataclasses import replace

import numpy as np
import pytest

from sparsevit_runtime.live.outlet import Outlet, Pull
from sparsevit_runtime.live.session import Session


@pytest.fixture
def drawn():
    """Pictures that were drawn."""
    return []


@pytest.fixture
def draw(drawn):
    def run(image, result):
        drawn.append(image // 2 if result.activity is None else image // 3)
        return drawn[-1]

    return run


def frames(count):
    return [np.full((40, 60, 3), 10 * i, np.uint8) for i in range(count)]


@pytest.mark.parametrize("activity", [True, False])
def test_a_page_gets_the_picture_that_a_recording_was_given(make_model, draw, drawn, activity):
    """A page keeps the newest result, and asks the session for its picture without the windows."""
    results, recorded = Pull(0), []
    video = Outlet(lambda result, picture: recorded.append(picture), pictures=True, may_block=True)
    with Session(make_model().runner, frames(3), [video, results], draw=draw, activity=activity) as session:
        for delivery in results:
            result = delivery.result
            shown = session.draw(result.image, replace(result, activity=None))
            assert np.array_equal(shown, result.image // 2)
            assert (shown is delivery.picture()) is not activity
            assert session.draw(result.image, result) is delivery.picture()
        assert session.wait(10)
    assert len(drawn) == (6 if activity else 3) and len(recorded) == 3
    assert not activity or all(np.array_equal(picture, image // 3) for picture, image in zip(recorded, frames(3)))


def test_another_frame_and_a_result_that_was_changed_are_drawn_anew(make_model, draw, drawn):
    results = Pull(0)
    with Session(make_model().runner, frames(2), [results], draw=draw) as session:
        deliveries = [next(results) for _ in range(2)]
        first, second = (delivery.result for delivery in deliveries)
        session.draw(second.image, replace(second, palette=second.palette[::-1].copy()))
        session.draw(first.image, second)
        session.draw(second.image.copy(), second)
        assert len(drawn) == 3


def test_a_session_that_is_over_keeps_no_pictures(make_model):
    results = Pull(0)
    with Session(make_model().runner, frames(1), [results], draw=lambda image, result: image // 2) as session:
        delivery = next(results)
        picture = weakref.ref(delivery.picture())
        assert session.draw(delivery.result.image, delivery.result) is picture()
        del delivery
        assert session.wait(10)
    assert picture() is None
