"""What comes from a live source: kept whatever ends it, and as long as it took."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from played import boxes, play
from sparsevit_runtime.errors import DiskFullError, SinkError
from sparsevit_runtime.sinks import encoders, open_sink

#: A camera that took 5.3 s for these: 15 frames a second in the light, 5 in the dark.
UNEVEN_S = [i / 15 for i in range(31)] + [2 + 0.2 * i for i in range(1, 17)]
#: Seconds since 1970, as live sources count.
NOW_S = 1_795_000_000
PACKAGES = [str(Path(__file__).parents[3] / part) for part in ("street", "runtime", "tests")]


def without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)


@pytest.fixture
def record(result_of, picture):
    """Writes pictures, each a little brighter, at given times."""

    def write(sink, times_s, size_wh=(64, 48)):
        for i, at_s in enumerate(times_s):
            sink.write(result_of(i, size_wh, at_s=at_s), picture(2 * i % 250, size_wh))

    return write


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("start_s", [0, NOW_S])
def test_a_recording_plays_at_the_times_of_its_frames(tmp_path, record, live, start_s):
    with open_sink(tmp_path / "a.mp4", fps=30, live=live) as sink:
        record(sink, [start_s + at for at in UNEVEN_S])
    played = play(tmp_path / "a.mp4")
    assert played.times_s == pytest.approx(UNEVEN_S, abs=1e-4)
    assert played.length_s == pytest.approx(UNEVEN_S[-1] * (1 + 1 / (len(UNEVEN_S) - 1)), abs=1e-3)
    np.testing.assert_allclose(played.levels, [2 * i for i in range(len(UNEVEN_S))], atol=4)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_at_a_constant_rate_it_is_as_long_within_a_picture(tmp_path, record, monkeypatch, live, name):
    without_pyav(monkeypatch)
    with open_sink(tmp_path / name, fps=30, live=live) as sink:
        record(sink, [NOW_S + at for at in UNEVEN_S])
    played = play(sink.written[0])
    assert played.length_s == pytest.approx(UNEVEN_S[-1] * (1 + 1 / (len(UNEVEN_S) - 1)), abs=1 / 30)
    assert len(played.times_s) == pytest.approx(played.length_s * 30, abs=1)
    # What is shown at any moment is the newest of what was there.
    for at, level in zip(played.times_s, played.levels):
        newest = max(i for i, came in enumerate(UNEVEN_S) if came <= at + 0.5 / 30)
        assert abs(level - 2 * newest) < 6


def test_a_gap_holds_the_last_picture(tmp_path, record):
    times = [0, 0.1, 0.2, 1800.2, 1800.3]
    with open_sink(tmp_path / "a.mp4", live=True) as sink:
        record(sink, [NOW_S + at for at in times])
    assert play(tmp_path / "a.mp4").times_s == pytest.approx(times, abs=1e-4)


def test_a_clock_that_is_set_goes_on_in_a_new_part(tmp_path, record):
    """A board without a battery starts in 1970, until the network tells it the time."""
    with open_sink(tmp_path / "a.mp4", live=True) as sink:
        record(sink, [5, 5.1, NOW_S, NOW_S + 0.1])
    assert [Path(name).name for name in sink.written] == ["a.mp4", "a-0002.mp4"]
    assert [play(name).times_s for name in sink.written] == [pytest.approx([0, 0.1], abs=1e-4)] * 2


def test_results_without_a_time_come_at_the_rate(tmp_path, result_of, picture):
    with open_sink(tmp_path / "a.mp4", fps=8) as sink:
        for _ in range(4):
            sink.write(result_of(0), picture())
    assert play(tmp_path / "a.mp4").times_s == pytest.approx([0, 0.125, 0.25, 0.375], abs=1e-4)


def test_while_it_is_written_it_plays_and_in_the_end_it_is_an_ordinary_file(tmp_path, record):
    sink = open_sink(tmp_path / "a.mp4", live=True)
    assert list(tmp_path.iterdir()) == []
    times = [NOW_S + i / 10 for i in range(55)]
    record(sink, times)
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert boxes(tmp_path / "a.mp4").count("moof") == 5
    assert play(tmp_path / "a.mp4").times_s == pytest.approx([i / 10 for i in range(50)], abs=1e-4)
    sink.close()
    assert boxes(tmp_path / "a.mp4") == ["ftyp", "free", "mdat", "moov"]
    assert len(play(tmp_path / "a.mp4").times_s) == 55


def test_an_ffmpeg_that_makes_no_ordinary_file_of_fragments_leaves_them(tmp_path, record, monkeypatch):
    """Before 7.1 it does not know the flag."""
    monkeypatch.setattr(encoders, "_HYBRID_FLAGS", f"of_the_future+{encoders._LIVE_FLAGS}")
    with open_sink(tmp_path / "a.mp4", live=True) as sink:
        record(sink, [NOW_S + i / 10 for i in range(25)])
    assert sink.codec == "H.264" and boxes(tmp_path / "a.mp4").count("moof") == 3
    played = play(tmp_path / "a.mp4")
    assert played.times_s == pytest.approx([i / 10 for i in range(25)], abs=1e-4)
    assert played.length_s == pytest.approx(2.5, abs=1e-3)


def test_a_kill_while_it_is_closed_costs_nothing(tmp_path, record):
    """The index is behind the pictures, and the header that makes them one not yet written."""
    sink = open_sink(tmp_path / "a.mp4", live=True)
    record(sink, [NOW_S + i / 10 for i in range(25)])
    before = (tmp_path / "a.mp4").read_bytes()
    sink.close()
    after = (tmp_path / "a.mp4").read_bytes()
    fragments = before.index(b"moof")
    assert before[:fragments] != after[:fragments] and after.startswith(before[fragments:], fragments)
    for end in (len(after), len(after) - 10):
        (tmp_path / "b.mp4").write_bytes(before[:fragments] + after[fragments:end])
        assert play(tmp_path / "b.mp4").times_s == pytest.approx([i / 10 for i in range(25)], abs=1e-4)


def test_lines_are_there_at_once(tmp_path, result_of):
    sink = open_sink(tmp_path / "a.jsonl", live=True)
    for i in range(3):
        sink.write(result_of(i))
        lines = (tmp_path / "a.jsonl").read_text().splitlines()
        assert [json.loads(line)["frame"] for line in lines] == list(range(i + 1))
    sink.close()


def test_without_pyav_an_avi_plays_while_it_is_written(tmp_path, result_of, monkeypatch, caplog):
    without_pyav(monkeypatch)
    sink = open_sink(tmp_path / "a.avi", fps=10, live=True)
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    for i in range(60):
        sink.write(result_of(i, (320, 240), at_s=NOW_S + i / 10), noise)
    assert len(play(tmp_path / "a.avi").times_s) > 30
    sink.close()
    assert len(play(tmp_path / "a.avi").times_s) == 60 and not caplog.records


def test_without_pyav_an_mp4_comes_in_short_parts(tmp_path, record, monkeypatch, caplog):
    without_pyav(monkeypatch)
    sink = open_sink(tmp_path / "a.mp4", fps=5, live=True)
    record(sink, [NOW_S + i / 5 for i in range(70)])
    assert "sparsevit-edge[video]" in caplog.text
    whole = [tmp_path / "a-0001.mp4"]
    assert [len(play(path).times_s) for path in whole] == [50]
    sink.abort()
    assert [len(play(name).times_s) for name in sink.written] == [50, 20]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.jsonl"])
def test_an_error_elsewhere_keeps_a_recording(tmp_path, record, name):
    with pytest.raises(ZeroDivisionError), open_sink(tmp_path / name, live=True) as sink:
        record(sink, [NOW_S, NOW_S + 0.1])
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == [name]
    assert frames_of(tmp_path / name) == (5 if name == "a.avi" else 2)  # a constant rate of 25


@pytest.mark.parametrize("name", ["a.mp4", "a.jsonl"])
def test_what_is_there_is_touched_at_the_first_frame_and_if_it_is_ones_own(tmp_path, record, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(SinkError, match="--overwrite"):
        open_sink(tmp_path / name, live=True, overwrite=False)
    (tmp_path / name).unlink()
    with open_sink(tmp_path / name, live=True, overwrite=False) as sink:
        record(sink, [NOW_S])
    with open_sink(tmp_path / name, live=True, overwrite=False):
        pass  # a camera that gave nothing
    assert frames_of(tmp_path / name) == 1
    with open_sink(tmp_path / name, live=True, overwrite=False) as sink:
        record(sink, [NOW_S, NOW_S + 0.1])
    assert frames_of(tmp_path / name) == 2
    late = open_sink(tmp_path / name, live=True, overwrite=False)
    (tmp_path / name).write_text("mine now")
    with pytest.raises(SinkError, match="--overwrite"):
        record(late, [NOW_S])
    late.abort()
    assert (tmp_path / name).read_text() == "mine now"


def frames_of(path) -> int:
    """Results in a file: pictures, or lines that are whole JSON."""
    if str(path).endswith(".jsonl"):
        return len([json.loads(line) for line in Path(path).read_text().splitlines()])
    return len(play(path).times_s)


#: A process that records noise until it has no more room, and tells how that went.
RECORDING = """
    import json, resource, sys
    import numpy as np
    from sparsevit_runtime.errors import DiskFullError
    from sparsevit_runtime.sinks import open_sink
    from sparsevit_runtime.tasks.detection import Detections

    place, limit, frames, live = json.loads(sys.argv[1])
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    sink, said, i = open_sink(place, live=live, fps=10), None, 0
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        for i in range(frames):
            at_ns = round((1_795_000_000 + i / 10) * 1e9)
            result = Detections(
                image_wh=(64, 48), frame_index=i, timestamp_ns=at_ns, xyxy=none[0], confidence=none[1],
                class_id=none[2], names=("car",), source="c" * 500,
            )
            sink.write(result, noise)
        i += 1
        held = sink.written and sink.written[-1].endswith(".mp4") and len(open(sink.written[-1], "rb").read())
        sink.close()
    except DiskFullError as error:
        said = str(error)
        held = 0
        sink.abort()
        sink.close()
    print(json.dumps([i, said, list(sink.written), held]))
"""


def record_apart(place, limit, frames, live=True):
    """Runs RECORDING; frames written without an error, the error or None, the files, and the size before closing."""
    line = [sys.executable, "-c", textwrap.dedent(RECORDING), json.dumps([str(place), limit, frames, live])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(PACKAGES)}
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(("name", "limit"), [("a.mp4", 100_000), ("a.jsonl", 40_000)])
def test_without_room_it_stops_at_once_and_keeps_what_fits(tmp_path, name, limit):
    written, said, files, _ = record_apart(tmp_path / name, limit, 400)
    assert f"no room to write {tmp_path / name} (File too large)" in said and "MB are free on that disk" in said
    assert files == [str(tmp_path / name)] and os.listdir(tmp_path) == [name]
    kept = frames_of(tmp_path / name)
    # Of a video the last fragment may be lost, and the one that begins.
    assert written - (21 if name == "a.mp4" else 0) <= kept <= written < 400 and kept > 5
    if name == "a.mp4":
        assert boxes(tmp_path / name)[-2:] == ["moof", "mdat"]


@pytest.mark.parametrize("name", ["a.mp4", "a.jsonl"])
def test_without_room_for_anything_there_is_no_file(tmp_path, name):
    written, said, files, _ = record_apart(tmp_path / name, 0, 5)
    assert (written, files, os.listdir(tmp_path)) == (0, [], []) and "no room to write" in said


def test_without_room_for_the_index_alone_all_fragments_stay(tmp_path):
    """Only what is written on closing does not fit."""
    written, said, _, held = record_apart(tmp_path / "a.mp4", None, 31)
    assert (written, said) == (31, None)
    whole = (tmp_path / "a.mp4").stat().st_size
    assert whole > held + 100
    for room in (held + 1, whole - 1):
        place = tmp_path / f"{room}.mp4"
        written, said, files, _ = record_apart(place, room, 31)
        assert written == 31 and "File too large" in said and files == [str(place)]
        assert frames_of(place) >= 30 and "..." not in boxes(place)


@pytest.mark.parametrize(("name", "limit"), [("a.mp4", 4_000), ("a.jsonl", 40_000)])
def test_what_can_be_made_again_is_whole_or_not_there(tmp_path, name, limit):
    _, said, files, _ = record_apart(tmp_path / name, limit, 400, live=False)
    assert "File too large" in said and files == [] and os.listdir(tmp_path) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.jsonl", "shots/"])
def test_a_full_disk_keeps_what_fits(tmp_path, result_of, name):
    """A file system of some MB, where mounting one is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        sink = open_sink(f"{disk}/{name}", live=True)
        noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
        if name == "a.jsonl":
            (disk / "much").write_bytes(bytes(5_000_000))
        written = 0
        with pytest.raises(DiskFullError, match="MB are free on that disk"):
            for written in range(4000):
                sink.write(result_of(written, (320, 240), at_s=NOW_S + written / 25), noise)
        sink.abort()
        assert written > 5
        if name == "shots/":
            pictures = list(disk.glob("shots/*"))
            assert len(pictures) == written and all(cv2.imread(str(p)) is not None for p in pictures)
        else:
            assert written - 51 <= frames_of(disk / name) <= written + 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")
def test_a_full_disk_leaves_no_half_video_that_can_be_made_again(tmp_path, result_of):
    """OpenCV itself says nothing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
        with pytest.raises(DiskFullError, match="MB are free on that disk"), open_sink(disk / "a.avi") as sink:
            for i in range(400):
                sink.write(result_of(i, (320, 240)), noise)
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_recording_without_frames_is_none(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        for name in ("a.mp4", "a.jsonl"):
            with open_sink(tmp_path / name, live=True) as sink:
                pass
            assert sink.written == ()
    assert list(tmp_path.iterdir()) == [] and len(caplog.records) == 2
