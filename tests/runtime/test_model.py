import numpy as np
import pytest

import tiny
from sparsevit_runtime.errors import BackendError, FrameError, ModelError, PlanError
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.model import bundled_models, find_model, load
from sparsevit_runtime.tasks.backbone import Features
from sparsevit_runtime.tasks.detection import Detections
from sparsevit_runtime.tasks.segmentation import Segmentation
from sparsevit_runtime.windows.plan import Plan

FIXED = ((0.0, 0.5), (0.0, 0.5, 0.5, 0.9))


def test_what_a_model_tells(make_model):
    model = make_model()
    assert (model.task, model.class_names, model.input_hw) == ("segmentation", tiny.CLASSES, (32, 48))
    assert model.card.name == "tiny"


@pytest.mark.parametrize(
    ("size", "stride"),
    [(size, s) for size in ((64, 96), (33, 77), (100, 40), (720, 1280)) for s in (1, 4)] + [((1, 50), 1), ((50, 1), 1)],
)
def test_labels_are_those_of_the_frame(make_model, size, stride):
    height, width = size
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 255, width)[None].astype(np.uint8)
    result = make_model(stride=stride)(frame)
    assert isinstance(result, Segmentation) and result.label_map.shape == size
    cell = stride / Letterbox((width, height), (32, 48)).scale_wh[0]  # frame pixels per label
    slope = 255 / max(1, width - 1)
    assert (np.abs(result.label_map * 32.0 + 16 - frame[..., 0]) <= 17 + slope * cell).all()
    assert result.image is frame


def test_no_sparsity_is_dense(make_model, frame):
    model = make_model()
    result = model(frame)
    assert result.keep == (24, 6, 6) and result.window_share == 1.0 and result.activity is None
    assert (result.frame_index, result.timestamp_ns, result.dropped, result.timings.capture_ms) == (0, 0, 0, 0)
    assert result.timings.inference_ms > 0 and result.timings.preprocess_ms > 0


@pytest.mark.parametrize(
    ("sparsity", "keep"),
    [
        (0.0, (24, 6, 6)),
        (0.6, (9, 2, 2)),
        ("0.6", (9, 2, 2)),
        ([0.5, [0.2, 0.8]], (12, 4, 1)),
        (Plan.uniform(0.9, tiny.DEPTHS), (2, 0, 0)),
        (1.0, (0, 0, 0)),
    ],
)
def test_sparsity_becomes_keep(make_model, frame, sparsity, keep):
    result = make_model()(frame, sparsity)
    assert result.keep == keep
    assert (result.label_map == 7).all() == (keep[0] == 0)  # the graph saw it too


def test_plan_files(make_model, frame, tmp_path):
    Plan.uniform(0.5, tiny.DEPTHS).save(tmp_path / "plan.json")
    assert make_model()(frame, tmp_path / "plan.json").keep == (12, 3, 3)


def test_activity_is_that_of_the_best_windows(make_model, frame):
    model = make_model()
    result = model(frame, 0.5, activity=True)
    grey = Letterbox((96, 64), (32, 48)).apply(frame).astype(float).mean(axis=2)
    for i, stage in enumerate(model.card.stages):
        for j in range(stage.depth):
            scores = tiny.window_scores(grey, stage, 4 << i, stage.shift * (j % 2))
            computed = result.activity.stages[i].computed[j]
            assert computed.sum() == stage.windows // 2
            assert scores[computed].min() >= scores[~computed].max() - 1e-3
    assert result.activity.computed_share == result.window_share == 0.5


@pytest.mark.parametrize("hw", [(36, 52), (30, 41)])
def test_activity_on_padded_maps(make_model, frame, hw):
    result = make_model(hw=hw, stride=1)(frame, 0.5, activity=True)
    assert result.activity.frame_heat().shape == (64, 96)
    assert 0 < result.activity.frame_heat().mean() <= 1


BOXES = [(8.0, 8.0, 24.0, 16.0), (0.0, 0.0, 48.0, 3.0), (40.0, 20.0, 60.0, 40.0), (8.0, 8.0, 20.0, 20.0)]


@pytest.mark.parametrize(("threshold", "count"), [(0.25, 2), (0.0, 3), (0.8, 1), (0.99, 0)])
def test_boxes_are_in_frame_pixels(make_model, threshold, count):
    model = make_model(task="detection", boxes=BOXES, scores=[0.9, 0.8, 0.7, 0.1], classes=[2, 0, 1, 2])
    frame = np.zeros((48, 96, 3), np.uint8)  # half of it, with borders of 4 above and below: the second box is in one
    result = model(frame, threshold=threshold)
    assert isinstance(result, Detections) and len(result) == count
    expected = [[16, 8, 48, 24], [80, 32, 96, 48], [16, 8, 40, 32]]
    np.testing.assert_allclose(result.xyxy, np.reshape(expected[:count], (-1, 4)))
    assert result.class_id.tolist() == [2, 1, 2][:count]


def test_backbones_give_their_maps(make_model, frame):
    result = make_model(task="backbone")(frame)
    assert isinstance(result, Features) and [m.shape for m in result.maps] == [(1, 8, 12), (2, 4, 6)]


def test_a_normalized_input_gets_normalized_pixels(make_model):
    frame = np.empty((32, 48, 3), np.uint8)
    frame[:] = (50, 170, 200)  # BGR; card: mean 100, 110, 120, std 50, 60, 70, RGB
    result = make_model(task="backbone", layout="normalized")(frame)
    np.testing.assert_allclose(result.maps[0], (2.0 + 1.0 - 1.0) / 3, rtol=1e-6)


def test_a_batch_equals_its_frames_alone(make_model, frame):
    model = make_model()
    frames = [frame, frame[::-1, ::-1], frame[:20, :31].copy(), frame[:, ::-1]]
    together = model.batch(frames, 0.5, activity=True)
    for one, result in zip(frames, together, strict=True):
        alone = model(one, 0.5, activity=True)
        np.testing.assert_array_equal(result.label_map, alone.label_map)
        np.testing.assert_array_equal(result.activity.frame_heat(), alone.activity.frame_heat())
    assert model.batch([]) == []
    assert len(model.batch(frames[:2])) == 2  # fewer than before in the same buffer


def test_a_list_of_frames_is_a_batch(make_model, frame):
    model = make_model()
    frames = [frame, frame[:20, :31].copy()]
    for given in (frames, tuple(frames)):
        results = model(given, 0.5, activity=True)
        assert isinstance(results, list) and [r.image is f for r, f in zip(results, frames)] == [True, True]
        for one, result in zip(frames, results, strict=True):
            np.testing.assert_array_equal(result.label_map, model(one, 0.5).label_map)
    assert model([]) == []
    with pytest.raises(FrameError, match="NoneType"):
        model([frame, None])


def test_a_model_is_printed_in_a_line(make_model):
    model = make_model()
    assert str(model) == "tiny: segmentation, 8 classes, input 48x32, fp32, onnxruntime on cpu"
    assert repr(model) == f"<Model {model}>"


def test_results_own_their_arrays(make_model, frame):
    model = make_model()
    first = model(frame)
    kept = first.label_map.copy()
    model(255 - frame)
    np.testing.assert_array_equal(first.label_map, kept)


BAD_FRAMES = [
    (None, "NoneType"),
    ([[1, 2, 3]], "list"),
    (np.zeros((0, 5, 3), np.uint8), "empty"),
    (np.zeros((5, 5), np.uint8), "grey"),
    (np.zeros((5, 5, 4), np.uint8), "alpha"),
    (np.zeros((5, 5, 3), np.float32), "float32"),
    (np.zeros((2, 5, 5, 3), np.uint8), "batch"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_FRAMES)
def test_bad_frames(make_model, frame, bad, message):
    model = make_model()
    with pytest.raises(FrameError, match=message):
        model(bad)
    assert model(frame).label_map.shape == (64, 96)  # the model is still good


@pytest.mark.parametrize("sparsity", [1.5, [0.5], "nothing.json", [0.5, [0.1, 0.2, 0.1, 0.3]]])
def test_bad_plans(make_model, frame, sparsity):
    with pytest.raises(PlanError):
        make_model()(frame, sparsity)


@pytest.mark.parametrize("sparsity", [None, FIXED, Plan(FIXED)])
def test_fixed_exports_run_their_plan(make_model, frame, sparsity):
    result = make_model(fixed=FIXED)(frame, sparsity, activity=True)
    assert result.keep is None  # the pair of stage 0 keeps 24 and 12
    assert [[int(m.sum()) for m in s.computed] for s in result.activity.stages] == [[24, 12], [6, 3, 3, 0]]
    assert result.window_share == result.activity.computed_share == 48 / 72


def test_fixed_exports_tell_keep_where_pairs_agree(make_model, frame):
    assert make_model(fixed=((0.5, 0.5), (0.0,) * 4))(frame).keep == (12, 6, 6)


@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_fixed_exports_refuse_another_plan(make_model, frame, sparsity):
    with pytest.raises(PlanError, match="fixed export"):
        make_model(fixed=FIXED)(frame, sparsity)


def test_a_closed_model_says_so(make_model, frame):
    with make_model() as model:
        model.warm_up()
    with pytest.raises(BackendError, match="closed"):
        model(frame)
    model.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-model", "neither a file nor a bundled model"),
        ("no/such.onnx", "no model file"),
        ("", "neither a file"),
        ("x" * 300, "no model that can be read .File name too long"),
        ("a\0b.onnx", "no model that can be read .embedded null byte"),
        ("~nosuchuser/m.onnx", "no model that can be read .Could not determine home"),
    ],
)
def test_models_that_are_not_there(name, message):
    with pytest.raises(ModelError, match=message):
        load(name)


def test_a_model_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tiny.write_model(tmp_path / "m.onnx")
    assert find_model("~/m.onnx") == path


def test_bundled_models_load_by_name():
    for name, path in bundled_models().items():
        assert path.is_file()
        with load(name, threads=1) as model:
            assert model.card.name == name
