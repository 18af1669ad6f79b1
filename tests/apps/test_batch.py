from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from batch_jobs import assert_as_streamed, read_rows
from clips import pictures, write_clip
from sparsevit_apps.commands import batch
from sparsevit_runtime import load

pytest.importorskip("pyarrow")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clip, two images, and one that is none."""
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "clip.mp4", 36)
    for i, image in enumerate(pictures(2)):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), image)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    return tmp_path / "in"


def test_an_archive_becomes_a_data_set(sparsevit, tiny_model, folder: Path, tmp_path: Path):
    model, out = tiny_model(), tmp_path / "out"
    command = ("batch", folder, out, "-m", model, "-s", "0.5", "--coco", "--segment-frames", 12, "--workers", 1)
    said = sparsevit(*command)
    assert said.code == 0, said.err
    assert "38 frames of 4 inputs" in said.out
    unwrapped = "".join(said.out.split())  # long paths are wrapped anywhere
    assert "broken(1)" in unwrapped and "bad.jpg:its10bytesdonotdecode" in unwrapped
    rows = read_rows(out)
    of_clip = [row for row in rows if row["source"] == str(folder / "clip.mp4")]
    with load(model, threads=1) as opened:
        assert_as_streamed(of_clip, opened, folder / "clip.mp4", 0.5)
    assert sparsevit("run", folder / "clip.mp4", tmp_path / "out.jsonl", "-m", model, "-s", "0.5").code == 0
    said = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["frame_index"], row["timestamp_ns"], row["keep"]) for row in of_clip] == [
        (line["frame"], line["timestamp_ns"], line["keep"]) for line in said
    ]
    assert len(json.loads((out / "_coco.json").read_text())["images"]) == 38
    again = sparsevit(*command)
    assert again.code == 0 and "4 were finished before" in again.out
    assert read_rows(out) == rows


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nothing/",), 1, "there is no"),
        (("{folder}", "--engine", "processes", "--ray-address", "host:1"), 2, "have no cluster"),
        (("{folder}", "-m", "gone.onnx"), 1, "cannot read gone.onnx"),
        (("{folder}", "-s", "7"), 1, "7"),
    ],
)
def test_what_it_refuses(sparsevit, tiny_model, folder: Path, tmp_path: Path, arguments, code, message):
    texts = [each.format(folder=folder) for each in arguments]
    texts += [] if "-m" in texts else ["-m", str(tiny_model())]
    said = sparsevit("batch", texts[0], tmp_path / "out", *texts[1:])
    assert said.code == code
    assert message in said.err


def test_parts_that_fail_make_the_exit_code_1_and_are_tried_again(sparsevit, tiny_model, folder: Path, tmp_path: Path):
    names = tmp_path / "list.txt"
    names.write_text(f"{folder}/0.png\nnowhere://x/1.png\n")
    command = ("batch", names, tmp_path / "out", "-m", tiny_model(), "--workers", 1)
    said = sparsevit(*command)
    assert said.code == 1
    assert "1 of 1 parts failed" in said.err and "nowhere" in said.err
    names.unlink()  # it is planned
    (place := tmp_path / "out" / "_sparsevit" / "plan.jsonl").write_text(
        place.read_text().replace("nowhere://x/1.png", f"{folder}/1.png")
    )
    assert sparsevit(*command).code == 0


def test_progress_where_no_bar_is_drawn(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(batch.time, "monotonic", lambda: now[0])
    lines = batch._Lines()
    lines.start("frames", 1000)
    for at, done in ((10.0, 100), (40.0, 200), (50.0, 300), (80.0, 500)):
        now[0] = at
        lines.advance(done)
    assert capsys.readouterr().err.splitlines() == [
        "frames: 200 of 1000, 5.0 a second, 0:02:40 left",
        "frames: 500 of 1000, 6.2 a second, 0:01:20 left",
    ]


def test_sigterm_stops_a_job_that_goes_on_later(tiny_model, folder: Path, environment, tmp_path: Path, sparsevit):
    os.mkfifo(folder / "2.png")  # whose reader waits
    names = tmp_path / "list.txt"
    names.write_text("\n".join(str(folder / name) for name in ("0.png", "1.png", "2.png")))
    model, out = tiny_model(), tmp_path / "out"
    command = [sys.executable, "-m", "sparsevit", "batch", names, out, "-m", model, "--workers", "1", "--debug"]
    started = subprocess.Popen([str(each) for each in command], env=environment, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 180
    while not list((out / "_sparsevit").glob("begun/*")):
        assert time.monotonic() < until and started.poll() is None
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=180)
    assert started.returncode == 143 and "stopped" in err
    (folder / "2.png").unlink()  # it is told as broken then, for it was planned
    said = sparsevit(*[str(each) for each in command[3:-1]])
    assert said.code == 0
    assert "2.png: No such file" in said.out
