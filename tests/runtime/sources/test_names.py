"""File names and addresses that other programs read as something else."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from runtime.sources.test_video import write_video
from sparsevit_runtime.errors import PermanentSourceError
from sparsevit_runtime.live.feeds import open_feed
from sparsevit_runtime.sources import may_be_live, open_source


@pytest.mark.parametrize("name", ["2026-11-27T12:30:05.avi", "rtsp:clip.avi", "a#b?c.avi", "50%.avi"])
def test_names_with_colons_and_other_marks_are_files_relative_and_absolute(tmp_path, monkeypatch, name):
    write_video(tmp_path / "plain.avi").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for given in (name, str(tmp_path / name)):
        with open_source(given) as source:
            assert len(list(source)) == 12 and not source.live


def test_a_motion_photo_is_one_picture(tmp_path):
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    video = write_video(tmp_path / "a.mp4", codec="mp4v").read_bytes()
    (tmp_path / "photo.jpg").write_bytes(jpeg + video)
    assert [f.image.shape for f in open_source(tmp_path / "photo.jpg")] == [(48, 64, 3)]


@pytest.mark.parametrize("open", [open_source, open_feed])
def test_a_password_that_ends_its_part_of_an_address_is_hidden(open):
    with pytest.raises(PermanentSourceError, match="%23 for #") as caught:
        open("rtsp://user:pa#ss@host/x")
    assert "pa#ss" not in str(caught.value) and "ss@" not in str(caught.value)


def test_no_password_is_printed_by_the_libraries_below():
    """OpenCV tells the name of what it cannot open on stderr, FFmpeg too."""
    code = "from sparsevit_runtime.sources import open_source; open_source('{}')"
    for url in (
        "rtsp://me:s3cret@127.0.0.1:9/live",
        "http://me:s3cret@127.0.0.1:9/a.mp4",
        "tcp://me:s3cret@127.0.0.1:9",
    ):
        run = subprocess.run(
            [sys.executable, "-c", code.format(url)],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        lines = [line for line in run.stderr.splitlines() if "s3cret" in line and "open_source('" not in line]
        assert run.returncode and "SourceError" in run.stderr and not lines


@pytest.mark.parametrize(
    ("uri", "live"),
    [
        (0, True),
        ("/dev/video0?fps=30", True),
        ("csi://0", True),
        ("rtsp://cam/live", True),
        ("http://cam/a.mp4", None),
        ("a.mp4", False),
        ("frames/*.png", False),
        ("synthetic://street", False),
        ("sample://", False),
    ],
)
def test_what_a_form_says_of_an_end(uri, live):
    assert may_be_live(uri) is live
