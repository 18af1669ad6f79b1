import numpy as np
import pytest

from sparsevit_runtime import CountLine, CountZone
from sparsevit_runtime.tracking.counting import counter_of

NAMES = ("car", "person")
WH = (200, 100)


def boxes_at(*grounds):
    """Boxes 20 wide and high that stand on these points."""
    return np.array([(x - 10, y - 20, x + 10, y) for x, y in grounds], np.float32)


def walk(place, *paths, classes=None, alive=True):
    """Objects along paths of points, one a frame, None where they are not seen. Returns the counts of every frame."""
    counter = counter_of(place, NAMES)
    told = []
    for frame in range(max(map(len, paths))):
        shown = [i for i, path in enumerate(paths) if frame < len(path) and path[frame] is not None]
        ids = np.array([i + 1 for i in shown], np.int64)
        known = np.arange(1, len(paths) + 1) if alive else ids
        class_id = np.array([(classes or [0] * len(paths))[i] for i in shown], np.int64)
        boxes = boxes_at(*(paths[i][frame] for i in shown)) if shown else np.zeros((0, 4), np.float32)
        told.append(counter.update(boxes, class_id, ids, known, WH))
    return told


LINE = CountLine((0, 0.5, 1, 0.5), "gate")  # from left to right: in is upwards
ZONE = CountZone((0, 0, 0.5, 0, 0.5, 1, 0, 1), "left")  # x below 100


def up(x=50):
    return [(x, y) for y in range(90, 10, -8)]


def test_in_is_to_the_left_of_the_line_and_out_to_its_right():
    counts = walk(LINE, up(), up()[::-1], up(80), classes=[0, 0, 1])[-1]
    assert (counts.into, counts.out) == ({"car": 1, "person": 1}, {"car": 1})
    turned = CountLine((1, 0.5, 0, 0.5), "gate")
    assert walk(turned, up())[-1].out == {"car": 1}
    assert counts.points == ((0, 50), (200, 50)) and str(counts) == "gate: in 2, out 1"


@pytest.mark.parametrize("times", [1, 2, 5])
def test_every_crossing_counts(times):
    path = (up() + up()[::-1]) * times
    counts = walk(LINE, path)[-1]
    assert (counts.into, counts.out) == ({"car": times}, {"car": times})


def test_a_box_that_trembles_on_the_line_counts_once():
    path = [(50, 60), *[(50, 50 + 0.6 * (-1) ** i) for i in range(20)], (50, 40)]
    told = walk(LINE, path)
    assert told[-1].into == {"car": 1} and told[-1].out == {}
    assert told[-2].into == {}  # not before it is clear of the line


@pytest.mark.parametrize("missing", [1, 3, 10])
def test_a_crossing_that_nobody_saw_counts(missing):
    assert walk(LINE, [(50, 60), *[None] * missing, (50, 40)])[-1].into == {"car": 1}


def test_who_was_forgotten_in_between_does_not_count():
    assert walk(LINE, [(50, 60), None, (50, 40)], alive=False)[-1].into == {}


def test_beyond_the_ends_of_the_line_nothing_is_crossed():
    short = CountLine((0.4, 0.5, 0.6, 0.5))
    counts = walk(short, up(30), up(100), up(170))[-1]
    assert counts.into == {"car": 1}


def test_a_slanted_line_in_pixels():
    line = CountLine((50, 10, 150, 90))
    across = [(x, 50) for x in range(60, 145, 7)]
    assert walk(line, across)[-1].into == {"car": 1}  # to the right of the picture, and left of the way down
    assert walk(line, across[::-1])[-1].out == {"car": 1}


def test_zones_count_who_comes_goes_and_is_there():
    through = [(x, 50) for x in range(150, 20, -10)]
    told = walk(ZONE, through, through[::-1], [(30, 50)] * len(through), classes=[0, 0, 1])
    assert (told[0].into, told[0].out, told[0].inside) == ({}, {}, {"car": 1, "person": 1})
    assert (told[-1].into, told[-1].out, told[-1].inside) == ({"car": 1}, {"car": 1}, {"car": 1, "person": 1})
    assert str(told[-1]) == "left: in 1, out 1, inside 2"


def test_who_is_lost_is_not_in_the_zone_any_more():
    told = walk(ZONE, [(30, 50), (30, 50), None], alive=False)
    assert [each.inside for each in told] == [{"car": 1}, {"car": 1}, {}]
    assert told[-1].out == {}


def test_a_zone_of_the_whole_frame_holds_who_stands_at_its_lower_edge():
    whole = CountZone((0, 0, 1, 0, 1, 1, 0, 1))
    assert walk(whole, [(100, 100)])[-1].inside == {"car": 1}


def test_counts_in_json():
    told = walk(ZONE, [(150, 50), (120, 50), (80, 50)])[-1].to_dict()
    assert told == {"name": "left", "kind": "zone", "in": {"car": 1}, "out": {}, "inside": {"car": 1}}
    assert "inside" not in walk(LINE, up())[-1].to_dict()
