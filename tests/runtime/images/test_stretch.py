import pickle

import cv2
import numpy as np
import pytest

import tiny
from sparsevit_runtime.card import InputCard
from sparsevit_runtime.errors import FrameError
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.images.placing import place_frame
from sparsevit_runtime.images.stretch import Stretch
from sparsevit_runtime.model import load

SIZES = [
    ((1280, 720), (672, 672)),
    ((333, 777), (224, 224)),
    ((97, 41), (160, 224)),  # enlarged
    ((640, 480), (480, 640)),  # nothing to do
    ((640, 480), (240, 320)),  # halved
    ((3840, 17), (64, 64)),
    ((1, 1), (32, 48)),
]


def noise(frame_wh, seed=0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (frame_wh[1], frame_wh[0], 3)).astype(np.uint8)


@pytest.mark.parametrize(("frame_wh", "input_hw"), SIZES)
def test_pixels_are_those_of_cv2(frame_wh, input_hw):
    frame = noise(frame_wh)
    wanted = cv2.resize(frame, input_hw[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(Stretch(frame_wh, input_hw).apply(frame, pad_value=9), wanted)


@pytest.mark.parametrize(("frame_wh", "input_hw"), SIZES)
def test_the_scaled_frame_fills_the_input(frame_wh, input_hw):
    place = Stretch(frame_wh, input_hw)
    assert (place.size_wh, place.left, place.top) == (input_hw[::-1], 0, 0)
    assert place.scale_wh == (input_hw[1] / frame_wh[0], input_hw[0] / frame_wh[1])


@pytest.mark.parametrize(("frame_wh", "input_hw"), SIZES)
def test_boxes_come_back_each_axis_by_its_own_scale(frame_wh, input_hw):
    place = Stretch(frame_wh, input_hw)
    (width, height), (input_h, input_w) = frame_wh, input_hw
    boxes = np.array([[0, 0, input_w, input_h], [input_w / 4, input_h / 2, input_w / 2, input_h]], np.float32)
    wanted = [[0, 0, width, height], [width / 4, height / 2, width / 2, height]]
    np.testing.assert_allclose(place.boxes_to_frame(boxes), wanted, rtol=1e-6)
    np.testing.assert_allclose(place.boxes_to_input(np.array(wanted)), boxes, rtol=1e-6)


def test_boxes_beyond_the_frame_are_cut_unless_asked_for_whole():
    place, boxes = Stretch((200, 50), (100, 100)), np.array([[-10, -10, 110, 120]])
    assert place.boxes_to_frame(boxes).tolist() == [[0, 0, 200, 50]]
    assert place.boxes_to_frame(boxes, clip=False).tolist() == [[-20, -5, 220, 60]]


def test_a_label_map_is_stretched_back():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    back = Stretch((8, 9), (12, 16)).map_to_frame(labels)
    np.testing.assert_array_equal(back, labels.repeat(3, axis=0).repeat(2, axis=1))


def test_placements_are_told_apart_and_survive_pickling():
    assert Stretch((8, 8), (8, 8)) != Letterbox((8, 8), (8, 8))
    assert pickle.loads(pickle.dumps(Stretch((8, 9), (3, 4)))) == Stretch((8, 9), (3, 4))
    with pytest.raises(FrameError, match="need 1 pixel"):
        Stretch((0, 5), (8, 8))


@pytest.mark.parametrize(("resize", "kind"), [("letterbox", Letterbox), ("stretch", Stretch)])
def test_the_card_says_which(resize, kind):
    card = InputCard(height=32, width=48, mean=(0, 0, 0), std=(1, 1, 1), resize=resize)
    assert place_frame((20, 10), card) == kind((20, 10), (32, 48))


def test_a_model_of_stretched_frames_sees_and_answers_the_whole_frame(tmp_path):
    """A label is the blue value divided by 32, so a frame of columns of grey gives columns of labels, to its edges."""
    path = tiny.write_model(tmp_path / "model.onnx", resize="stretch")
    frame = np.repeat(np.repeat(np.arange(8, dtype=np.uint8) * 32 + 16, 12)[None, :, None], 20, axis=0).repeat(
        3, axis=2
    )
    with load(path, threads=1) as model:
        result = model(frame, 0.5, activity=True)
    labels = result.label_map[:, 6::12]  # away from the blur of the edges
    np.testing.assert_array_equal(labels, np.arange(8)[None].repeat(20, axis=0))
    assert result.activity.letterbox == Stretch((96, 20), (32, 48))
    boxes = result.activity.frame_boxes(0, 0)
    assert boxes[:, 1].min() == 0 and boxes[:, 3].max() == 20  # no window lies in a border
    assert result.plot().shape == frame.shape
