import pytest

from sparsevit_runtime import ArgumentError, CountLine, CountZone, Tracking
from sparsevit_runtime.tracking.places import in_pixels


def test_a_line_from_text():
    line = CountLine.parse("0,0.5, 1 ,.5,name=north gate")
    assert line == CountLine((0, 0.5, 1, 0.5), "north gate")
    assert CountLine.parse("10,20,300,20") == CountLine([10, 20, 300, 20])


def test_shares_of_the_frame_and_pixels():
    assert in_pixels(CountLine((0, 0.5, 1, 0.5)), (200, 100)) == ((0, 50), (200, 50))
    assert in_pixels(CountZone((0, 0, 20, 0, 20, 30)), (200, 100)) == ((0, 0), (20, 0), (20, 30))


def test_places_without_a_name_are_numbered():
    tracking = Tracking(count=[CountLine((0, 0, 1, 1)), CountZone((0, 0, 1, 0, 1, 1)), CountLine((0, 1, 1, 0))])
    assert [place.name for place in tracking.count] == ["line 1", "zone 1", "line 2"]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (CountLine, "", "is no line to count at; give x1,y1,x2,y2"),
        (CountLine, "0,0,1", "3 numbers make no line"),
        (CountLine, "0,0,1,1,1,0", "6 numbers make no line"),
        (CountLine, "0,0,1,one", "is no line to count at"),
        (CountLine, "0,0,-1,1", "is no line to count at"),
        (CountLine, "0,0,1e3,nan", "is no line to count at"),
        (CountLine, "0.5,0.5,0.5,0.5", "fewer than 2 different points"),
        (CountLine, "0,0,1,1,name=" + "x" * 41, "printable characters"),
        (CountLine, "0,0,1,1,name=a\x1b[0m", "printable characters"),
        (CountLine, "0,0,1,99999999", "a finite number from 0 to 100000"),
        (CountZone, "0,0,1,1", "4 numbers make no zone"),
        (CountZone, "0,0,1,1,1", "5 numbers make no zone"),
        (CountZone, "0,0,1,1,0,0", "fewer than 3 different points"),
    ],
)
def test_what_is_no_place_is_refused(kind, text, message):
    with pytest.raises(ArgumentError, match=message):
        kind.parse(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": [CountLine((0, 0, 1, 1), "gate"), CountZone((0, 0, 1, 1, 0, 1), "gate")]}, "two places are named"),
        ({"count": ["0,0,1,1"]}, "a CountLine or a CountZone, got str"),
        ({"count": "0,0,1,1"}, "a list of lines and zones, got str"),
        ({"lost_s": -1}, "lost_s is a finite number from 0"),
    ],
)
def test_a_tracking_that_means_nothing_is_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        Tracking(**options)
