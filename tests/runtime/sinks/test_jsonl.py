from __future__ import annotations

import json

import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks import StopStream, open_sink


def test_one_object_a_line(tmp_path, result_of):
    results = [result_of(i) for i in (0, 3)]
    with open_sink(tmp_path / "a.jsonl") as sink:
        assert not sink.needs_image
        for result in results:
            sink.write(result, None)
        assert not (tmp_path / "a.jsonl").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [result.to_dict() for result in results]


def test_an_empty_run_is_an_empty_file(tmp_path):
    with open_sink(tmp_path / "a.jsonl"):
        pass
    assert (tmp_path / "a.jsonl").read_bytes() == b""


def test_abort_leaves_what_was_there(tmp_path, result_of):
    (tmp_path / "a.jsonl").write_text("earlier")
    with pytest.raises(KeyError), open_sink(tmp_path / "a.jsonl") as sink:
        sink.write(result_of())
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]
    assert (tmp_path / "a.jsonl").read_text() == "earlier"


def test_stopping_keeps_the_lines_so_far(tmp_path, result_of):
    with pytest.raises(StopStream), open_sink(tmp_path / "a.jsonl") as sink:
        sink.write(result_of())
        raise StopStream
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1


def test_closed_is_closed(tmp_path, result_of):
    sink = open_sink(tmp_path / "a.jsonl")
    sink.close()
    sink.close()
    sink.abort()
    with pytest.raises(SinkError, match="closed"):
        sink.write(result_of())
