import subprocess
import sys

import numpy as np
import pytest

from sparsevit_runtime.errors import MissingDependencyError
from sparsevit_runtime.tracking.motion import Motion, overlaps
from sparsevit_runtime.tracking.tracker import NO_ID, ByteTracker

FRAME_S = 1 / 25


class Crowd:
    """Objects that move at constant speeds, 40x40 pixels, and what a tracker says of them.

    Attributes: seen: numbers that each object had so far.
    """

    def __init__(self, places, speeds, classes=None, lost_s=1.0):
        self.places, self.speeds = np.array(places, float), np.array(speeds, float)
        self.classes = np.zeros(len(places), np.int64) if classes is None else np.array(classes)
        self.tracker = ByteTracker(0.5, lost_s)
        self.seen = [[] for _ in places]
        self._random = np.random.RandomState(0)

    def step(self, seconds=FRAME_S, hidden=(), scores=None, noise_px=0.0):
        """Time goes by, and a frame comes. Returns the numbers, NO_ID for hidden ones, too."""
        self.places += self.speeds * seconds
        shown = [i for i in range(len(self.places)) if i not in hidden]
        boxes = np.concatenate([self.places - 20, self.places + 20], axis=1)
        boxes += self._random.normal(0, noise_px, boxes.shape)
        given = np.full(len(self.places), 0.9) if scores is None else np.array(scores)
        order = self._random.permutation(shown).astype(int)  # detections come in any order
        numbers = np.full(len(self.places), NO_ID)
        numbers[order] = self.tracker.update(boxes[order], given[order], self.classes[order], seconds)
        for i in shown:
            if numbers[i] != NO_ID:
                self.seen[i].append(int(numbers[i]))
        return numbers.tolist()


def test_nothing_is_tracked_as_nothing():
    tracker = ByteTracker(0.5, 1.0)
    nothing = np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)
    for _ in range(3):
        numbers = tracker.update(*nothing, FRAME_S)
        assert numbers.shape == (0,) and numbers.dtype == np.int64


def test_an_object_has_its_number_from_the_second_sight_on():
    crowd = Crowd([(100, 100), (300, 100)], [(50, 0), (0, 0)])
    assert crowd.step() == [NO_ID, NO_ID]
    assert sorted(crowd.step()) == [1, 2]


def test_numbers_stay_though_objects_pass_one_another():
    crowd = Crowd([(100, 100), (500, 104), (300, 300), (320, 20)], [(200, 0), (-200, 0), (0, -60), (-3, 70)])
    for _ in range(60):
        crowd.step(noise_px=1.0)
    assert crowd.places[0, 0] > crowd.places[1, 0]  # they did
    assert [len(set(numbers)) for numbers in crowd.seen] == [1, 1, 1, 1]
    assert len({numbers[0] for numbers in crowd.seen}) == 4


def test_dropped_frames_cost_no_number():
    """A live source drops frames unevenly; objects are where the time says."""
    crowd = Crowd([(100, 100), (700, 220)], [(120, 0), (-120, 10)])
    for i in range(40):
        crowd.step(FRAME_S * (1, 4, 2, 8)[i % 4] if i > 4 else FRAME_S, noise_px=0.5)
    assert [len(set(numbers)) for numbers in crowd.seen] == [1, 1]


@pytest.mark.parametrize(("frames", "seconds"), [(22, FRAME_S), (2, 0.45)])
def test_who_is_hidden_for_less_than_the_limit_keeps_the_number(frames, seconds):
    crowd = Crowd([(100, 100)], [(60, 0)])
    for _ in range(10):
        crowd.step()
    for _ in range(frames):
        crowd.step(seconds, hidden=(0,))
    crowd.step()
    assert crowd.seen[0] == [1] * 10


@pytest.mark.parametrize(("frames", "seconds"), [(26, FRAME_S), (2, 0.55)])
def test_who_is_hidden_for_longer_is_another(frames, seconds):
    """However many frames that are: time counts."""
    crowd = Crowd([(100, 100)], [(0, 0)])
    for _ in range(10):
        crowd.step()
    for _ in range(frames):
        crowd.step(seconds, hidden=(0,))
    assert len(crowd.tracker.ids) == 0
    crowd.step()
    crowd.step()
    assert crowd.seen[0] == [1] * 9 + [2]


def test_poor_scores_go_on_with_a_track_and_begin_none():
    crowd = Crowd([(100, 100), (400, 100)], [(60, 0), (0, 0)])
    for _ in range(5):
        crowd.step(scores=[0.9, 0.2])
    for _ in range(40):
        crowd.step(scores=[0.2, 0.2])
    assert crowd.seen == [[1] * 44, []]


def test_what_is_seen_once_takes_no_number():
    crowd = Crowd([(100, 100), (400, 100)], [(0, 0), (0, 0)])
    crowd.step()
    crowd.step(hidden=(0,))
    for _ in range(3):
        crowd.step()
    assert crowd.seen == [[2, 2], [1, 1, 1, 1]]


def test_a_box_of_the_same_class_goes_before_a_nearer_one_of_another():
    tracker = ByteTracker(0.5, 1.0)
    box, near, far = [0, 0, 40, 40], [2, 0, 42, 40], [6, 0, 46, 40]
    for _ in range(2):
        tracker.update(np.array([box], float), np.array([0.9]), np.array([1]), FRAME_S)
    numbers = tracker.update(np.array([near, far], float), np.array([0.9, 0.9]), np.array([0, 1]), FRAME_S)
    assert numbers.tolist() == [NO_ID, 1]
    # Alone it is the same object, which the model takes for something else.
    numbers = tracker.update(np.array([far], float), np.array([0.9]), np.array([2]), FRAME_S)
    assert numbers.tolist() == [1]


def test_memory_is_bounded():
    tracker = ByteTracker(0.5, 0.5)
    random = np.random.RandomState(0)
    for _ in range(400):
        corners = random.uniform(0, 3000, (20, 2))
        boxes = np.concatenate([corners, corners + 30], axis=1)
        tracker.update(boxes, np.full(20, 0.9), np.zeros(20, np.int64), FRAME_S)
    assert len(tracker.ids) < 20 * (0.5 / FRAME_S + 2)


def test_motion_learns_a_speed_and_says_where_the_box_will_be():
    motion = Motion()
    motion.add(np.array([[0.0, 0.0, 40.0, 20.0]]))
    for i in range(1, 40):
        motion.predict(FRAME_S, np.array([False]))
        x = 100 * i * FRAME_S
        motion.correct(np.array([0]), np.array([[x, 0.0, x + 40, 20.0]]))
    assert motion.speed[0] == pytest.approx([100, 0, 0, 0], abs=2)
    motion.predict(1.0, np.array([True]))
    assert motion.xyxy[0] == pytest.approx([256, 0, 296, 20], abs=3)


def test_overlaps_of_boxes():
    ours = np.array([[0, 0, 10, 10], [100, 100, 110, 110]], float)
    theirs = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 50, 50]], float)
    assert overlaps(ours, theirs) == pytest.approx(np.array([[1, 1 / 3, 0], [0, 0, 0]]))
    assert overlaps(ours, np.zeros((0, 4))).shape == (2, 0)


def test_without_scipy_the_extra_is_named():
    program = (
        "import sys; sys.modules['scipy'] = None\n"
        "from sparsevit_runtime.tracking.tracker import ByteTracker\n"
        "try: ByteTracker(0.5, 1.0)\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.startswith(MissingDependencyError.__name__), done.stderr
    assert "pip install 'sparsevit-edge[track]'" in done.stdout
