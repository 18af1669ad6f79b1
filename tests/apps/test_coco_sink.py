"""`out.json`: COCO that pycocotools reads."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

import tiny
from clips import write_clip
from served import camera, jpeg, serve
from sparsevit_runtime import load, open_sink
from sparsevit_runtime.errors import SinkError


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "photos"
    made.mkdir()
    for i in range(3):
        cv2.imwrite(str(made / f"{i}.png"), np.full((40, 60, 3), 64 * i + 32, np.uint8))
    return made


def test_boxes_of_a_folder_and_a_clip(sparsevit, tmp_path, folder):
    boxes = [(1.0, 2.0, 30.0, 29.0), (4.0, 4.0, 20.0, 20.0)]
    model = tiny.write_model(tmp_path / "boxes.onnx", task="detection", boxes=boxes, scores=[0.9, 0.6], classes=[1, 0])
    clip = write_clip(tmp_path / "clip.avi", codec="mjpeg")
    told = sparsevit(
        "run", folder, clip, "-o", tmp_path / "out.json", "-o", tmp_path / "o.jsonl", "-m", model, "--threshold", "0"
    )
    assert told.code == 0, told.err
    coco = COCO(str(tmp_path / "out.json"))
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    names = [coco.imgs[i]["file_name"] for i in sorted(coco.imgs)]
    assert names[:3] == ["0.png", "1.png", "2.png"] and names[3] == "clip.avi#0" and len(names) == len(lines)
    assert len(coco.anns) == sum(len(line["objects"]) for line in lines) > 0
    for number, line in enumerate(lines, start=1):
        found = coco.loadAnns(coco.getAnnIds(imgIds=number))
        assert [coco.cats[each["category_id"]]["name"] for each in found] == [o["name"] for o in line["objects"]]
        assert [each["score"] for each in found] == [o["confidence"] for o in line["objects"]]


@pytest.mark.parametrize("form", ["", "?masks=rle", "?masks=polygons"])
def test_masks_of_a_folder(sparsevit, tmp_path, folder, form):
    path = tiny.write_model(tmp_path / "labels.onnx")
    told = sparsevit("run", folder, f"{tmp_path}/out.json{form}", "-m", path)
    assert told.code == 0, told.err
    coco = COCO(str(tmp_path / "out.json"))
    with load(path) as model:
        for number, file in enumerate(sorted(folder.iterdir()), start=1):
            labels = model(cv2.imread(str(file))).label_map
            covered = sum(
                coco.annToMask(found) * found["category_id"] for found in coco.loadAnns(coco.getAnnIds(number))
            )
            np.testing.assert_array_equal(covered, labels + 1)


def test_what_it_does_not_take_is_told(sparsevit, tmp_path, folder):
    boxes = tiny.write_model(tmp_path / "boxes.onnx", task="detection")
    told = sparsevit("run", folder, f"{tmp_path}/out.json?masks=rle", "-m", boxes)
    assert told.code == 1 and "have no masks" in told.err and not (tmp_path / "out.json").exists()
    with serve() as server:
        server.routes["/live"] = camera([jpeg(9)] * 50, pause_s=0.01)
        told = sparsevit("run", server.url("/live"), tmp_path / "out.json", "-m", boxes)
    assert told.code == 1 and "out.jsonl" in told.err
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(SinkError, match="overwrite"):
        open_sink(tmp_path / "mine.json", overwrite=False)
