from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks import open_sink


@pytest.mark.parametrize(
    ("options", "suffix", "tolerance"), [("", "jpg", 3), ("?format=jpg", "jpg", 3), ("?format=png", "png", 0)]
)
def test_frames_are_numbered_by_index(tmp_path, result_of, picture, options, suffix, tolerance):
    with open_sink(f"{tmp_path}/out/{options}") as sink:
        assert sink.needs_image
        for index in (0, 7, 1234567):
            sink.write(result_of(index), picture(index % 200))
    names = [f"frame_000000.{suffix}", f"frame_000007.{suffix}", f"frame_1234567.{suffix}"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    image = cv2.imread(str(tmp_path / "out" / names[1]))
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - 7).max() <= tolerance


@pytest.mark.parametrize("uri", ["{}/out", "{}/out/", "{}"])
def test_what_counts_as_a_folder(tmp_path, result_of, picture, uri):
    with open_sink(uri.format(tmp_path)) as sink:
        sink.write(result_of(), picture())
    assert len(list(tmp_path.rglob("frame_000000.jpg"))) == 1


def test_an_earlier_run_is_mentioned_and_its_numbers_replaced(tmp_path, result_of, picture, caplog):
    for value in (10, 200):
        with caplog.at_level(logging.WARNING), open_sink(tmp_path) as sink:
            sink.write(result_of(), picture(value))
    assert caplog.text.count("frames of an earlier run") == 1
    assert abs(int(cv2.imread(str(tmp_path / "frame_000000.jpg")).mean()) - 200) < 5


def test_sizes_may_differ(tmp_path, result_of, picture):
    with open_sink(tmp_path) as sink:
        sink.write(result_of(0), picture(0, (64, 48)))
        sink.write(result_of(1), picture(0, (32, 20)))
    assert cv2.imread(str(tmp_path / "frame_000001.jpg")).shape == (20, 32, 3)


def test_an_abort_leaves_whole_frames_only(tmp_path, result_of, picture):
    with pytest.raises(SinkError, match="annotated image"), open_sink(tmp_path) as sink:
        sink.write(result_of(0), picture())
        sink.write(result_of(1), None)
    assert [p.name for p in tmp_path.iterdir()] == ["frame_000000.jpg"]


@pytest.mark.parametrize("options", ["?format=gif", "?format=", "?quality=3"])
def test_bad_options(tmp_path, options):
    with pytest.raises(SinkError, match="jpg"):
        open_sink(f"{tmp_path}/{options}")


def test_a_folder_that_vanishes_is_an_error(tmp_path, result_of, picture):
    sink = open_sink(tmp_path / "out")
    (tmp_path / "out").rmdir()
    with pytest.raises(SinkError, match="cannot write"):
        sink.write(result_of(), picture())
