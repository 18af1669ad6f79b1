from sparsevit_runtime.tasks.results import Timings


def test_timings_add_up():
    timings = Timings(1.0, 2.0, 3.5, 0.25)
    assert timings.total_ms == 6.75 and timings.to_dict()["inference_ms"] == 3.5
    assert Timings().total_ms == 0
