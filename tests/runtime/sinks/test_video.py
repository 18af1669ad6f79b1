from __future__ import annotations

import logging
import subprocess
import sys

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import FrameError, SinkError
from sparsevit_runtime.sinks import StopStream, open_sink


def read_back(path):
    capture = cv2.VideoCapture(str(path))
    fps, images = capture.get(cv2.CAP_PROP_FPS), []
    while (got := capture.read())[0]:
        images.append(got[1])
    capture.release()
    return fps, images


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "OUT.MP4"])
@pytest.mark.parametrize(("fps", "expected"), [(None, 25.0), (12.5, 12.5), (29.97, 29.97)])
def test_frames_come_back(tmp_path, result_of, picture, name, fps, expected):
    with open_sink(tmp_path / name, fps=fps) as sink:
        assert sink.needs_image
        for i in range(5):
            sink.write(result_of(i, fps=expected), picture(40 * i))
        assert not (tmp_path / name).exists()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    got_fps, images = read_back(tmp_path / name)
    assert got_fps == pytest.approx(expected, abs=0.01)
    assert [image.shape for image in images] == [(48, 64, 3)] * 5
    np.testing.assert_allclose([image.mean() for image in images], [0, 40, 80, 120, 160], atol=6)


def test_odd_sizes_lose_their_last_row_and_column(tmp_path, result_of, picture):
    with open_sink(tmp_path / "a.mp4") as sink:
        sink.write(result_of(), picture(9, (65, 49)))
    assert read_back(tmp_path / "a.mp4")[1][0].shape == (48, 64, 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_another_size_goes_on_in_a_new_part(tmp_path, result_of, picture, name):
    with open_sink(tmp_path / name) as sink:
        for i, size_wh in enumerate([(64, 48), (64, 48), (32, 48), (64, 48)]):
            sink.write(result_of(i), picture(0, size_wh))
    parts = [tmp_path / name] + [tmp_path / f"a-{number:04d}{name[1:]}" for number in (2, 3)]
    assert sink.written == tuple(map(str, parts)) and sorted(tmp_path.iterdir()) == sorted(parts)
    shapes = [[image.shape for image in read_back(part)[1]] for part in parts]
    assert shapes == [[(48, 64, 3)] * 2, [(48, 32, 3)], [(48, 64, 3)]]


def test_abort_keeps_an_earlier_video(tmp_path, result_of, picture):
    (tmp_path / "a.mp4").write_bytes(b"earlier")
    sink = open_sink(tmp_path / "a.mp4")
    sink.write(result_of(), picture())
    sink.abort()
    sink.abort()
    sink.close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"earlier"


def test_close_replaces_an_earlier_video_and_may_be_repeated(tmp_path, result_of, picture):
    (tmp_path / "a.mp4").write_bytes(b"earlier")
    sink = open_sink(tmp_path / "a.mp4")
    sink.write(result_of(), picture())
    sink.close()
    sink.close()
    sink.abort()
    assert len(read_back(tmp_path / "a.mp4")[1]) == 1
    with pytest.raises(SinkError, match="closed"):
        sink.write(result_of(), picture())


def test_without_frames_there_is_no_video(tmp_path, caplog):
    with caplog.at_level(logging.WARNING), open_sink(tmp_path / "a.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
    assert "no frame was written" in caplog.text


def test_stopping_keeps_the_video_so_far(tmp_path, result_of, picture):
    with pytest.raises(StopStream), open_sink(tmp_path / "a.mp4") as sink:
        sink.write(result_of(), picture())
        raise StopStream
    assert len(read_back(tmp_path / "a.mp4")[1]) == 1


def test_a_video_that_was_not_written_whole_is_an_error(tmp_path, result_of, picture):
    sink = open_sink(tmp_path / "a.mp4")
    for i in range(200):  # encoders hold pictures back
        sink.write(result_of(i), picture(i))
    (part,) = tmp_path.iterdir()
    part.unlink()
    with pytest.raises(SinkError, match="MB are free"):
        sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (None, SinkError, "annotated image"),
        (np.zeros((48, 64), np.uint8), FrameError, "grey"),
        (np.zeros((1, 1, 3), np.uint8), SinkError, "2x2"),
    ],
)
def test_what_is_no_picture(tmp_path, result_of, image, error, message):
    with pytest.raises(error, match=message), open_sink(tmp_path / "a.mp4") as sink:
        sink.write(result_of(), image)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e9])
def test_rates_out_of_range(tmp_path, fps):
    with pytest.raises(SinkError, match="frames per second"):
        open_sink(tmp_path / "a.mp4", fps=fps)


def test_two_sinks_for_one_path_do_not_disturb_each_other(tmp_path, result_of, picture):
    first, second = open_sink(tmp_path / "a.mp4"), open_sink(tmp_path / "a.mp4")
    for i in range(3):
        first.write(result_of(i), picture())
    second.write(result_of(), picture())
    second.close()
    first.close()
    assert len(read_back(tmp_path / "a.mp4")[1]) == 3


@pytest.mark.parametrize("size_wh", [(64, 48), (65, 49), (16, 2)])
def test_mp4_is_h264_that_starts_before_it_is_loaded(tmp_path, result_of, picture, size_wh):
    with open_sink(tmp_path / "a.mp4", fps=29.97) as sink:
        for i in range(5):
            sink.write(result_of(i, fps=29.97), picture(40 * i, size_wh))
    assert sink.codec == "H.264"
    data = (tmp_path / "a.mp4").read_bytes()
    assert b"avc1" in data and data.index(b"moov") < data.index(b"mdat")
    fps, images = read_back(tmp_path / "a.mp4")
    assert len(images) == 5 and fps == pytest.approx(29.97, abs=0.001)


def test_without_pyav_it_is_mpeg4(tmp_path, result_of, picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with open_sink(tmp_path / "a.mp4") as sink:
        sink.write(result_of(), picture())
    assert sink.codec == "MPEG-4" and b"mp4v" in (tmp_path / "a.mp4").read_bytes()


@pytest.mark.parametrize("pyav", [True, False])
@pytest.mark.parametrize("fps", [119.8765, 59.9401, 700.123, 65.5361, 999.999, 0.01])
def test_any_rate_is_written(tmp_path, result_of, picture, monkeypatch, pyav, fps):
    if not pyav:
        monkeypatch.setitem(sys.modules, "av", None)
    with open_sink(tmp_path / "a.mp4", fps=fps) as sink:
        for i in range(3):
            sink.write(result_of(i, fps=fps), picture())
    got, images = read_back(tmp_path / "a.mp4")
    assert len(images) == 3 and got == pytest.approx(fps, rel=2e-3)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/shm is Linux's")
def test_a_full_disk_is_told_at_once_with_h264(tmp_path, result_of):
    """A file system of 512 kB, where mounting one is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        sink = open_sink(disk / "a.mp4")
        noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
        with pytest.raises(SinkError, match="MB are free on that disk"):
            for i in range(500):
                sink.write(result_of(i, (640, 480)), noise)
        sink.abort()
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
