import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import FrameError
from sparsevit_runtime.images.letterbox import Letterbox

ODD_SIZES = [
    ((1280, 720), (360, 480)),
    ((1279, 719), (352, 480)),
    ((333, 777), (224, 224)),
    ((97, 41), (160, 224)),  # enlarged
    ((640, 480), (480, 640)),  # nothing to do
    ((1, 300), (64, 96)),
    ((300, 1), (64, 96)),
    ((1, 1), (32, 48)),
    ((5000, 3), (64, 64)),
]


@pytest.mark.parametrize(
    ("frame_wh", "input_hw", "size_wh", "left_top"),
    [
        ((1280, 720), (360, 480), (480, 270), (0, 45)),
        ((720, 1280), (360, 480), (202, 360), (139, 0)),
        ((100, 100), (33, 50), (33, 33), (8, 0)),
        ((48, 32), (32, 48), (48, 32), (0, 0)),
        ((1, 300), (64, 96), (1, 64), (47, 0)),
        ((5000, 3), (64, 64), (64, 1), (0, 31)),
    ],
)
def test_fits_centred(frame_wh, input_hw, size_wh, left_top):
    box = Letterbox(frame_wh, input_hw)
    assert (box.size_wh, (box.left, box.top)) == (size_wh, left_top)


@pytest.mark.parametrize(("frame_wh", "input_hw"), [((0, 5), (8, 8)), ((5, 5), (8, 0))])
def test_refuses_empty_sizes(frame_wh, input_hw):
    with pytest.raises(FrameError, match="need 1 pixel"):
        Letterbox(frame_wh, input_hw)


@pytest.mark.parametrize(("frame_wh", "input_hw"), ODD_SIZES)
def test_boxes_come_back(frame_wh, input_hw):
    box, random = Letterbox(frame_wh, input_hw), np.random.RandomState(0)
    corners = np.sort(random.random_sample((50, 2, 2)), axis=1) * frame_wh
    xyxy = np.concatenate([corners.reshape(50, 4), [[0, 0, *frame_wh]]])
    back = box.boxes_to_frame(box.boxes_to_input(xyxy))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, xyxy, atol=max(frame_wh) * 1e-6)


def test_boxes_are_clipped_to_the_frame():
    box = Letterbox((100, 50), (100, 100))
    assert box.boxes_to_frame(np.array([[-5, -5, 200, 200], [10, 0, 20, 10]])).tolist() == [
        [0, 0, 100, 50],
        [10, 0, 20, 0],
    ]
    assert box.boxes_to_frame(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(("frame_wh", "input_hw"), ODD_SIZES)
def test_borders_are_grey_and_the_frame_fills_the_rest(frame_wh, input_hw):
    box = Letterbox(frame_wh, input_hw)
    image = box.apply(np.full((frame_wh[1], frame_wh[0], 3), 200, np.uint8), pad_value=9)
    inside = np.zeros(input_hw, bool)
    inside[box.top : box.top + box.size_wh[1], box.left : box.left + box.size_wh[0]] = True
    assert image.shape == (*input_hw, 3) and (image[inside] == 200).all() and (image[~inside] == 9).all()


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize(("frame_wh", "input_hw"), ODD_SIZES[:5])
def test_a_label_map_comes_back_to_its_place(frame_wh, input_hw, stride):
    """A picture of quadrants, letterboxed, labelled by its brightness and mapped back, differs only along the edges."""
    width, height = frame_wh
    truth = np.zeros((height, width), np.uint8)
    truth[height // 3 :, : width // 2] = 1
    truth[: height // 3, width // 2 :] = 2
    box = Letterbox(frame_wh, input_hw)
    image = box.apply(cv2.cvtColor(truth * 100, cv2.COLOR_GRAY2BGR))[stride // 2 :: stride, stride // 2 :: stride]
    labels = ((image[..., 0].astype(int) + 50) // 100).clip(0, 2).astype(np.uint8)
    back = box.map_to_frame(labels)
    assert back.shape == truth.shape and back.dtype == np.uint8
    reach = int(np.ceil(max(1, stride / 2 + 1) / min(box.scale_wh))) + 1  # frame pixels across an edge's blur
    near_edge = cv2.dilate(truth, np.ones((2 * reach + 1,) * 2)) != cv2.erode(truth, np.ones((2 * reach + 1,) * 2))
    assert (back == truth)[~near_edge].all()
    assert (~near_edge).mean() > 0.25  # so that the line above looked at something


def test_a_label_map_is_not_shifted():
    """Twice the size, no borders: every frame pixel has its own half of a label."""
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    back = Letterbox((8, 6), (3, 4)).map_to_frame(labels)
    np.testing.assert_array_equal(back, labels.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize(
    ("frame_wh", "rows"),
    [
        ((16, 6), [1, 1, 1, 2, 2, 2]),  # rows 5 to 10 of the input: labels 1 and 2, centred at 6 and 10
        ((16, 4), [1, 1, 1, 1]),  # rows 6 to 9: label 2 lies half on the frame, but its centre does not
        ((16, 1), [1]),  # row 7 of the input: no label is centred on the frame
    ],
)
def test_labels_centred_in_the_border_are_left_out(frame_wh, rows):
    labels = np.arange(4)[:, None].repeat(4, axis=1)
    back = Letterbox(frame_wh, (16, 16)).map_to_frame(labels)
    assert back[:, 0].tolist() == rows


def test_cells_may_reach_beyond_the_input():
    """A 10-pixel input has three 4-pixel tokens; the last is cut, not squeezed."""
    tokens = np.arange(3)[None]
    assert Letterbox((10, 4), (4, 10)).cells_to_frame(tokens, cell_size=4)[0].tolist() == [0] * 4 + [1] * 4 + [2] * 2


@pytest.mark.parametrize("factor", [2, 3, 4, 6])
def test_fine_patterns_do_not_alias_when_shrunk(factor):
    y, x = np.mgrid[:240, :240]
    checkers = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = Letterbox((240, 240), (240 // factor, 240 // factor)).apply(checkers)
    assert small.min() > 100 and small.max() < 155


def test_writes_into_one_image_of_a_batch():
    batch = np.zeros((3, 32, 48, 3), np.uint8)
    box = Letterbox((50, 50), (32, 48))
    written = box.apply(np.full((50, 50, 3), 200, np.uint8), out=batch[1])
    assert np.shares_memory(written, batch)
    assert (batch[1] == box.apply(np.full((50, 50, 3), 200, np.uint8))).all() and not batch[[0, 2]].any()


@pytest.mark.parametrize(
    ("frame", "out", "message"),
    [
        (np.zeros((50, 40, 3), np.uint8), None, r"frame must be \(50, 50, 3\) uint8"),
        (np.zeros((50, 50, 3), np.float32), None, "float32"),
        (np.zeros((50, 50, 3), np.uint8), np.zeros((48, 32, 3), np.uint8), r"out must be \(32, 48, 3\)"),
    ],
)
def test_refuses_other_arrays(frame, out, message):
    with pytest.raises(FrameError, match=message):
        Letterbox((50, 50), (32, 48)).apply(frame, out)
