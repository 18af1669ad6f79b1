"""Frames of a live source that are not decoded, for the model will not take them."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from mjpeg_camera import CameraServer
from sparsevit_runtime.live.outlet import Outlet
from sparsevit_runtime.live.pace import Pace
from sparsevit_runtime.live.session import Session
from sparsevit_runtime.sources.base import Timeouts
from sparsevit_runtime.sources.http_address import ask
from sparsevit_runtime.sources.mjpeg import MjpegSource


class Run:
    """A camera, its mailbox, and a model that takes the newest frame when it is free; times in seconds.

    Attributes:
        decoded: when each frame that was decoded came.
        ages: age of each frame that was run, when the model took it.
        idle: times that the model waited.
    """

    def __init__(self, period, run, *, decode=0.008, jitter=0.0, paced=True, seconds=20.0, seed=0):
        self.now, dice = 0.0, random.Random(seed)
        self.decoded, self.ages, self.idle = [], [], []
        waits_since = 0.0
        pace = Pace(lambda: waits_since is not None, clock=lambda: self.now)
        mailbox, ready = None, []  # time of the frame in it; frames being decoded: (ready at, came at)
        free_at, number, next_frame = None, 0, 0.0
        while self.now < seconds:
            self.now = min([next_frame, *(at for at, _ in ready), *([free_at] if free_at is not None else [])])
            if ready and ready[0][0] == self.now:
                mailbox = ready.pop(0)[1]
                pace.prepared()
            elif free_at == self.now:
                free_at, waits_since = None, self.now
            elif next_frame == self.now:
                number += 1
                next_frame = number * period + jitter * dice.random()
                if pace.wants() or not paced:
                    self.decoded.append(self.now)
                    ready.append((self.now + decode, self.now))
            if waits_since is not None and mailbox is not None:
                self.ages.append(self.now - mailbox)
                self.idle.append(self.now - waits_since)
                pace.taken()
                mailbox, waits_since = None, None
                free_at = self.now + (run(self.now) if callable(run) else run) * dice.uniform(0.95, 1.05)


@pytest.mark.parametrize("jitter", [0.0, 0.004])
@pytest.mark.parametrize("run", [0.075, 0.15, 0.4])
def test_most_frames_that_would_be_replaced_are_not_decoded_and_those_run_are_as_many_and_as_fresh(run, jitter):
    every = Run(1 / 30, run, jitter=jitter, paced=False)
    paced = Run(1 / 30, run, jitter=jitter)
    replaced = len(every.decoded) - len(every.ages)
    left_out = len(every.decoded) - len(paced.decoded)
    assert left_out >= 0.45 * replaced
    assert len(paced.ages) >= 0.99 * len(every.ages) and sum(paced.idle) <= sum(every.idle) + 0.05
    assert np.mean(paced.ages) <= np.mean(every.ages) + 0.001 and max(paced.ages) <= max(every.ages) + 0.010


def test_a_model_that_is_faster_than_the_camera_has_everything():
    run = Run(1 / 30, 0.02, jitter=0.01)
    assert len(run.decoded) - 1 <= len(run.ages) and len(run.ages) >= 600


def test_a_model_that_becomes_faster_waits_once():
    run = Run(1 / 30, lambda now: 0.2 if now < 10 else 0.04, jitter=0.002)
    assert sum(idle > 1.5 / 30 for idle in run.idle) <= 2


def test_some_frames_are_wanted_however_slow_the_model_is():
    run = Run(1 / 30, 3.0, seconds=40)
    gaps = np.diff(run.decoded)
    assert max(gaps) <= 0.2 + 2 / 30


class Counted(MjpegSource):
    """Counts the frames that it decodes."""

    given = 0

    def read(self):
        frame = super().read()
        self.given += frame is not None
        return frame


@pytest.mark.timed
def test_a_session_that_is_slower_than_its_camera_has_it_decode_less_and_counts_all(make_model):
    camera, opened = CameraServer(frame_s=0.02), []

    def open_camera():
        opened.append(Counted(ask(camera.url, Timeouts(3, 3)), Timeouts(3, 3)))
        return opened[0]

    def look(result, picture):
        time.sleep(0.12)

    with Session(make_model().runner, open_camera, [Outlet(look, may_block=True)]) as session:
        until = time.monotonic() + 30
        while processed(session) < 24 and time.monotonic() < until:
            time.sleep(0.01)
        session.stop()
        assert session.wait(5)
    camera.leave()
    (counts,) = session.metrics.sources.values()
    assert counts.processed >= 24 and counts.in_flight == 0
    assert counts.captured > counts.processed + counts.failed == counts.processed
    left_out = counts.captured - opened[0].given
    assert left_out > 0.25 * counts.captured


def processed(session):
    return sum(each.processed for each in session.metrics.sources.values())
