"""`sparsevit run` on several cameras at once, and with a target in place of a sparsity."""

from __future__ import annotations

import json

import pytest

from clips import write_clip
from served import camera, jpeg, serve, status

pytestmark = pytest.mark.timed


@pytest.fixture
def server():
    with serve() as serving:
        for name, shade in (("/left", 10), ("/right", 200)):
            serving.routes[name] = camera([jpeg(shade)] * 2000, pause_s=0.01)
        yield serving


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_several_cameras_run_together_each_into_a_file_of_its_own(sparsevit, tiny_model, tmp_path, server):
    left, right = server.url("/left"), server.url("/right")
    told = sparsevit(
        "run", left, right, "-o", f"{tmp_path}/out/", "-o", tmp_path / "all.jsonl", "-m", tiny_model(), "--frames", "12"
    )
    assert told.code == 0, told.err
    rows = lines(tmp_path / "all.jsonl")
    assert {name: [r["source"] for r in rows].count(name) for name in (left, right)} == {left: 12, right: 12}
    assert len({r["source"] for r in rows[:10]}) == 2  # together, not one after the other
    for name in (left, right):
        indices = [row["frame"] for row in rows if row["source"] == name]
        assert indices == sorted(set(indices))
        assert f"source {name}" in " ".join(told.out.split())
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 2


def test_a_camera_that_goes_away_leaves_the_other(sparsevit, tiny_model, tmp_path, server):
    server.routes["/short"] = camera([jpeg(90)] * 3, pause_s=0.02)
    short, left = server.url("/short"), server.url("/left")
    told = sparsevit(
        "run", short, left, "-o", tmp_path / "all.jsonl", "-m", tiny_model(), "--max-reconnect", "0", "--frames", "60"
    )
    assert told.code == 0, told.err
    rows = [row["source"] for row in lines(tmp_path / "all.jsonl")]
    assert 1 <= rows.count(short) <= 3 and rows.count(left) == 60


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s, c: (s.url("/left"), s.url("/left"), "-o", "o/"), "given twice"),
        (lambda s, c: (s.url("/left"), c, "-o", "o/"), "is a file, and cameras come before it"),
        (lambda s, c: (c, s.url("/left"), "-o", "o.jsonl"), "run cameras by themselves"),
        (lambda s, c: (s.url("/left"), s.url("/missing"), "-o", "o/"), "503"),
        (lambda s, c: (s.url("/left"), s.url("/right"), "-o", "out.mp4"), "takes one source"),
    ],
)
def test_what_does_not_run_together_is_told(sparsevit, tiny_model, tmp_path, server, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)
    server.routes["/missing"] = status(503)
    clip = write_clip(tmp_path / "clip.avi", codec="mjpeg")
    told = sparsevit("run", *make(server, clip), "-m", tiny_model())
    assert told.code == 1 and message in " ".join(told.err.split())


def test_a_target_chooses_the_sparsity_and_says_why(sparsevit, tiny_model, tmp_path):
    told = sparsevit(
        "run", "synthetic://street?size=96x64&frames=20", tmp_path / "out.jsonl", "-m", tiny_model(),
        "--target-ms", "0.001", "--levels", "0,50%",
    )  # fmt: skip
    assert told.code == 0, told.err
    rows = lines(tmp_path / "out.jsonl")
    assert rows[0]["window_share"] == 1 and rows[-1]["window_share"] < 0.6
    assert "no level is faster" in rows[-1]["level_reason"] and "no level is faster" in told.out
    assert "pruned at the end" in told.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target-ms", "50", "--sparsity", "0.5"), "leave one out"),
        (("--levels", "0,0.5"), "add --target-ms"),
        (("--target-fps", "0"), "a number above 0"),
        (("--target-ms", "nan"), "a number above 0"),
        (("--target-ms", "50", "--levels", "0,,1"), "empty entry"),
        (("--target-ms", "50", "--levels", "0,2"), "from 0 to 1"),
        (("--max-age-ms", "-1"), "max_age_ms"),
    ],
)
def test_targets_that_are_none(sparsevit, tiny_model, tmp_path, words, message):
    told = sparsevit("run", "synthetic://street?size=96x64&frames=2", "null://", "-m", tiny_model(), *words)
    assert told.code == 1 and message in " ".join(told.err.split())
