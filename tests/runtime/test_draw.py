from dataclasses import replace

import numpy as np
import pytest

from sparsevit_runtime.draw import draw_activity, draw_detections, draw_result, draw_segmentation
from sparsevit_runtime.errors import FrameError, PlanError
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.images.placement import LabelGrid
from sparsevit_runtime.tasks.backbone import Features
from sparsevit_runtime.tasks.counts import Counts
from sparsevit_runtime.tasks.detection import Detections
from sparsevit_runtime.tasks.segmentation import Segmentation
from sparsevit_runtime.windows.activity import WindowActivity
from sparsevit_runtime.windows.geometry import stage_geometries

NAMES = ("road", "car", "tree")
PALETTE = np.array([[90, 90, 90], [200, 0, 100], [0, 200, 0]], np.uint8)
HEIGHT, WIDTH = 320, 480


@pytest.fixture
def image() -> np.ndarray:
    return np.random.RandomState(0).randint(60, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def segmentation(**change) -> Segmentation:
    label_map = np.zeros((HEIGHT, WIDTH), np.uint8)
    label_map[:, 240:] = 1
    values = {"image_wh": (WIDTH, HEIGHT), "label_map": label_map, "names": NAMES, "palette": PALETTE}
    return Segmentation(**{**values, **change})


def detections(count: int = 1) -> Detections:
    return Detections(
        image_wh=(WIDTH, HEIGHT),
        xyxy=np.array([[100, 100, 200, 180]], np.float32)[:count],
        confidence=np.array([0.8], np.float32)[:count],
        class_id=np.array([1])[:count],
        names=NAMES,
    )


def activity() -> WindowActivity:
    """The upper half of the windows of block 0, the shifted ones likewise; the frame is ten times the input."""
    stages = stage_geometries(32, 48, (2,), 2)  # 4x6 windows of 8 input pixels
    orders = {"windows0": np.arange(24), "shifted_windows0": np.arange(24)}
    return WindowActivity.from_orders(orders, stages, Letterbox((WIDTH, HEIGHT), (32, 48)), keep=[12])


def is_grey(pixels: np.ndarray) -> bool:
    return bool((np.ptp(pixels.astype(int), axis=-1) == 0).all())


def test_the_tint_is_the_palettes(image):
    drawn = draw_segmentation(image, segmentation(), opacity=0.25, legend=False)
    for columns, rgb in ((slice(0, 240), PALETTE[0]), (slice(240, None), PALETTE[1])):
        expected = 0.75 * image[:, columns] + 0.25 * rgb[::-1].astype(float)
        assert np.abs(drawn[:, columns] - expected).max() <= 1


def test_void_stays_untinted(image):
    label_map = np.full((HEIGHT, WIDTH), 2, np.uint8)
    label_map[10:20, 30:40] = 255
    drawn = draw_segmentation(image, segmentation(label_map=label_map), legend=False)
    same = (drawn == image).all(axis=2)
    assert same[10:20, 30:40].all() and same.sum() < 200


def test_the_legend_names_what_is_present(image):
    with_legend = draw_segmentation(image, segmentation())
    changed = (with_legend != draw_segmentation(image, segmentation(), legend=False)).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert rows[-1] == HEIGHT - 1 and columns[0] == 0 and columns[-1] < WIDTH / 2 and rows[0] > HEIGHT / 2
    swatches = [(with_legend == rgb[::-1]).all(axis=2).any() for rgb in PALETTE]
    assert swatches == [True, True, False]


def staircase(cell: float, rows: int, columns: int, slope: float) -> tuple[Segmentation, np.ndarray]:
    """Labels of a straight edge, blown up, and the share of each pixel that lies below that edge."""
    letterbox = Letterbox((round(columns * cell), round(rows * cell)), (rows, columns))
    width, height = letterbox.frame_wh
    y, x = np.mgrid[:rows, :columns] + 0.5
    labels = (y > slope * (x - columns / 2) + rows / 2).astype(np.uint8)
    result = segmentation(
        label_map=letterbox.map_to_frame(labels), image_wh=(width, height), grid=letterbox.label_grid(rows, columns)
    )
    v, u = (np.mgrid[:height, :width] + 0.5) / cell
    return result, np.clip((v - slope * (u - columns / 2) - rows / 2) * cell + 0.5, 0, 1)


def drawn_share(result: Segmentation) -> np.ndarray:
    """How much of the second class each pixel shows, 0 to 1."""
    black = np.zeros((result.image_wh[1], result.image_wh[0], 3), np.uint8)
    drawn = draw_segmentation(black, result, opacity=1.0, legend=False).astype(float)
    first, second = (PALETTE[c, ::-1].astype(float) for c in (0, 1))
    return (drawn - first) @ (second - first) / ((second - first) @ (second - first))


@pytest.mark.parametrize("cell", [4.0, 4.571, 7.3, 13.7])
@pytest.mark.parametrize("slope", [0.8, -0.45])
def test_edges_between_labels_are_no_staircase(cell, slope):
    result, truth = staircase(cell, 40, 60, slope)
    share = drawn_share(result)
    steps, smooth = (np.abs(np.diff(edge.sum(axis=0))).max() for edge in (result.label_map, share))
    assert steps >= int(cell) and smooth < 0.6 * cell  # how far the edge moves from one column to the next
    assert np.abs(share - truth).mean() < np.abs(result.label_map - truth).mean()


def test_the_label_map_stays_as_it_is_and_a_single_label_is_seen():
    labels = np.zeros((40, 60), np.uint8)
    labels[20, 10] = labels[5:30, 40] = 1
    letterbox = Letterbox((480, 320), (40, 60))
    result = segmentation(label_map=letterbox.map_to_frame(labels), grid=letterbox.label_grid(40, 60))
    before = result.label_map.copy()
    share = drawn_share(result)
    np.testing.assert_array_equal(result.label_map, before)
    assert share[164, 84] > 0.6 and (share[60:220, 324] > 0.9).all() and share[100, 200] == 0


@pytest.mark.parametrize("wh", [(1280, 720), (333, 777), (100, 100), (61, 40)])
def test_labels_are_drawn_where_they_lie(wh):
    """Also where the frame's edge cuts squares: away from edges the tint is the label's."""
    letterbox = Letterbox(wh, (420, 560))
    labels = np.zeros((210, 280), np.uint8)
    labels[:, 140:] = 1
    result = segmentation(
        label_map=letterbox.map_to_frame(labels), image_wh=wh, grid=letterbox.label_grid(*labels.shape)
    )
    share, edge = drawn_share(result), int(np.argmax(result.label_map[0]))
    near = int(np.ceil(max(letterbox.label_grid(210, 280).cell_wh)))
    assert np.abs(share[:, : edge - near]).max() < 0.02 and np.abs(1 - share[:, edge + near :]).max() < 0.02


def test_void_stays_untinted_in_squares_too(image):
    labels = np.full((32, 48), 2, np.uint8)
    labels[3:6, 7:9] = 255
    letterbox = Letterbox((WIDTH, HEIGHT), (32, 48))
    grid = letterbox.label_grid(32, 48)
    assert grid == LabelGrid((10.0, 10.0), (0.0, 0.0))
    drawn = draw_segmentation(image, segmentation(label_map=letterbox.map_to_frame(labels), grid=grid), legend=False)
    same = (drawn == image).all(axis=2)
    assert same[30:60, 70:90].all() and same.sum() < 1000


@pytest.mark.parametrize("size", [(320, 180), (1280, 720), (3840, 2160)])
def test_figures_and_legend_cover_little(size):
    width, height = size
    frame = np.full((height, width, 3), 120, np.uint8)
    result = segmentation(
        label_map=np.full((height, width), 255, np.uint8), image_wh=size, fps=23.4, dropped=12, window_share=0.4
    )
    changed = (draw_result(frame, result) != frame).any(axis=2)
    assert 0 < changed.mean() < (0.1 if height < 300 else 0.03)
    rows = np.flatnonzero(changed.any(axis=1))
    assert rows[0] == 0 and rows[-1] < height / 3


def test_a_stream_tells_its_rate(image):
    alone, streamed = (draw_result(image, segmentation(fps=fps), legend=False) for fps in (None, 25.0))
    assert (alone != streamed).any()


def test_the_legend_says_what_the_shading_means(image):
    result = detections(0)
    kwargs = {name: getattr(result, name) for name in type(result).__dataclass_fields__}
    result = type(result)(**{**kwargs, "activity": activity()})
    told, silent = (draw_result(image, result, hud=False, legend=legend) for legend in (True, False))
    rows = np.flatnonzero((told != silent).any(axis=(1, 2)))
    assert rows.size and rows[0] > HEIGHT * 2 / 3 and rows[-1] == HEIGHT - 1


def test_masks_keep_their_colours_where_nothing_was_computed():
    """Class colours differ as much on pruned windows as on computed ones."""
    grey = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    drawn = draw_result(grey, segmentation(activity=activity()), legend=False, hud=False).astype(float)
    pruned, computed = drawn[300], drawn[60]
    for row in (pruned, computed):
        difference = np.abs(row[230] - row[250])
        np.testing.assert_allclose(difference, np.abs(PALETTE[0] - PALETTE[1].astype(float))[::-1] / 2, atol=2)


@pytest.mark.parametrize("count", [0, 1])
def test_boxes_and_names(image, count):
    drawn = draw_detections(image, detections(count))
    changed = (drawn != image).any(axis=2)
    assert changed.any() == bool(count)
    if count:
        assert changed[100:180, 100].all() and changed[180, 100:200].all()
        assert not changed[110:170, 110:190].any() and not changed[:, 260:].any()


def test_boxes_have_the_colours_of_their_classes(image):
    drawn = draw_detections(image, Detections(
        image_wh=(WIDTH, HEIGHT), xyxy=np.array([[0, 0, 200, 180]], np.float32), names=NAMES, palette=PALETTE,
        confidence=np.array([0.8], np.float32), class_id=np.array([1]),
    ))  # fmt: skip
    assert (drawn[180, 20:180] == PALETTE[1, ::-1]).all()
    assert (drawn[3:10, 1] == PALETTE[1, ::-1]).all()  # its name has no room above


def test_what_was_not_computed_is_dim_and_grey(image):
    drawn = draw_activity(image, activity(), stage=0, block=0)
    below = drawn[170:]
    assert is_grey(below) and below.mean() < 0.5 * image.mean()
    inside = np.zeros((HEIGHT, WIDTH), bool)
    for y in range(0, 160, 80):
        for x in range(0, WIDTH, 80):
            inside[y + 2 : y + 78, x + 2 : x + 78] = True
    assert (drawn[inside] == image[inside]).all()
    assert len(np.unique(drawn[80, :, :].reshape(-1, 3), axis=0)) == 1  # an outline runs along the row


def test_shifted_windows_are_drawn_where_they_lie(image):
    drawn = draw_activity(image, activity(), stage=0, block=1)  # by one token, 40 frame pixels
    assert is_grey(drawn[:38]) and is_grey(drawn[210:]) and not is_grey(drawn[45:115, 45:115])


def test_all_blocks_together_blend(image):
    drawn = draw_activity(image, activity())
    both, none = drawn[50:70, 50:70], drawn[220:, 50:70]
    assert np.abs(both.astype(int) - image[50:70, 50:70]).max() <= 1
    assert is_grey(none) and none.mean() < 0.5 * image.mean()
    half = drawn[5:30, 5:30].astype(float)  # computed by block 0 only
    grey = image[5:30, 5:30].astype(float) @ [0.114, 0.587, 0.299]
    assert np.abs(half - (0.5 * image[5:30, 5:30] + 0.5 * 0.35 * grey[..., None])).max() < 3


@pytest.mark.parametrize(
    ("stage", "block", "message"),
    [(1, None, "no stage 1"), (-1, None, "no stage -1"), (0, 2, "no block 2"), (None, 7, "no block 7")],
)
def test_other_stages_and_blocks_are_refused(image, stage, block, message):
    with pytest.raises(PlanError, match=message):
        draw_activity(image, activity(), stage=stage, block=block)


@pytest.mark.parametrize(
    "result",
    [segmentation(), detections(), Features(image_wh=(WIDTH, HEIGHT), maps=())],
    ids=["labels", "boxes", "maps"],
)
@pytest.mark.parametrize("with_activity", [False, True])
def test_any_result_is_drawn_on_a_new_image(image, result, with_activity):
    kwargs = {name: getattr(result, name) for name in type(result).__dataclass_fields__}
    result = type(result)(**{**kwargs, "activity": activity() if with_activity else None, "dropped": 2})
    before = image.copy()
    drawn = draw_result(image, result)
    assert (image == before).all() and drawn.shape == image.shape and not np.shares_memory(drawn, image)
    plain = draw_result(image, result, hud=False, legend=False)
    hud = (drawn != plain).any(axis=2)[: HEIGHT // 4]
    assert hud[:10, :10].any() and not hud[:, WIDTH // 2 :].any()


def test_the_answer_stays_readable_where_nothing_was_computed(image):
    result = segmentation(activity=activity())
    drawn = draw_result(image, result, legend=False, hud=False)
    assert (
        np.abs(drawn[250:, 5:235].reshape(-1, 3).mean(axis=0) - drawn[250:, 245:].reshape(-1, 3).mean(axis=0)).max()
        > 20
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_tiny_frames(size):
    result = segmentation(label_map=np.zeros(size, np.uint8), image_wh=size[::-1], dropped=1)
    assert draw_result(np.zeros((*size, 3), np.uint8), result).shape == (*size, 3)


@pytest.mark.parametrize("draw", [draw_segmentation, draw_result])
@pytest.mark.parametrize("bad", [np.zeros((HEIGHT, WIDTH - 1, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8), None])
def test_other_images_are_refused(draw, bad):
    with pytest.raises(FrameError):
        draw(bad, segmentation())
    with pytest.raises(FrameError):
        draw_activity(bad, activity())


def test_the_number_of_a_tracked_object_is_in_its_tag(image):
    plain = draw_detections(image, detections())
    tracked = draw_detections(image, replace(detections(), track_ids=np.array([12])))
    waiting = draw_detections(image, replace(detections(), track_ids=np.array([-1])))
    assert not np.array_equal(tracked, plain) and np.array_equal(waiting, plain)
    np.testing.assert_array_equal(tracked[130:], plain[130:])  # the box has the colour of its class as before


@pytest.mark.parametrize("size_wh", [(64, 48), (320, 180), (1920, 1080)])
@pytest.mark.parametrize("kind", ["line", "zone"])
def test_lines_and_zones_are_drawn_with_their_counts(size_wh, kind):
    width, height = size_wh
    frame = np.full((height, width, 3), 100, np.uint8)
    points = ((0.1 * width, 0.6 * height), (0.9 * width, 0.6 * height), (0.9 * width, 0.9 * height))
    counts = Counts("gate \u2013", kind, points[: 2 if kind == "line" else 3], {"car": 3}, {})
    empty = Detections(
        image_wh=size_wh, xyxy=np.zeros((0, 4), np.float32), confidence=np.zeros(0, np.float32),
        class_id=np.zeros(0, np.int64), names=NAMES, counts=(counts,),
    )  # fmt: skip
    picture = draw_result(frame, empty, hud=False)
    assert (frame == 100).all()
    bright = (picture[..., 1] > 140) & (picture[..., 0] < 100)  # yellow, and its soft edges
    row = round(0.6 * height)
    assert bright[row - 1 : row + 2, int(0.8 * width)].any()  # the line itself
    rows, _ = np.nonzero((picture != 100).any(axis=-1))
    assert rows.min() > 0.25 * height
    assert bright.sum() > 0.6 * width  # the patch that the words stand on, too
    other = draw_result(frame, replace(empty, counts=(replace(counts, into={"car": 5}),)), hud=False)
    assert not np.array_equal(other, picture) or width < 100
