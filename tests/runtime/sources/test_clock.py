from __future__ import annotations

import time

import pytest

from clips import write_clip
from sparsevit_runtime.sources import open_source
from sparsevit_runtime.sources.clock import MediaClock, WallClock, media_ns


def stamps_ms(clock: MediaClock, *positions_ms: float | None) -> list[float]:
    return [clock.stamp(None if p is None else round(p * 1e6)) / 1e6 for p in positions_ms]


@pytest.mark.parametrize(
    ("positions_ms", "wanted_ms"),
    [
        ((0, 139, 302, 457), [0, 139, 302, 457]),
        ((80, 120, 160), [80, 120, 160]),
        ((0, 0, 0, 0), [0, 40, 80, 120]),
        ((None, None, None), [0, 40, 80]),
        ((0, 40, 80, 0, 40, 80), [0, 40, 80, 120, 160, 200]),  # recordings joined
        ((0, 100, None, 300), [0, 100, 140, 300]),
    ],
)
def test_times_are_the_decoders_and_where_they_break_the_nominal_rate(positions_ms, wanted_ms):
    assert stamps_ms(MediaClock(25.0), *positions_ms) == wanted_ms


def test_frames_that_did_not_decode_take_their_time_where_there_is_no_position():
    clock = MediaClock(25.0)
    assert [clock.stamp(None), clock.stamp(None, 3), clock.stamp(None)] == [0, 120_000_000, 160_000_000]


@pytest.mark.parametrize("position", [-1.0, float("nan"), float("inf"), -9.2e15, 1e18])
def test_what_is_no_position_is_none(position):
    assert media_ns(position) is None


def test_the_wall_clock_goes_on_when_it_is_set_back():
    clock = WallClock()
    start = time.time_ns()
    assert clock.stamp(start) == start
    time.sleep(0.02)
    back = clock.stamp(start - 3600 * 10**9)
    assert start + 15_000_000 < back < start + 2 * 10**9
    assert clock.stamp(start + 3 * 10**9) == start + 3 * 10**9


def test_a_variable_rate_is_read_as_it_is_and_its_mean_is_told(tmp_path):
    """A browser's recording: times in milliseconds, and their tick of 1000 where the rate should be."""
    pytest.importorskip("av")
    times = [round(14900 * (i / 89) ** 1.3) for i in range(90)]
    with open_source(write_clip(tmp_path / "a.webm", 90, codec="libvpx", times_ms=times)) as source:
        assert source.fps == pytest.approx(89 / 14.9, rel=0.01) and source.frame_count == 90
        frames = list(source)
    assert [round(f.timestamp_ns / 1e6) for f in frames] == times
    assert [f.media_ns for f in frames] == [f.timestamp_ns for f in frames]


def test_a_variable_rate_below_the_nominal_one_is_no_damage(tmp_path, caplog):
    """Its container says 24 a second and so counts 359 frames; there are 90."""
    pytest.importorskip("av")
    times = [round(14900 * (i / 89) ** 1.3) for i in range(90)]
    with open_source(write_clip(tmp_path / "a.webm", 90, codec="libvpx", times_ms=times, fps=24)) as source:
        assert source.fps == pytest.approx(89 / 14.9, rel=0.01)
        assert len(list(source)) == 90
    assert (source.damaged, caplog.text) == (0, "")


def test_a_true_high_rate_is_kept(tmp_path):
    pytest.importorskip("av")
    with open_source(write_clip(tmp_path / "a.mp4", 240, fps=240)) as source:
        assert (source.fps, source.frame_count) == (pytest.approx(240), 240)


def test_the_times_of_a_gif(tmp_path):
    image = pytest.importorskip("PIL.Image")
    frames = [image.new("RGB", (64, 48), (40 * i, 0, 200 - 40 * i)) for i in range(5)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 100, 500, 100, 100], loop=0)
    times = [round(f.timestamp_ns / 1e6) for f in open_source(path)]
    assert times == [0, 100, 200, 700, 800]


def test_joined_recordings_go_on_in_time(tmp_path):
    pytest.importorskip("av")
    part = write_clip(tmp_path / "a.ts", 12).read_bytes()
    (tmp_path / "b.ts").write_bytes(part + part)
    stamps = [f.timestamp_ns / 1e6 for f in open_source(tmp_path / "b.ts")]
    assert stamps == pytest.approx([40 * i for i in range(24)], abs=0.01)
