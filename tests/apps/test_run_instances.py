"""A model of instances through every way that results go."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

import detection_data
from sparsevit_runtime import CountLine, Instances, Tracking, load, open_source

STREET = "synthetic://street?size=96x64&frames=4&fps=10"
#: A half of a box each: the left, the upper; the row past the last object is none.
MASKS = np.zeros((3, 28, 28), np.float32)
MASKS[0, :, :14] = MASKS[1, :14] = 1.0
MODEL = {
    "task": "instances",
    "boxes": [(8.0, 8.0, 40.0, 24.0), (0.0, 16.0, 12.0, 32.0), (0.0, 0.0, 0.0, 0.0)],
    "scores": [0.9, 0.6, 0.0],
    "classes": [6, 2, 0],
    "masks": MASKS,
}


@pytest.fixture
def model(tiny_model):
    return tiny_model(**MODEL)


def test_every_file_path(sparsevit, model, tmp_path):
    said = sparsevit(
        "run", STREET, tmp_path / "out.mp4", f"{tmp_path}/out.jsonl?masks=rle", tmp_path / "out.json",
        f"{tmp_path}/shots/", f"{tmp_path}/numbers/?format=labels", "http://127.0.0.1:0", "-m", model, "-s", "0.5",
    )  # fmt: skip
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3] and lines[0]["task"] == "instances"
    assert [found["name"] for found in lines[0]["objects"]] == ["person", "car"]
    coco = COCO(str(tmp_path / "out.json"))
    assert len(coco.imgs) == 4 and len(coco.anns) == 8
    first, second = (coco.annToMask(coco.anns[i]) for i in (1, 2))
    assert first.shape == (64, 96) and first[16:48, 16:48].all() and first.sum() == 32 * 32  # twice the input
    assert second[32:48, 0:24].all() and second.sum() == 16 * 24 == coco.anns[2]["area"]
    assert coco.anns[1]["bbox"] == [16, 16, 64, 32] and coco.anns[1]["iscrowd"] == 0
    for told, found in zip(lines[0]["masks"], coco.loadAnns([1, 2])):
        assert told["segmentation"] == found["segmentation"]
    assert len(list((tmp_path / "shots").iterdir())) == 4
    numbers = cv2.imread(str(tmp_path / "numbers" / "frame_000000.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(numbers, np.where(first, 1, np.where(second, 2, 0)))
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    capture.release()


def test_a_picture_shows_the_masks(sparsevit, model, tmp_path):
    said = sparsevit("run", STREET, tmp_path / "out.png", "-m", model, "--frames", "1")
    assert said.code == 0, said.err
    with load(model, threads=1) as opened, open_source(STREET) as source:
        frame = source.read().image
        drawn = opened(frame).plot(hud=False, legend=False)
    shown = cv2.imread(str(tmp_path / "out.png"))
    np.testing.assert_array_equal(shown[30:], drawn[30:])  # below the figures
    assert (shown[20:46, 20:44] != frame[20:46, 20:44]).any(axis=-1).all()  # the mask, within its outline


def test_objects_are_tracked_and_counted(sparsevit, model, tmp_path):
    said = sparsevit(
        "run", STREET, tmp_path / "out.jsonl", "-m", model, "--track", "--count-line", "0,0.5,1,0.5,name=gate"
    )
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    tracks = [[found["track_id"] for found in line["objects"]] for line in lines]
    assert tracks[-1] == tracks[1] == [1, 2] and lines[-1]["counts"][0]["name"] == "gate"


def test_tracked_instances_keep_their_masks(model):
    tracking = Tracking(count=[CountLine((0, 0.5, 1, 0.5))])
    with load(model, threads=1) as opened, opened.stream(STREET, track=tracking) as stream:
        *_, last = stream
    assert isinstance(last, Instances) and last.track_ids.tolist() == [1, 2]
    assert [record["track_id"] for record in last.to_coco()] == [1, 2] and last.mask(0).sum() == 32 * 32
    assert last.to_supervision().tracker_id.tolist() == [1, 2]


def test_a_model_of_instances_agrees_with_itself(sparsevit, model):
    told = sparsevit("check", model, "--against", model, "--json")
    assert told.code == 0, told.err
    assert all(row["problem"] is None for row in json.loads(told.out)["tensors"])


def test_instances_are_measured_over_a_sweep_beside_results_of_another_program(sparsevit, model, tmp_path):
    detection_data.write_coco(tmp_path / "annotations.json", tmp_path / "images", 2, (48, 32))
    results = [
        {"image_id": 10, "category_id": 7, "bbox": [1, 1, 9, 9], "score": 0.5, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    ]
    (tmp_path / "theirs.json").write_text(json.dumps(results))
    told = sparsevit(
        "eval", model, tmp_path / "annotations.json", "--sweep", "0,0.5", "--json", tmp_path / "figures.json",
        "--plot", tmp_path / "figures.png", "--peer", tmp_path / "theirs.json",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "mask AP on" in told.out and "box AP50" in told.out and "theirs" in told.out
    dense, pruned, theirs = json.loads((tmp_path / "figures.json").read_text())
    assert (dense["ratio"], pruned["ratio"]) == (0, 0.5) and dense["mask_ap"] == pruned["mask_ap"] >= 0
    assert theirs["model"] == "theirs" and theirs["total_ms"] is None and theirs["box_ap"] == 0
    assert (tmp_path / "figures.png").stat().st_size > 1000
