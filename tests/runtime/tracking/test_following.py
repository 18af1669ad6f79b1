import pickle
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from sparsevit_runtime import ArgumentError, CountLine, CountZone, Detections, Outlet, Session, Tracking
from sparsevit_runtime.sources.base import Frame
from sparsevit_runtime.sources.iterable import IterableSource
from sparsevit_runtime.sources.synthetic import SyntheticSource
from sparsevit_runtime.tracking.following import Following
from sparsevit_street import StreetScene
from sparsevit_street.classes import BICYCLIST, CAR, PEDESTRIAN, STREET_CLASSES

NAMES = tuple(name for name, _ in STREET_CLASSES)
FPS = 10.0
#: What tells that the frames have a clock, and its rate.
FILE = SyntheticSource((64, 64), 0, 1, FPS)
SIZE_WH = (480, 270)
BOXES = {"task": "detection", "boxes": [(2, 2, 20, 20), (25, 5, 40, 30), (4, 20, 12, 30)], "scores": [0.9, 0.5, 0.2],
         "classes": [1, 2, 2], "hw": (32, 48)}  # fmt: skip


class Street(StreetScene):
    """Tells of each box of the truth which object it is of.

    Attributes: objects: of the boxes of the frame rendered last.
    """

    def _boxes(self, ids, regions):
        found = {label: super(Street, self)._boxes(ids, {label: region}) for label, region in regions.items()}
        found = {label: boxes for label, boxes in found.items() if len(boxes[0])}
        self.objects = list(found)
        return super()._boxes(ids, regions)


def detections(image_wh, index, boxes, classes):
    return Detections(
        image_wh=image_wh,
        frame_index=index,
        timestamp_ns=round(index / FPS * 1e9),
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.full(len(boxes), 0.9, np.float32),
        class_id=np.array(classes, np.int64),
        names=NAMES,
    )


def crossings(paths, y):
    """By class, upwards and downwards, from the lower edges of each object's boxes, for as long as it is seen."""
    up, down = Counter(), Counter()
    for name, path in paths.values():
        above, last = None, 0
        for index, bottom, height in path:
            if index - last > FPS:  # it went, and another time of it begins
                above = None
            last = index
            if abs(bottom - y) > 0.06 * height:
                up[name] += above is False and bottom < y
                down[name] += above is True and bottom > y
                above = bottom < y
    return +up, +down


@lru_cache
def street(seed):
    """What 160 frames show that is large enough to be found: object, class and box of each."""
    scene = Street(SIZE_WH, seed, FPS)
    frames = []
    for index in range(160):
        _, truth = scene.render(index)
        found = zip(scene.objects, truth.class_id.tolist(), truth.xyxy.tolist())
        frames.append([each for each in found if min(each[2][2] - each[2][0], each[2][3] - each[2][1]) >= 12])
    return frames


@pytest.mark.parametrize(
    ("seed", "every", "classes"),
    [(2, 1, (CAR, PEDESTRIAN, BICYCLIST)), (2, 2, (CAR, PEDESTRIAN, BICYCLIST)), (2, 3, (CAR,))],
)
def test_a_line_across_the_street_counts_what_the_truth_says(seed, every, classes):
    """Of every frame, and with frames dropped; of those that nobody hides where they cross."""
    following = Following(Tracking(count=[CountLine((0, 0.62, 1, 0.62), "gate")]), 0.25, FILE)
    paths = {}
    for index in range(0, 160, every):
        shown = [each for each in street(seed)[index] if each[1] in classes]
        result = following.follow(detections(SIZE_WH, index, [box for *_, box in shown], [c for _, c, _ in shown]))
        for label, c, box in shown:
            paths.setdefault(label, (NAMES[c], []))[1].append((index, box[3], box[3] - box[1]))
    up, down = crossings(paths, 0.62 * SIZE_WH[1])
    (counts,) = result.counts
    assert sum(up.values()) >= 2 and sum(down.values()) >= 2  # there is something to count
    assert (counts.into, counts.out) == (up, down)


def test_numbers_and_counts_through_a_session(make_model):
    """Objects that stand still: what is seen twice has a number; what scores too low is in no result."""
    source = SyntheticSource((96, 64), 0, 5, FPS)
    zone = CountZone((0, 0, 1, 0, 1, 1, 0, 1))
    results = list(make_model(**BOXES).stream(source, track=Tracking(count=[zone])))
    assert [result.track_ids.tolist() for result in results] == [[-1, -1]] + [[1, 2]] * 4
    assert results[0].counts[0].inside == {} and results[-1].counts[0].inside == {"road": 1, "car": 1}
    told = results[-1].to_dict()
    assert [each["track_id"] for each in told["objects"]] == [1, 2]
    assert told["counts"] == [{"name": "zone 1", "kind": "zone", "in": {}, "out": {}, "inside": {"road": 1, "car": 1}}]
    assert [each["track_id"] for each in results[0].to_dict()["objects"]] == [None, None]
    again = pickle.loads(pickle.dumps(results[-1]))
    assert again.track_ids.tolist() == [1, 2] and again.counts == results[-1].counts


def test_without_tracking_results_are_as_they_were(make_model):
    (result,) = make_model(**BOXES).stream(SyntheticSource((96, 64), 0, 1, FPS))
    assert result.track_ids is None and result.counts == () and len(result) == 2
    assert "track_id" not in result.to_dict()["objects"][0] and "counts" not in result.to_dict()


def test_every_source_has_objects_of_its_own(make_model):
    """Both have the numbers 1 and 2, and what one of them loses costs the other nothing."""
    feeds: dict[str, IterableSource] = {}
    results = {"front": [], "rear": []}
    second = 1_000_000_000

    def take(result, picture):
        results[result.source].append(result.track_ids.tolist())

    for name, pause_ns in (("front", 0), ("rear", 3 * second)):
        times_ns = [index * second // 10 + pause_ns * (index > 2) for index in range(6)]
        feeds[name] = IterableSource([Frame(np.zeros((64, 96, 3), np.uint8), i, at) for i, at in enumerate(times_ns)])
        feeds[name].fps = FPS
    outlet = Outlet(take, may_block=True)
    with Session(make_model(**BOXES).runner, feeds, [outlet], track=True) as session:
        session.wait(30)
    none, before, after = [-1, -1], [1, 2], [3, 4]
    assert results["front"] == [none, before, before, before, before, before]
    assert results["rear"] == [none, before, before, none, after, after]


def test_a_source_that_changes_its_size_begins_anew_and_keeps_its_counts():
    following = Following(Tracking(count=[CountLine((0, 0.5, 1, 0.5))]), 0.25, FILE)

    def see(index, y, size_wh):
        return following.follow(detections(size_wh, index, [(20, y - 20, 50, y)], [CAR]))

    for index, y in enumerate((60, 56, 52, 48, 44)):
        result = see(index, y, (160, 100))
    assert result.counts[0].into == {"Car": 1} and result.track_ids.tolist() == [1]
    for index, y in enumerate((88, 86, 84)):  # the same place, larger
        result = see(5 + index, y, (320, 200))
    assert result.track_ids.tolist() == [2]
    assert result.counts[0].into == {"Car": 1} and result.counts[0].points == ((0, 100), (320, 100))


def test_frames_without_a_clock_are_a_period_apart(make_model):
    """Pictures that the caller brings are read as fast as they are taken; that says nothing of what they show."""
    frames = [np.zeros((64, 96, 3), np.uint8)] * 4
    *_, last = make_model(**BOXES).stream(frames, track=Tracking(lost_s=0.05))
    assert last.track_ids.tolist() == [1, 2]


def test_a_source_slower_than_the_limit_is_followed(make_model):
    """A picture every two seconds: two of them are no reason to lose anybody."""
    source = SyntheticSource((96, 64), 0, 6, fps=0.5)
    *_, last = make_model(**BOXES).stream(source, track=Tracking(lost_s=0.5))
    assert last.track_ids.tolist() == [1, 2]


def test_a_model_that_finds_no_objects_is_refused(make_model):
    model = make_model()
    with pytest.raises(ArgumentError, match="tiny is a model for segmentation, which finds no objects"):
        model.stream([np.zeros((64, 96, 3), np.uint8)], track=True)


@pytest.mark.parametrize("track", ["yes", 1, None])
def test_track_is_a_flag_or_a_tracking(make_model, track):
    with pytest.raises(ArgumentError, match="track is True, False or a Tracking"):
        make_model(**BOXES).stream([np.zeros((64, 96, 3), np.uint8)], track=track)
