from __future__ import annotations

import pytest

from sparsevit_runtime.errors import SinkError, SourceError
from sparsevit_runtime.sinks import open_sink
from sparsevit_runtime.sources import open_source


@pytest.mark.parametrize("uri", ["", "  ", None, True, 1.5, b"a.mp4", "ftp://host/a.mp4", "gopher://x"])
def test_what_is_no_source_lists_what_is(uri):
    with pytest.raises(SourceError, match="accepted: a camera index"):
        open_source(uri)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("~nosuchuser/x.mp4", "home directory"),
        ("x" * 300, "too long"),
        (f"{'x' * 300}.mp4", "too long"),
        (f"{'x' * 300}/a.mp4", "too long"),
        ("a\0b.mp4", "null byte"),
    ],
)
def test_a_name_that_no_file_can_have(uri, reason):
    with pytest.raises(SourceError, match=f"cannot be opened .*{reason}") as error:
        open_source(uri)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("uri", ["~nosuchuser/x.mp4", f"{'x' * 300}.jsonl", "x" * 300, "a\0b", "\ud800/"])
def test_a_name_that_no_sink_can_have(uri):
    with pytest.raises(SinkError, match="is no path that can be written"):
        open_sink(uri)


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "clip1.mp4").touch()
    with pytest.raises(SourceError, match=r"files like it there: clip1\.mp4"):
        open_source(tmp_path / "clip.mp4")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SourceError, match="does not exist either"):
        open_source(tmp_path / "nowhere" / "clip.mp4")
