from __future__ import annotations

import pytest

from sparsevit_runtime.sinks.timeline import SMALLEST_STEP_NS, Timeline

MS = 1_000_000
#: 2026, as a live source's clock has it.
NOW = 1_795_000_000_000 * MS
STEP = SMALLEST_STEP_NS


@pytest.mark.parametrize(
    ("times", "placed"),
    [
        ([0], [0]),
        ([0, 40 * MS, 120 * MS], [0, 40 * MS, 120 * MS]),
        ([NOW, NOW + 33 * MS, NOW + 400_000 * MS], [0, 33 * MS, 400_000 * MS]),
        ([NOW, NOW, NOW], [0, STEP, 2 * STEP]),
        # Frames that overtook each other stay where they belong as soon as time goes on.
        ([NOW, NOW + 80 * MS, NOW + 40 * MS, NOW + 120 * MS], [0, 80 * MS, 80 * MS + STEP, 120 * MS]),
        # A clock that was set back by an hour.
        (
            [NOW, NOW + 40 * MS, NOW - 3_600_000 * MS, NOW - 3_599_960 * MS],
            [0, 40 * MS, 40 * MS + STEP, 80 * MS + STEP],
        ),
        # Results of frames that the caller brought have no time.
        ([0, 0, 0], [0, 100 * MS, 200 * MS]),
    ],
)
def test_results_are_as_far_apart_as_their_frames(times, placed):
    timeline = Timeline(fps=10.0)
    assert [timeline.place(time) for time in times] == placed


def test_no_two_pictures_share_a_tick_of_the_videos_clock():
    timeline = Timeline(fps=10.0)
    ticks = [round(timeline.place(NOW + time) * 90_000 / 1e9) for time in (0, 5, 5, 7, 11_000, 11_001, 50_000)]
    assert sorted(set(ticks)) == ticks
