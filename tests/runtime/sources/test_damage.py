"""A frame that does not decode, the end, and a lost link are three things."""

from __future__ import annotations

import itertools
import logging

import cv2
import numpy as np
import pytest

from clips import damage, write_clip
from sparsevit_runtime.sources import open_source
from sparsevit_runtime.sources.capture import Capture
from sparsevit_runtime.sources.pictures import Pictures

pytest.importorskip("av", reason="PyAV writes the clips")


def test_reading_goes_on_behind_frames_that_do_not_decode(tmp_path, caplog):
    path = damage(write_clip(tmp_path / "a.avi", codec="mjpeg"))
    source = open_source(path)
    frames = list(source)
    missing = sorted(set(range(59)) - {frame.index for frame in frames})
    assert len(frames) == 58 and source.damaged == 1 and len(missing) == 1
    assert [round(frame.timestamp_ns / 1e6) for frame in frames] == [40 * frame.index for frame in frames]
    assert f"1 frame before frame {missing[0] + 1} did not decode; reading on" in caplog.text


def read_on(path, frames):
    """Number and mean of each of so many frames that OpenCV reads, whether those before it failed or not."""
    capture = cv2.VideoCapture(str(path))
    for index in range(frames):
        done, image = capture.read()
        if done:
            yield index, image.mean()
    capture.release()


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_many_damaged_frames_in_a_row_are_not_the_end(tmp_path, codec):
    path = damage(write_clip(tmp_path / "a.mp4", codec=codec))
    source = open_source(path)
    frames = list(source)
    assert [(f.index, f.image.mean()) for f in frames] == list(read_on(path, 60))
    assert frames[-1].index == 59 and frames[-1].timestamp_ns == 59 * 40_000_000
    assert 5 < source.damaged < 40 and len(frames) + source.damaged == 60
    assert [f.timestamp_ns for f in frames] == [f.index * 40_000_000 for f in frames]


def test_frames_that_a_container_passes_over_are_counted_at_the_end(tmp_path, caplog):
    """Matroska looks for the next cluster, or block, behind what is damaged: nothing fails, frames are not there."""
    source = open_source(damage(write_clip(tmp_path / "a.mkv")))
    frames = list(source)
    assert len(frames) < 50 and len(frames) + source.damaged == 60
    assert f"{source.damaged} frames are missing or damaged" in caplog.text


def test_frames_that_nobody_wants_are_left_out_with_their_indices_beside_those_that_do_not_decode(tmp_path):
    path = damage(write_clip(tmp_path / "a.avi", codec="mjpeg"))
    every = {index: image.copy() for index, image in read_images(path)}
    pictures = Pictures(Capture(str(path)), "clip", most_failures=10, longest_s=5.0, expected=59, live=False)
    asked = itertools.count()
    pictures.ask(lambda: next(asked) % 4 == 0)
    taken = []
    while (got := pictures.read()) is not None:
        taken.append(got)
    pictures.close()
    assert len(every) == 58  # and of nothing else was anybody asked
    assert [index for index, _ in taken] == sorted(every)[::4]
    assert all(np.array_equal(picture.image, every[index]) for index, picture in taken)


def read_images(path):
    with open_source(path) as source:
        for frame in source:
            yield frame.index, frame.image


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_whole_clip_has_no_damage(tmp_path, caplog, name):
    with caplog.at_level(logging.WARNING):
        source = open_source(write_clip(tmp_path / name))
        assert [f.index for f in source] == list(range(60))
    assert (source.damaged, caplog.text) == (0, "")


def test_pictures_of_a_folder_that_do_not_decode_are_counted(tmp_path):
    import numpy as np

    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8, 3), 60 * i, np.uint8))
    (tmp_path / "1.png").write_bytes(b"no picture")
    source = open_source(tmp_path)
    assert [f.index for f in source] == [0, 2, 3] and source.damaged == 1
