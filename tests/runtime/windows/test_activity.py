import numpy as np
import pytest

from sparsevit_runtime.errors import PlanError
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.windows.activity import StageActivity, WindowActivity
from sparsevit_runtime.windows.geometry import StageGeometry, stage_geometries
from sparsevit_runtime.windows.plan import Plan

DEPTHS = (2, 4)


def random_orders(stages, seed=0):
    random = np.random.RandomState(seed)
    return {
        f"{p}{i}": random.permutation(s.windows) for i, s in enumerate(stages) for p in ("windows", "shifted_windows")
    }


def make(size=(36, 52), keep=(10, 5, 2), frame_wh=(104, 72)):
    """Padded on both axes: 9x13 tokens in 5x7 windows of 2, then 5x7 in 3x4."""
    stages = stage_geometries(*size, DEPTHS, 2)
    orders = random_orders(stages)
    return WindowActivity.from_orders(orders, stages, Letterbox(frame_wh, size), keep=keep), orders, stages


def test_each_block_computes_a_prefix_of_the_list_of_its_parity():
    activity, orders, _ = make()
    for i, counts in enumerate(([10, 10], [5, 5, 2, 2])):
        for j, count in enumerate(counts):
            order = orders[f"{'shifted_' if j % 2 else ''}windows{i}"]
            computed = np.flatnonzero(activity.stages[i].computed[j])
            assert computed.tolist() == sorted(order[:count].tolist())
    assert activity.computed_share == (20 + 10 + 4) / (35 * 2 + 12 * 4)


@pytest.mark.parametrize("size", [(32, 48), (36, 52), (4, 4)])
@pytest.mark.parametrize("window_size", [2, 7])
def test_tokens_of_shifted_windows_wrap_around(size, window_size):
    stage = stage_geometries(*size, (2,), window_size)[0]
    chosen = np.random.RandomState(1).random_sample((2, *stage.windows_hw)) < 0.5
    activity = StageActivity(stage, 4, (chosen[0], chosen[1]))
    rows, columns = stage.padded_hw
    for block, shift in ((0, 0), (1, window_size // 2)):
        expected = [
            [
                chosen[block][(y - shift) % rows // window_size, (x - shift) % columns // window_size]
                for x in range(stage.width)
            ]
            for y in range(stage.height)
        ]
        np.testing.assert_array_equal(activity.token_mask(block), expected)
        painted = np.zeros((stage.height, stage.width), int)
        for x0, y0, x1, y1 in activity.window_boxes(block):
            painted[y0:y1, x0:x1] += 1
        np.testing.assert_array_equal(painted, np.array(expected, int))  # the pieces cover it once


def test_masks_lie_on_the_frame():
    activity, _, _ = make()  # the frame is twice the input: no borders, a token of stage 1 is 16 frame pixels
    mask = activity.frame_mask(1, 1)
    tokens = activity.token_mask(1, 1)
    np.testing.assert_array_equal(mask, tokens.repeat(16, axis=0).repeat(16, axis=1)[:72, :104])
    painted = np.zeros_like(mask)
    for x0, y0, x1, y1 in activity.frame_boxes(1, 1).astype(int):
        painted[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(painted, mask)


def test_windows_in_the_borders_have_no_box_on_the_frame():
    stages = stage_geometries(32, 32, (2,), 2)  # 8x8 tokens, 4x4 windows of 8 pixels
    orders = {"windows0": np.arange(16), "shifted_windows0": np.arange(16)}
    activity = WindowActivity.from_orders(orders, stages, Letterbox((32, 16), (32, 32)), keep=[16])
    assert len(activity.stages[0].window_boxes(0)) == 16
    boxes = activity.frame_boxes(0, 0)
    assert len(boxes) == 8 and boxes.max() <= 32 and (boxes[:, 3] <= 16).all()


def test_heat_is_the_share_of_blocks():
    activity, _, stages = make()
    total = np.zeros((9, 13))
    for i, stage in enumerate(stages):
        for j in range(stage.depth):
            total += activity.token_mask(i, j).repeat(1 << i, axis=0).repeat(1 << i, axis=1)[:9, :13]
    np.testing.assert_allclose(activity.token_heat(), total / sum(DEPTHS), atol=1e-6)
    heat = activity.frame_heat()
    assert heat.shape == (72, 104) and heat.dtype == np.float32
    np.testing.assert_array_equal(heat[4::8, 4::8], activity.token_heat())


@pytest.mark.parametrize(("keep", "share"), [((35, 12, 12), 1.0), ((0, 0, 0), 0.0)])
def test_everything_and_nothing(keep, share):
    activity, _, _ = make(keep=keep)
    assert activity.computed_share == share
    assert (activity.frame_heat() == share).all()


def test_fixed_plan_needs_lists_only_where_windows_are_left_out():
    stages = stage_geometries(32, 48, DEPTHS, 2)  # 24 and 6 windows
    plan = Plan(((0.0, 0.5), (0.0, 0.5, 0.5, 0.9)))
    orders = {
        "shifted_windows0": np.arange(12),
        "windows1": np.array([4, 1, 2]),
        "shifted_windows1": np.array([5, 0, 3]),
    }
    activity = WindowActivity.from_orders(orders, stages, Letterbox((48, 32), (32, 48)), fixed=plan)
    assert [[int(m.sum()) for m in s.computed] for s in activity.stages] == [[24, 12], [6, 3, 3, 0]]
    assert np.flatnonzero(activity.stages[1].computed[2]).tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": None}, "either"),
        ({"fixed": Plan.dense(DEPTHS)}, "either"),
        ({"drop": "windows1"}, "windows1 is not among the outputs"),
        ({"short": "shifted_windows0"}, "shifted_windows0 has 3 entries"),
    ],
)
def test_lists_that_do_not_fit(change, message):
    stages = stage_geometries(36, 52, DEPTHS, 2)
    orders = random_orders(stages)
    orders.pop(change.get("drop"), None)
    if "short" in change:
        orders[change["short"]] = orders[change["short"]][:3]
    with pytest.raises(PlanError, match=message):
        WindowActivity.from_orders(
            orders,
            stages,
            Letterbox((52, 36), (36, 52)),
            keep=change.get("keep", [10, 5, 2]),
            fixed=change.get("fixed"),
        )


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ((np.ones((4, 4), bool),), "2 masks"),
        ((np.ones((4, 4), bool), np.ones((4, 5), bool)), "block 1"),
        ((np.ones((4, 4)), np.ones((4, 4))), "float64"),
    ],
)
def test_refuses_other_masks(masks, message):
    with pytest.raises(ValueError, match=message):
        StageActivity(StageGeometry(8, 8, 2, 2), 4, masks)
