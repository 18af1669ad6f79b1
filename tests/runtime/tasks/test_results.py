import copy
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest

from sparsevit_runtime.draw import draw_result
from sparsevit_runtime.errors import FrameError
from sparsevit_runtime.tasks.results import Timings


@pytest.mark.parametrize("task", ["segmentation", "backbone"])
def test_results_are_pickled_and_copied_whole(make_model, frame, task):
    result = make_model(task=task)(frame, 0.5, activity=True)
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert type(again) is type(result) and again.to_dict() == result.to_dict() and str(again) == str(result)
        np.testing.assert_array_equal(again.image, frame)
        np.testing.assert_array_equal(again.activity.frame_heat(), result.activity.frame_heat())


def test_plot_is_the_annotated_picture(make_model, frame):
    result = make_model()(frame, 0.5, activity=True)
    np.testing.assert_array_equal(result.plot(), draw_result(frame, result))
    np.testing.assert_array_equal(
        result.plot(255 - frame, legend=False, hud=False), draw_result(255 - frame, result, legend=False, hud=False)
    )
    without = replace(result, image=None)
    with pytest.raises(FrameError, match=r"pass plot\(image\)"):
        without.plot()
    assert without.plot(frame).shape == frame.shape


def test_notebooks_show_the_picture(make_model, frame):
    result = make_model()(frame)
    shown = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown, result.plot())
    assert replace(result, image=None)._repr_png_() is None


def test_timings_add_up():
    timings = Timings(1.0, 2.0, 3.5, 0.25)
    assert timings.total_ms == 6.75 and timings.to_dict()["inference_ms"] == 3.5
    assert Timings().total_ms == 0
