"""Instances are measured as pycocotools measures the same records against the same file."""

from __future__ import annotations

import contextlib
import io
import json
import math

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import detection_data
import sparsevit_runtime
import tiny
from sparsevit_runtime.errors import DatasetError
from sparsevit_training.datasets import CocoBoxes, CocoInstances
from sparsevit_training.evaluate import evaluate
from sparsevit_training.evaluation_data import open_evaluation_data
from sparsevit_training.recorded_results import evaluate_results
from sparsevit_training.search import Budget, SearchSettings, search

SIZE_WH = (48, 32)


def blob(seed: int) -> np.ndarray:
    """A mask with a bulge, (28, 28) float32."""
    y, x = (np.mgrid[:28, :28] + 0.5) / 28 - 0.5
    radius = 0.36 + 0.08 * np.sin(3 * np.arctan2(y, x) + seed)
    return (np.hypot(x, y) < radius).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """Two images; polygons, both kinds of run lengths, a crowd, and an object too thin for a pixel."""
    document = detection_data.write_coco(tmp_path / "annotations.json", tmp_path / "images", 2, SIZE_WH)
    person, car = 9, 7
    drawn = np.zeros((32, 48), np.uint8)
    cv2.ellipse(drawn, (30, 16), (9, 7), 20, 0, 360, 1, cv2.FILLED)
    packed = coco_mask.encode(np.asfortranarray(drawn))
    text = {"size": packed["size"], "counts": packed["counts"].decode()}
    flat = np.zeros((32, 48), bool)
    flat[2:12, 30:46] = True
    edges = np.flatnonzero(np.diff(np.r_[0, flat.flatten("F").astype(int), 0]))
    counts = np.diff(np.r_[0, edges, flat.size]).tolist()
    polygon = [12, 4, 20, 12, 16, 24, 8, 24, 4, 12]
    ground = [
        (10, person, [4, 4, 16, 20], [polygon], 0),
        (10, car, [21, 9, 19, 15], text, 0),
        (11, car, [20, 8, 20, 16], [[20, 8, 40, 8, 40, 24, 20, 24]], 0),
        (11, person, [30, 2, 16, 10], {"size": [32, 48], "counts": counts}, 1),
        (11, person, [2, 2, 0.2, 9], [[2, 2, 2.2, 2, 2.2, 11]], 0),
    ]
    document["annotations"] = [
        {
            "id": i,
            "image_id": image,
            "category_id": kind,
            "bbox": box,
            "segmentation": mask,
            "area": 300,
            "iscrowd": crowd,
        }
        for i, (image, kind, box, mask, crowd) in enumerate(ground, start=1)
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    return tmp_path


@pytest.fixture
def model(tmp_path):
    boxes = [(4, 4, 20, 24), (20, 8, 40, 24), (31, 3, 45, 12), (5, 5, 19, 23), (0, 0, 48, 32)]
    kinds = [tiny.CLASSES.index(name) for name in ("person", "car", "person", "person", "car")]
    masks = np.stack([blob(i) for i in range(5)])
    scores = [0.9, 0.8, 0.6, 0.3, 0.02]
    path = tiny.write_model(tmp_path / "m.onnx", "instances", boxes=boxes, scores=scores, classes=kinds, masks=masks)
    with sparsevit_runtime.load(path, threads=1) as model:
        yield model


def by_pycocotools(data, model, compared) -> tuple[float, float]:
    """AP and AP50 of the file as it is, and of what the model says."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "annotations.json"))
        ids = {name: number for number, name in ((c["id"], c["name"]) for c in truth.cats.values())}
        records = []
        for image_id, image in truth.imgs.items():
            result = model(cv2.imread(str(data / "images" / image["file_name"])), threshold=0.0)
            records += result.to_coco(image_id, [ids.get(name, 0) for name in result.names])
        run = COCOeval(truth, truth.loadRes(records), compared)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[0], run.stats[1]


def test_figures_are_those_of_pycocotools(data, model):
    dataset = open_evaluation_data(model, data)
    assert isinstance(dataset, CocoInstances) and not dataset.left_out
    dense, pruned = evaluate(model, dataset, [0.0, 0.5], name="two")
    for precision, compared in ((dense.masks, "segm"), (dense.boxes, "bbox")):
        assert (precision.ap, precision.ap50) == pytest.approx(by_pycocotools(data, model, compared), abs=1e-12)
    assert 0 < dense.masks.ap < dense.boxes.ap < 1  # the masks are not those that were drawn
    assert dense.score == pruned.score == dense.masks.ap and dense.ratio == 0 and pruned.ratio == pytest.approx(0.5)
    assert [m.name for m in dense.metrics()] == ["mask AP", "mask AP50", "box AP", "box AP50"]
    told = json.loads(json.dumps(dense.to_dict()))
    assert told["mask_ap"] == pytest.approx(dense.masks.ap, abs=1e-5) and told["box_ap50"] and told["images"] == 2
    assert told["per_class"]["sky"] is None


def test_masks_that_are_right_have_an_ap_of_one(tmp_path):
    detection_data.write_coco(tmp_path / "annotations.json", tmp_path / "images", 1, SIZE_WH)
    document = json.loads((tmp_path / "annotations.json").read_text())
    (truth,) = document["annotations"]
    x, y, w, h = truth["bbox"]
    kind = {7: "car", 9: "person"}[truth["category_id"]]
    answer = {"boxes": [(x, y, x + w, y + h)], "scores": [0.9], "classes": [tiny.CLASSES.index(kind)]}
    path = tiny.write_model(tmp_path / "m.onnx", "instances", masks=np.ones((1, 28, 28), np.float32), **answer)
    with sparsevit_runtime.load(path, threads=1) as model:
        (found,) = evaluate(model, open_evaluation_data(model, tmp_path))
    assert found.masks.ap == found.boxes.ap == pytest.approx(1)


def test_nothing_found_is_measured(data, tmp_path):
    masks = np.zeros((1, 28, 28), np.float32)
    path = tiny.write_model(
        tmp_path / "m.onnx", "instances", boxes=[(0, 0, 0, 0)], scores=[0], classes=[0], masks=masks
    )
    with sparsevit_runtime.load(path, threads=1) as model:
        (found,) = evaluate(model, open_evaluation_data(model, data))
    assert found.masks.ap == found.boxes.ap == 0 and not math.isnan(found.score)


class Counter:
    """A device on which a run costs the windows that it computes."""

    unit = "ms"

    def __init__(self, model):
        self.stages = model.card.stages

    def __call__(self, plan) -> float:
        return float(sum(plan.keep(self.stages)))


def test_a_search_goes_by_the_masks(data, model):
    dataset = open_evaluation_data(model, data)
    about = {"file": "m.onnx", "file_sha256": "ab", "device": "a device"}
    settings = SearchSettings(evaluations=2, population=2, rounds=1)
    report, _ = search(model, dataset, Budget(plan="0.5"), Counter(model), settings, **about)
    (measured,) = evaluate(model, dataset)
    assert measured.masks.ap != measured.boxes.ap
    # the tiny model answers alike whatever is left out
    assert {row.validation for row in report.rows} == {measured.masks.ap} and report.best.within


def test_truth_is_kept_in_run_lengths(data):
    """What pycocotools makes of the file, whatever it holds; an object too thin for a pixel is one."""
    dataset = CocoInstances(data / "annotations.json", data / "images", ("person", "car"))
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(data / "annotations.json"))
    ours = dataset.document["annotations"]
    assert len(ours) == len(theirs.anns) == 5
    for mine, other in zip(ours, theirs.anns.values()):
        wanted = theirs.annToMask(other)
        np.testing.assert_array_equal(coco_mask.decode(mine["segmentation"]), wanted)
        assert mine["bbox"] == other["bbox"] and mine["iscrowd"] == other["iscrowd"]
    assert dataset.document["images"][0]["width"] == 48


def test_objects_without_a_mask_are_left_out_and_told(data):
    document = json.loads((data / "annotations.json").read_text())
    document["annotations"][0]["segmentation"] = []
    document["annotations"][1]["segmentation"] = {"size": [9, 9], "counts": [81]}
    (data / "annotations.json").write_text(json.dumps(document))
    dataset = CocoInstances(data / "annotations.json", data / "images", ("person", "car"))
    assert dataset.left_out == {"without a mask": 1, "whose mask is of another size than the image": 1}
    assert len(dataset.document["annotations"]) == 3


def test_boxes_alone_are_no_masks(data, model):
    with pytest.raises(
        DatasetError, match="is a model for instances and needs masks in COCO JSON; annotations has none"
    ):
        evaluate(model, CocoBoxes(data / "annotations.json", data / "images", ("person", "car")))


def test_results_of_another_program_are_measured_alike(data, model):
    """By the ids of the data's own file, as mmdet and others write them."""
    ids = {name: number for number, name in ((7, "car"), (9, "person"))}
    records = []
    for image_id in (10, 11):
        frame = cv2.imread(str(data / "images" / f"{image_id - 10}.png"))
        result = model(frame, threshold=0.0)
        records += result.to_coco(image_id, [ids.get(name, 777) for name in result.names])
    records.append({**records[0], "image_id": 999})
    (data / "theirs.segm.json").write_text(json.dumps(records))
    dataset = open_evaluation_data(model, data / "annotations.json")
    (ours,) = evaluate(model, dataset)
    theirs = evaluate_results(data / "theirs.segm.json", dataset, "instances")
    assert theirs.figures == pytest.approx(ours.figures, abs=1e-12) and theirs.model == "theirs.segm"
    assert theirs.to_dict()["total_ms"] is None and math.isnan(theirs.inference_ms)
    boxes = CocoBoxes(data / "annotations.json", data / "images", ("person", "car"))
    alone = evaluate_results(data / "theirs.segm.json", boxes, "detection")
    assert alone.score == pytest.approx(ours.boxes.ap, abs=1e-12)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not readable JSON"),
        ("{}", "holds a dict; expected COCO results"),
        ('[{"image_id": 1}]', "has the entry .*expected COCO results"),
        ('[{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3], "score": 1, "segmentation": [[1]]}]', "has the entry"),
        ('[{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 1}]', "has the entry"),  # no mask
    ],
)
def test_other_files_are_no_results(data, content, told):
    (data / "theirs.json").write_text(content)
    dataset = CocoInstances(data / "annotations.json", data / "images", ("person", "car"))
    with pytest.raises(DatasetError, match=told):
        evaluate_results(data / "theirs.json", dataset, "instances")
