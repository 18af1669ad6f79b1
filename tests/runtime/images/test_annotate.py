import numpy as np
import pytest

from sparsevit_runtime.images.annotate import Entry, line_height, write_panel, write_tag

SIZES = [(320, 180), (640, 480), (1280, 720), (1080, 1920), (3840, 2160), (7680, 4320)]
GREY = 90


def blank(wh) -> np.ndarray:
    return np.full((wh[1], wh[0], 3), GREY, np.uint8)


def touched(canvas) -> tuple[slice, slice]:
    """Rows and columns that were written on."""
    changed = (canvas != GREY).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


ELEVEN = [Entry(f"{'class' * (1 + i % 2)}{i}", (0, 20 * i, 255)) for i in range(11)]


@pytest.mark.slow
@pytest.mark.parametrize("wh", SIZES)
def test_a_legend_of_eleven_classes_covers_little_at_any_size(wh):
    canvas = blank(wh)
    write_panel(canvas, ELEVEN, top=False)
    rows, columns = touched(canvas)
    share = (rows.stop - rows.start) * (columns.stop - columns.start) / (wh[0] * wh[1])
    assert share < (0.3 if wh[0] < 640 else 0.15) and rows.stop == wh[1] and columns.start == 0
    for entry in ELEVEN:
        assert (canvas[rows, columns] == entry.swatch).all(axis=2).any(), "each class is there"


@pytest.mark.parametrize("wh", SIZES)
def test_text_grows_with_the_picture(wh):
    shorter = min(wh[1], wh[0] * 9 / 16)
    assert line_height(blank(wh)) == max(13, round(shorter / 32))


@pytest.mark.parametrize("wh", [(1, 1), (3, 200), (200, 3), (60, 40), (90, 60), (176, 144)])
def test_what_does_not_fit_is_left_out(wh):
    canvas = blank(wh)
    write_panel(canvas, ELEVEN, top=False)
    write_panel(canvas, [Entry("60% pruned"), Entry("inference 12.3 ms")], top=True, share=0.45)
    changed = (canvas != GREY).any(axis=2)
    assert changed[: wh[1] // 3 + 1].any(axis=1).sum() <= max(0, wh[1] // 3)
    assert changed.any(axis=1).sum() <= 2 * (wh[1] // 3)


def test_entries_left_out_are_counted():
    few, all_of_them = blank((176, 144)), blank((176, 144))
    write_panel(few, [*ELEVEN, *ELEVEN[:4]], top=False)
    write_panel(all_of_them, [*ELEVEN, *ELEVEN[:7]], top=False)
    rows, _ = touched(few)
    assert rows.stop - rows.start == 39  # three lines of 13 of 144
    assert (few != all_of_them).any()  # another number stands there
    assert (few[:-13] == all_of_them[:-13]).all()


@pytest.mark.parametrize("xy", [(0, 0), (-5, -5), (639, 0), (600, 479), (300, 10), (0, 479), (1000, 1000), (300, 200)])
def test_tags_stay_inside_and_whole(xy):
    canvas = blank((640, 480))
    write_tag(canvas, "motorcycle 0.87", xy, (0, 0, 255))
    rows, columns = touched(canvas)
    free = blank((640, 480))
    write_tag(free, "motorcycle 0.87", (300, 200), (0, 0, 255))
    (expected, whole) = touched(free)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (
        expected.stop - expected.start,
        whole.stop - whole.start,
    )
    np.testing.assert_array_equal(canvas[rows, columns], free[expected, whole])


def test_a_tag_stands_above_its_box():
    canvas = blank((640, 480))
    write_tag(canvas, "car 0.50", (300, 200), (0, 200, 0))
    rows, columns = touched(canvas)
    assert rows.stop == 200 and columns.start == 300


@pytest.mark.parametrize("color", [(255, 255, 255), (60, 0, 0), (0, 255, 255), (255, 0, 0)])
def test_words_are_read_on_their_colour(color):
    canvas = blank((1280, 720))
    write_tag(canvas, "car 0.50", (300, 200), color)
    rows, columns = touched(canvas)
    brightness = canvas[rows, columns].astype(float) @ [0.114, 0.587, 0.299]
    own = float(np.dot(color, [0.114, 0.587, 0.299]))
    assert np.abs(brightness - own).max() > 100


def test_a_figure_wider_than_its_share_has_a_line_of_its_own():
    canvas, alone = blank((176, 144)), blank((176, 144))
    write_panel(canvas, [Entry("60% pruned"), Entry("inference 12.3 ms")], top=True, share=0.45)
    write_panel(alone, [Entry("60% pruned")], top=True, share=0.45)
    (two, wide), (one, narrow) = touched(canvas), touched(alone)
    assert two.stop == 2 * one.stop and wide.stop > narrow.stop
