import json
import shutil

import cv2
import numpy as np
import pytest

import tiny
from sparsevit_runtime import load
from sparsevit_runtime.model import find_model
from sparsevit_street import STREET_CLASSES, StreetScene


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two labelled frames in CamVid layout, with a void class, and the frames' truth."""
    root = tmp_path_factory.mktemp("data")
    lines = [f"{i} {name} {r} {g} {b}" for i, (name, (r, g, b)) in enumerate(STREET_CLASSES)]
    (root / "classes.txt").write_text("\n".join([*lines, "11 Unlabelled 0 0 0"]) + "\n")
    for part in ("images", "labels"):
        (root / "test" / part).mkdir(parents=True)
    for seed in range(2):
        image, truth = StreetScene((200, 150), seed=seed).render(0)
        label = truth.label_map.copy()
        label[:20] = 11
        cv2.imwrite(str(root / "test" / "images" / f"{seed}.png"), image)
        cv2.imwrite(str(root / "test" / "labels" / f"{seed}.png"), label)
    return root


def miou(model, dataset, sparsity) -> float:
    """Mean IoU over classes that occur, straight from its definition."""
    predictions, labels = [], []
    for seed in range(2):
        image = cv2.imread(str(dataset / "test" / "images" / f"{seed}.png"))
        predictions.append(model(image, sparsity=sparsity).label_map)
        labels.append(cv2.imread(str(dataset / "test" / "labels" / f"{seed}.png"), cv2.IMREAD_UNCHANGED))
    predictions, labels = np.array(predictions), np.array(labels)
    counted = labels != 11
    scores = []
    for c in range(len(STREET_CLASSES)):
        a, b = (predictions == c) & counted, (labels == c) & counted
        if (a | b).any():
            scores.append((a & b).sum() / (a | b).sum())
    return float(np.mean(scores))


def test_figures_follow_the_definition(sparsevit, dataset, tmp_path):
    out = tmp_path / "accuracy.json"
    said = sparsevit("eval", "street-scenes", dataset, "--sweep", "0,0.6", "--json", out)
    assert said.code == 0 and "mIoU" in said.out
    figures = json.loads(out.read_text())
    assert [f["ratio"] for f in figures] == [0.0, 0.6] and figures[0]["images"] == 2
    with load("street-scenes") as model:
        for figure in figures:
            assert figure["miou"] == pytest.approx(miou(model, dataset, figure["ratio"]), abs=1e-4)


def test_record_writes_the_card(sparsevit, dataset, tmp_path):
    path = tmp_path / "copy.onnx"
    shutil.copy(find_model("street-scenes"), path)
    plan = tmp_path / "plan.json"
    plan.write_text('{"schema": 1, "ratios": [0.8, 0.2, 0.4, 0.2]}')
    said = sparsevit("eval", path, dataset, "--sweep", f"0,{plan}", "--record")
    assert said.code == 0 and "plan.json" in said.err  # a card cannot say what was pruned there
    with load(path) as model:
        (metric,) = [m for m in model.card.metrics if m.dataset == f"{dataset.name} test"]
    assert (metric.name, metric.ratio, metric.unit) == ("mIoU", 0.0, "%") and 0 <= metric.value <= 100


def test_the_threshold_of_the_best_f1_is_written_into_a_detectors_card(sparsevit, tmp_path):
    boxes = [(8.0, 8.0, 24.0, 16.0), (8.0, 0.0, 16.0, 6.0)]
    answers = {"boxes": boxes, "scores": [0.45, 0.3], "classes": [0, 0]}
    path = tiny.write_model(tmp_path / "m.onnx", task="detection", **answers)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((32, 48, 3), np.uint8))
    truth = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 16, 8], "area": 128, "iscrowd": 0}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 32}],
        "annotations": [truth],
        "categories": [{"id": 1, "name": tiny.CLASSES[0]}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    said = sparsevit("eval", path, tmp_path, "--sweep", "0", "--record-threshold")
    assert said.code == 0 and "threshold 0.4" in said.out
    with load(path) as model:
        assert model.card.objects.threshold == pytest.approx(0.44, abs=0.011)


def test_chosen_classes_and_what_was_left_out_are_shown(sparsevit, dataset, tmp_path):
    root, out = tmp_path / "data", tmp_path / "accuracy.json"
    shutil.copytree(dataset, root)
    shutil.copy(root / "test/images/0.png", root / "test/images/9.png")  # without a label
    said = sparsevit("eval", "street-scenes", root, "--sweep", "0", "--classes", "Road, Sky", "--json", out)
    assert said.code == 0 and "1 frame left out" in said.out
    (figures,) = json.loads(out.read_text())
    scored = {name for name, value in figures["per_class"].items() if value is not None}
    assert scored == {"Road", "Sky"} and figures["miou"] == pytest.approx(
        (figures["per_class"]["Road"] + figures["per_class"]["Sky"]) / 2, abs=1e-4
    )
    ((name, reason),) = figures["left_out"]["frames"].items()
    assert (
        "9.png" in name and "no label" in reason and set(figures["unscored"]) == {n for n, _ in STREET_CLASSES} - scored
    )


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        (["street-scenes", "{data}", "--classes", "Road,Lorry"], 1, "no class ['Lorry']"),
        (["street-scenes", "{data}", "--classes", "Road", "--record"], 2, "all classes"),
        (["street-scenes", "{data}", "--split", "missing"], 1, "missing"),
        (["street-scenes", "{data}/nowhere"], 1, "classes.txt"),
        (["street-scenes", "{data}", "--sweep", "2"], 1, "0 to 1"),
        (["nothing", "{data}"], 1, "no model"),
    ],
)
def test_errors(sparsevit, dataset, monkeypatch, arguments, code, message):
    said = sparsevit("eval", *(a.format(data=dataset) for a in arguments))
    assert said.code == code and message in said.err
