from __future__ import annotations

import os
import sys

import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks import open_sink


@pytest.mark.parametrize(
    "uri", ["", " ", "out.mkv", "out.txt", "ftp://0.0.0.0:8080", "null://x", "display://1", "a.mp4?x=1"]
)
def test_what_is_no_sink_lists_what_is(uri):
    with pytest.raises(SinkError, match=r"accepted: out\.mp4, out\.avi, a folder"):
        open_sink(uri)


@pytest.mark.parametrize("name", ["a.mp4", "a.jsonl", "frames/"])
@pytest.mark.parametrize(("place", "message"), [("missing", "there is no folder"), ("file", "is a file, not a folder")])
def test_a_bad_folder_shows_at_open_time(tmp_path, name, place, message):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=message):
        open_sink(f"{tmp_path}/{place}/{name}")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc refuses files on Linux, for root as well")
@pytest.mark.parametrize("name", ["a.mp4", "a.jsonl", "frames/"])
def test_a_folder_that_refuses_files_shows_at_open_time(name):
    with pytest.raises(SinkError, match="cannot write in the folder '/proc'"):
        open_sink(f"/proc/{name}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_shows_at_open_time(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="check its permissions"):
        open_sink(tmp_path / "a.mp4")


def test_a_camera_is_no_sink():
    with pytest.raises(SinkError, match="is a camera"):
        open_sink("/dev/video98")
    assert not os.path.exists("/dev/video98")


def test_an_existing_folder_is_a_folder_whatever_its_name(tmp_path, result_of, picture):
    (tmp_path / "a.mp4").mkdir()
    with open_sink(tmp_path / "a.mp4") as sink:
        sink.write(result_of(), picture())
    assert [p.name for p in (tmp_path / "a.mp4").iterdir()] == ["frame_000000.jpg"]


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    open_sink("~/a.jsonl").close()
    assert (tmp_path / "a.jsonl").exists()
