"""Where results go: names, several inputs, pipes, links, and files that are somebody else's."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_tools

STREET = "synthetic://street?size=96x64&frames=3"


def write_picture(path, value=90, size_wh=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size_wh[1], size_wh[0], 3), value, np.uint8))
    return path


def write_clip(path, frames=3):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (96, 64))
    for i in range(frames):
        writer.write(np.full((64, 96, 3), 40 * i, np.uint8))
    writer.release()
    return path


def frames_of(path):
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.grab():
        count += 1
    return count


@pytest.fixture
def run(sparsevit, tiny_model):
    """`sparsevit run` with a tiny model."""
    model = tiny_model()

    def run(*arguments):
        return sparsevit("run", *arguments, "-m", model)

    return run


def test_several_clips_without_o_are_refused_and_stay(run, tmp_path):
    clips = [write_clip(tmp_path / f"{name}.mp4") for name in "abc"]
    before = [clip.read_bytes() for clip in clips]
    said = run(*clips)
    assert said.code == 1 and "-o out/" in said.err
    assert [clip.read_bytes() for clip in clips] == before


@pytest.mark.parametrize("second", ["1", "/dev/video98", "1?size=640x480"])
def test_a_second_camera_is_no_place_for_results(run, tmp_path, monkeypatch, second):
    monkeypatch.chdir(tmp_path)
    said = run("0", second)
    assert said.code == 1 and "is a camera" in said.err and "-o out/" in said.err
    assert not os.path.exists("/dev/video98") and os.listdir(tmp_path) == ["tiny.onnx"]


def test_several_clips_become_videos_of_their_names(run, tmp_path):
    clips = [write_clip(tmp_path / f"{name}.mp4", 2 + i) for i, name in enumerate("abc")]
    said = run(*clips, "-o", f"{tmp_path}/out/", "-o", tmp_path / "all.jsonl")
    assert said.code == 0, said.err
    assert {p.name: frames_of(p) for p in (tmp_path / "out").iterdir()} == {"a.mp4": 2, "b.mp4": 3, "c.mp4": 4}
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [(line["source"], line["frame"]) for line in lines] == [
        (str(clip), frame) for i, clip in enumerate(clips) for frame in range(2 + i)
    ]


def test_clips_of_one_name_in_two_folders(run, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_clip(tmp_path / name / "x.mp4")
    assert run(tmp_path / "one" / "x.mp4", tmp_path / "two" / "x.mp4", "-o", f"{tmp_path}/out/").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["two-x.mp4", "x.mp4"]


def test_a_damaged_input_costs_itself(run, tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"no video")
    said = run(
        write_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", write_clip(tmp_path / "c.mp4"), "-o", f"{tmp_path}/o/"
    )
    assert said.code == 1 and "b.mp4" in said.err and "cannot decode" in said.err
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["a.mp4", "c.mp4"]


def test_a_place_that_is_taken_costs_its_own_input(run, tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a.mp4").write_text("mine")
    clips = [write_clip(tmp_path / f"{name}.mp4") for name in "ab"]
    (tmp_path / "missing").mkdir()
    said = run(tmp_path / "missing" / "x.mp4", *clips, "-o", f"{tmp_path}/o/", "-o", tmp_path / "all.jsonl")
    assert said.code == 1 and "--overwrite" in said.err and "there is no file" in said.err
    assert (tmp_path / "o" / "a.mp4").read_text() == "mine" and frames_of(tmp_path / "o" / "b.mp4") == 3
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == [str(clips[1])] * 3


def test_one_video_cannot_take_several_sources(run, tmp_path):
    said = run(write_clip(tmp_path / "a.mp4"), write_clip(tmp_path / "b.mp4"), "-o", tmp_path / "out.mp4")
    assert said.code == 1 and "takes one source, and 2 are given" in said.err
    assert not (tmp_path / "out.mp4").exists()


def test_photo_in_photo_out(run, tmp_path):
    photo = write_picture(tmp_path / "photo.png", size_wh=(61, 43))
    said = run(photo, tmp_path / "out.png", tmp_path / "out.jsonl", "--no-draw")
    assert said.code == 0, said.err
    assert np.array_equal(cv2.imread(str(tmp_path / "out.png")), cv2.imread(str(photo)))
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert (line["file"], line["source"], line["image_wh"]) == (str(photo), str(photo), [61, 43])


def test_a_folder_gives_a_folder_with_the_same_names(run, tmp_path):
    sizes = {"b.jpg": (60, 40), "a.png": (33, 50), "10.bmp": (20, 20), "9.tif": (40, 30)}
    for name, size_wh in sizes.items():
        write_picture(tmp_path / "in" / name, size_wh=size_wh)
    (tmp_path / "in" / "99.jpg").write_bytes(b"\xff\xd8 nothing")
    assert run(tmp_path / "in", f"{tmp_path}/out/", tmp_path / "out.jsonl").code == 0
    written = {p.name: cv2.imread(str(p)).shape[1::-1] for p in (tmp_path / "out").iterdir()}
    assert written == sizes
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    # The one that does not decode keeps its place.
    assert [(line["frame"], os.path.basename(line["file"])) for line in lines] == [
        (0, "9.tif"),
        (1, "10.bmp"),
        (3, "a.png"),
        (4, "b.jpg"),
    ]


def test_names_that_would_meet_are_kept_apart(run, tmp_path):
    for name in ("one/x.jpg", "two/x.jpg", "two/x.bmp"):
        write_picture(tmp_path / name)
    assert run(f"{tmp_path}/*/x.*", f"{tmp_path}/out/?format=png").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["x.bmp.png", "x.jpg.png", "x.png"]
    assert run(f"{tmp_path}/*/x.jpg", f"{tmp_path}/same/").code == 0
    assert sorted(p.name for p in (tmp_path / "same").iterdir()) == ["two-x.jpg", "x.jpg"]


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_photos_are_never_drawn_over_themselves(run, tmp_path, options):
    photo = write_picture(tmp_path / "in" / "a.png")
    before = photo.read_bytes()
    for sink in (f"{tmp_path}/in/", photo):
        said = run(tmp_path / "in", sink, *options)
        assert said.code == 1 and ("exists" in said.err or "is the image that is read" in said.err)
        assert photo.read_bytes() == before


def test_a_single_picture_takes_one_frame(run, tmp_path):
    said = run(STREET, tmp_path / "out.jpg")
    assert said.code == 1 and "--frames 1" in said.err
    assert run(STREET, tmp_path / "out.jpg", "--frames", 1).code == 0
    assert cv2.imread(str(tmp_path / "out.jpg")).shape == (64, 96, 3)


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "out.jsonl", "out.png", "shots/frame_000000.jpg"])
def test_only_own_results_are_replaced_unasked(run, tmp_path, name):
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"mine")
    sink = f"{place.parent}/" if "/" in name else place
    said = run(STREET, sink, "--frames", 1)
    assert said.code == 1 and "--overwrite" in said.err and place.read_bytes() == b"mine"
    assert run(STREET, sink, "--frames", 1, "--overwrite").code == 0
    first = place.read_bytes()
    assert first != b"mine" and run(STREET, sink, "--frames", 1).code == 0  # what a run wrote, the next may replace
    with place.open("ab") as file:
        file.write(b" and a note")
    assert run(STREET, sink, "--frames", 1).code == 1  # somebody changed it


def test_a_link_stays_a_link(run, tmp_path):
    (tmp_path / "disk").mkdir()
    for name in ("out.jsonl", "out.mp4", "out.png"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)  # to nothing yet
        assert run(STREET, tmp_path / name, "--frames", 1).code == 0
        assert (tmp_path / name).is_symlink() and (tmp_path / "disk" / name).stat().st_size > 0


def test_a_named_pipe_gets_lines_as_they_come(run, tmp_path):
    os.mkfifo(tmp_path / "lines")
    read = []
    reader = threading.Thread(target=lambda: read.extend((tmp_path / "lines").open().read().splitlines()), daemon=True)
    reader.start()
    assert run(STREET, tmp_path / "lines").code == 0
    reader.join(10)
    assert [json.loads(line)["frame"] for line in read] == [0, 1, 2]
    assert stat.S_ISFIFO((tmp_path / "lines").stat().st_mode)


def test_a_dash_is_stdout_and_nothing_else_is_there(run, tmp_path):
    said = run(STREET, "-")
    assert said.code == 0
    assert [json.loads(line)["frame"] for line in said.out.splitlines()] == [0, 1, 2]
    assert "frames/s" in said.err
    quiet = run(STREET, "-", "-q")
    assert len(quiet.out.splitlines()) == 3 and quiet.err == ""


@pytest.mark.parametrize(("place", "into"), [("/dev/stdout", "> lines"), ("/dev/fd/1?masks=rle", "| cat > lines")])
def test_the_names_of_stdout_are_stdout_whatever_stands_behind_it(tiny_model, environment, tmp_path, place, into):
    command = f"{sys.executable} -m sparsevit_apps.cli run '{STREET}' '{place}' -m {tiny_model()} {into}"
    done = subprocess.run(["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True)
    lines = (tmp_path / "lines").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [0, 1, 2], done.stderr
    assert "frames/s" in done.stderr


@pytest.mark.parametrize(("lines", "code"), [("head -n 1", 0), ("cat > /dev/full", 1), ("true", 0)])
def test_a_reader_that_goes_away_is_no_crash(tiny_model, environment, lines, code):
    street = "synthetic://street?size=96x64&frames=200"
    command = f"{sys.executable} -m sparsevit_apps.cli run '{street}' - -m {tiny_model()}"
    if "full" in lines:
        command += " > /dev/full"
    else:
        command += f" | {lines}"
    shell = f"set -o pipefail; {command}"
    done = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if code:
        assert done.returncode == 1 and "error: cannot write JSON lines to stdout (No space left" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


def test_without_a_screen_results_go_beside_the_source(run, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    said = run(write_clip(tmp_path / "clip.mp4"))
    assert said.code == 0, said.err
    assert frames_of(tmp_path / "clip_sparsevit.mp4") == 3 and "clip_sparsevit.mp4" in said.out.replace("\n", "")
    assert run(write_picture(tmp_path / "in" / "photo.png")).code == 0
    assert (tmp_path / "in" / "photo_sparsevit.png").exists()
    assert run(tmp_path / "in").code == 0
    assert sorted(p.name for p in (tmp_path / "in_sparsevit").iterdir()) == ["photo.png", "photo_sparsevit.png"]
    said = run(STREET)
    assert said.code == 1 and "sparsevit run SOURCE out.mp4" in said.err


def test_colons_in_names_are_letters(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.move(write_clip(tmp_path / "a.mp4"), "2026-11-27T12:30:05.mp4")
    said = run("2026-11-27T12:30:05.mp4", "out:1.mp4", "file:x.jsonl")
    assert said.code == 0, said.err
    assert frames_of(tmp_path / "out:1.mp4") == 3 and len((tmp_path / "file:x.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("where", ["before", "behind"])
def test_quiet_says_nothing_and_verbose_more(sparsevit, tiny_model, where):
    line = ["run", STREET, "null://", "-m", tiny_model()]
    for flag, told in (("-q", ""), ("-v", "frames/s")):
        said = sparsevit(flag, *line) if where == "before" else sparsevit(*line, flag)
        assert said.code == 0 and (told in said.out if told else said.out + said.err == "")


@pytest.mark.parametrize("flag", ["-vv", "-vvv", "-vq", "-qv"])
def test_common_options_may_be_joined(sparsevit, tiny_model, flag):
    said = sparsevit("run", STREET, "null://", "-m", tiny_model(), flag)
    assert said.code == 0 and ("frames/s" in said.out) == ("q" not in flag), said


@pytest.mark.parametrize(
    "line",
    [
        "profile {model} --iterations 1 --json {place}",
        "export {model} -o {place}",
        "build {model} -o {place}",
        "search {model} data -o {place}",
        "eval {model} data --json {place}",
    ],
)
def test_no_command_replaces_what_it_did_not_write(sparsevit, tiny_model, tmp_path, line):
    place = tmp_path / ("mine.engine" if line.startswith("build") else "mine.onnx")
    place.write_text("mine")
    said = sparsevit(*line.format(model=tiny_model(), place=place).split())
    assert said.code == 1 and "--overwrite" in said.err
    assert place.read_text() == "mine"


def test_label_maps_and_masks_from_the_command_line(run, tmp_path):
    """The same answer three times over: a picture of class numbers, run lengths, polygons."""
    write_picture(tmp_path / "in" / "a.jpg", size_wh=(96, 64))
    sinks = [
        f"{tmp_path}/labels/?format=labels",
        *(f"{tmp_path}/{form}.jsonl?masks={form}" for form in ("rle", "polygons")),
    ]
    assert run(tmp_path / "in", *sinks).code == 0
    labels = cv2.imread(str(tmp_path / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (64, 96) and labels.dtype == np.uint8
    rle, polygons = (json.loads((tmp_path / f"{form}.jsonl").read_text())["masks"] for form in ("rle", "polygons"))
    assert {each["class_id"] for each in rle} == set(np.unique(labels).tolist())
    for packed, outlined in zip(rle, polygons, strict=True):
        member = labels == packed["class_id"]
        assert np.array_equal(mask_tools.decode(packed["segmentation"]).astype(bool), member)
        assert packed["area"] == outlined["area"] == member.sum()
        assert all(len(outline) >= 8 and len(outline) % 2 == 0 for outline in outlined["segmentation"])
    said = run(STREET, "-o", "-?masks=rle")
    assert said.code == 0 and all("masks" in json.loads(line) for line in said.out.splitlines())


@pytest.mark.parametrize("sink", ["{}/a.jsonl?masks=png", "-?format=png", "{}/out/?format=rle", "{}/a.mp4?masks=rle"])
def test_options_of_sinks_are_told(run, tmp_path, sink):
    said = run(STREET, "-o", sink.format(tmp_path))
    assert said.code == 1 and "accepted: " in said.err
