"""Recordings in parts: by time, by size, numbered on, the oldest removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from played import play
from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks import open_sink
from sparsevit_runtime.sinks.options import parse_bytes, parse_duration

NOW_S = 1_795_000_000


@pytest.fixture
def record(result_of, picture):
    """Writes pictures at ten per second, and closes; the names of the files."""

    def write(uri, frames, live=True):
        with open_sink(uri, fps=10, live=live) as sink:
            for i in range(frames):
                sink.write(result_of(i, at_s=NOW_S + i / 10), picture(3 * i % 250))
        assert all(Path(name).is_file() for name in sink.written)
        return [Path(name).name for name in sink.written]

    return write


def frames_in(path) -> list[int]:
    return [json.loads(line)["frame"] for line in Path(path).read_text().splitlines()]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".jsonl"])
def test_a_part_lasts_so_long(tmp_path, record, suffix, live):
    names = [f"a-{number:04d}{suffix}" for number in (1, 2, 3)]
    assert record(f"{tmp_path}/a{suffix}?every=2s", 45, live) == names
    assert sorted(os.listdir(tmp_path)) == names
    parts = [tmp_path / name for name in names]
    if suffix == ".jsonl":
        assert [frames_in(part) for part in parts] == [list(range(20)), list(range(20, 40)), list(range(40, 45))]
    else:
        assert [play(part).times_s for part in parts] == [
            pytest.approx([i / 10 for i in range(count)], abs=1e-4) for count in (20, 20, 5)
        ]


@pytest.mark.parametrize("live", [False, True])
def test_lines_of_a_part_are_no_larger_than_asked(tmp_path, record, live):
    names = record(f"{tmp_path}/a.jsonl?size=1kB", 20, live)
    parts = [tmp_path / name for name in names]
    assert len(parts) > 3 and all(part.stat().st_size < 1000 for part in parts)
    assert [frame for part in parts for frame in frames_in(part)] == list(range(20))


@pytest.mark.parametrize("live", [False, True])
def test_a_video_part_ends_when_it_is_as_large_as_asked(tmp_path, record, live):
    names = record(f"{tmp_path}/a.mp4?size=4kB&every=1h", 200, live)
    assert len(names) > 2
    assert sum(len(play(tmp_path / name).times_s) for name in names) == 200
    assert all((tmp_path / name).stat().st_size > 3000 for name in names[:-1])


def test_numbers_go_on_and_nothing_is_written_over(tmp_path, record):
    assert record(f"{tmp_path}/a.jsonl?every=1s", 15) == ["a-0001.jsonl", "a-0002.jsonl"]
    (tmp_path / "a-0007.jsonl").write_text("mine")
    (tmp_path / "a-12.jsonl").write_text("of another form")
    assert record(f"{tmp_path}/a.jsonl?every=1s", 15) == ["a-0008.jsonl", "a-0009.jsonl"]
    assert frames_in(tmp_path / "a-0001.jsonl") == list(range(10))
    assert (tmp_path / "a-0007.jsonl").read_text() == "mine"


@pytest.mark.parametrize("suffix", [".mp4", ".jsonl"])
def test_the_newest_are_kept(tmp_path, record, suffix):
    uri = f"{tmp_path}/a{suffix}?every=1s&keep=2"
    assert record(uri, 45) == [f"a-0004{suffix}", f"a-0005{suffix}"]
    assert record(uri, 5) == [f"a-0006{suffix}"]  # those of an earlier run count, too
    assert sorted(os.listdir(tmp_path)) == [f"a-0005{suffix}", f"a-0006{suffix}"]
    (tmp_path / f"a-0005{suffix}").write_text("mine")
    assert record(uri, 15) == [f"a-0007{suffix}", f"a-0008{suffix}"]
    assert (tmp_path / f"a-0005{suffix}").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("every=0", "no time"),
        ("every=soon", "no time"),
        ("every=-5", "no time"),
        ("size=0", "no size"),
        ("size=lots", "no size"),
        ("size=1e999", "no size"),
        ("keep=0&every=1s", "no count"),
        ("keep=2", "needs parts"),
        ("every=1s&every=2s", "twice"),
        ("after=1s", "unknown option 'after'"),
        ("every", "accepted: "),
        ("", "accepted: "),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".jsonl"])
def test_options_that_mean_nothing(tmp_path, suffix, option, words):
    with pytest.raises(SinkError, match=words):
        open_sink(f"{tmp_path}/a{suffix}?{option}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5h", 5400), (".5m", 30), ("1d", 86400), ("10s", 10)])
def test_how_long_a_part_may_be(tmp_path, record, text, seconds):

    assert parse_duration(text) == seconds
    assert record(f"{tmp_path}/a.jsonl?every={text}", 3) == ["a-0001.jsonl"]


@pytest.mark.parametrize(("text", "size"), [("500MB", 500_000_000), ("2GiB", 2 << 30), ("4096", 4096), ("1.5kB", 1500)])
def test_how_large_a_part_may_be(text, size):

    assert parse_bytes(text) == size


def test_masks_and_parts_together(tmp_path, record):
    assert record(f"{tmp_path}/a.jsonl?masks=rle&every=1s", 15) == ["a-0001.jsonl", "a-0002.jsonl"]
