import json
from dataclasses import astuple

import numpy as np
import pytest
import torch

import detection_data
import sparsevit_runtime
import tiny
from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_exporter.export import ExportOptions, export
from sparsevit_runtime.errors import DatasetError, PlanError
from sparsevit_training.adaptation import adapt
from sparsevit_training.datasets import IGNORE, ClassInfo, CocoBoxes, Dataset, Sample, open_dataset
from sparsevit_training.evaluate import evaluate, evaluate_peer
from sparsevit_training.evaluation_data import open_evaluation_data
from sparsevit_training.monitor import confusion_at
from sparsevit_training.peers import open_peer


class Blues(Dataset):
    """Two frames of the tiny models' input size, in blocks whose blue value tells the class; one block is void."""

    name = "blues"

    def __init__(self, classes=tiny.CLASSES):
        self.classes = tuple(ClassInfo(name, (0, 0, 0)) for name in classes)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        blocks = np.arange(24, dtype=np.uint8).reshape(4, 6) % 6 + 2 * index  # classes 0-5, then 2-7
        label = blocks.repeat(8, 0).repeat(8, 1)
        image = np.full((32, 48, 3), 90, np.uint8)
        image[..., 0] = label * 32 + 16
        label[:8, :8] = IGNORE
        return Sample(image, label, str(index))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    path = tiny.write_model(tmp_path_factory.mktemp("models") / "tiny.onnx")
    with sparsevit_runtime.load(path) as model:
        yield model


def test_a_model_that_is_right_and_one_that_computes_nothing(tiny_model):
    dense, none = evaluate(tiny_model, Blues(), [0.0, 1.0], name="blues test")
    assert (dense.miou, dense.pixel_accuracy, dense.images) == (1.0, 1.0, 2)
    # with no window kept every label is 7: right for the 4 of 46 blocks that are, a union of 46
    assert none.iou[7] == pytest.approx(4 / 46) and none.iou[:7] == (0.0,) * 7
    assert none.miou == pytest.approx(4 / 46 / 8)
    assert (dense.ratio, none.ratio) == (0.0, 1.0)
    assert dense.inference_ms > 0
    document = json.loads(json.dumps(none.to_dict()))
    assert document["dataset"] == "blues test" and document["per_class"]["other"] == pytest.approx(4 / 46, abs=1e-4)
    assert [(m.name, m.value, m.dataset) for m in dense.metrics()] == [("mIoU", 100, "blues test")]


def test_plans_of_all_forms(tiny_model):
    plans = [None, [0.5, 0.0], [[0.2], [0.4, 0.6]]]
    ratios = [e.ratio for e in evaluate(tiny_model, Blues(), plans)]
    assert ratios == pytest.approx([0.0, 1 / 6, (2 * 0.2 + 2 * 0.4 + 2 * 0.6) / 6])


def test_classes_must_agree(tiny_model):
    with pytest.raises(DatasetError, match="predicts"):
        evaluate(tiny_model, Blues(classes=tiny.CLASSES[::-1]))


def test_a_frame_without_a_label_map_is_named(tiny_model):
    class Gaps(Blues):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return Sample(sample.image, sample.label if index == 0 else None, f"frame {index}")

    with pytest.raises(DatasetError, match="frame 1 has no label map"):
        evaluate(tiny_model, Gaps())


def test_plans_must_fit(tiny_model):
    with pytest.raises(PlanError):
        evaluate(tiny_model, Blues(), [[0.1, 0.2, 0.3]])


def test_detectors_have_no_miou(tmp_path):
    path = tiny.write_model(tmp_path / "d.onnx", "detection", boxes=[(0, 0, 1, 1)], scores=[0.5], classes=[1])
    with sparsevit_runtime.load(path) as model, pytest.raises(DatasetError, match="detection"):
        evaluate(model, Blues())


@pytest.mark.slow
def test_the_exported_file_scores_as_the_checkpoint(recipe_of, tmp_path):
    recipe = recipe_of(schedule={"steps": 16, "warmup_steps": 2}, optimizer={"lr": 0.01, "ema_decay": 0.8}, monitor={})
    loaded = load_checkpoint(adapt(recipe))
    path = tmp_path / "model.onnx"
    options = ExportOptions(*loaded.input_hw, mean=loaded.mean, std=loaded.std)
    assert export(loaded.network, path, options, loaded.classes).holds
    dataset = open_dataset(recipe.data[0])
    with sparsevit_runtime.load(path) as model:
        found = evaluate(model, dataset, [0.0, 0.5])
    for evaluation in found:
        expected = confusion_at(
            loaded.network, dataset, recipe.input, evaluation.ratio, torch.device("cpu"), dtype=None
        )
        assert evaluation.miou == pytest.approx(expected.miou, abs=0.002)
        assert evaluation.pixel_accuracy == pytest.approx(expected.pixel_accuracy, abs=0.002)


class FewerBlues(Blues):
    """As if nobody had labelled the last two classes: their blocks are void, and the class list does not have them."""

    unscored = frozenset(tiny.CLASSES[6:])

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return Sample(sample.image, np.where(sample.label >= 6, IGNORE, sample.label).astype(np.uint8), sample.name)


def test_classes_that_the_data_lacks_do_not_count(tiny_model):
    dense, none = evaluate(tiny_model, FewerBlues(), [0.0, 1.0])
    assert (dense.miou, dense.pixel_accuracy) == (1.0, 1.0)
    assert np.isnan(dense.iou[6:]).all() and dense.to_dict()["per_class"]["other"] is None
    # every label is 7, which is no class of the data: all others are missed
    assert none.iou[:6] == (0.0,) * 6 and np.isnan(none.iou[6:]).all() and none.miou == 0.0


def test_chosen_classes_are_scored_over_all_pixels(tiny_model):
    data = Blues()
    data.unscored = frozenset(tiny.CLASSES[:7])
    none = evaluate(tiny_model, data, [1.0])[0]
    # every label is 7: those of the 4 of 46 blocks are right, the others wrongly of it
    assert none.miou == none.iou[7] == pytest.approx(4 / 46) and none.pixel_accuracy == 1.0


class TestDetection:
    """A tiny detector that answers the same for every image, on images of which one has just these objects."""

    @pytest.fixture
    def data(self, tmp_path):
        document = detection_data.write_coco(tmp_path / "annotations.json", tmp_path / "images", 2, (48, 32))
        document["annotations"] = [
            {"id": 1, "image_id": 10, "category_id": 9, "bbox": [4, 4, 16, 20], "area": 320, "iscrowd": 0},
            {"id": 2, "image_id": 11, "category_id": 7, "bbox": [20, 8, 20, 16], "area": 320, "iscrowd": 0},
        ]
        (tmp_path / "annotations.json").write_text(json.dumps(document))
        return tmp_path

    @pytest.fixture
    def model(self, tmp_path):
        boxes = [(4, 4, 20, 24), (20, 8, 40, 24)]
        classes = [tiny.CLASSES.index("person"), tiny.CLASSES.index("car")]
        path = tiny.write_model(tmp_path / "d.onnx", "detection", boxes=boxes, scores=[0.9, 0.02], classes=classes)
        with sparsevit_runtime.load(path) as model:
            yield model

    def dataset(self, data, names):
        return CocoBoxes(data / "annotations.json", data / "images", names)

    def test_average_precision_counts_boxes_below_the_usual_threshold(self, data, model):
        # The model's eight classes; only two of them occur.
        document = json.loads((data / "annotations.json").read_text())
        document["categories"] += [{"id": 20 + i, "name": n} for i, n in enumerate(tiny.CLASSES)]
        document["categories"] = [
            c for c in document["categories"] if c["id"] < 20 or c["name"] not in ("person", "car")
        ]
        (data / "annotations.json").write_text(json.dumps(document))
        dense, pruned = evaluate(model, self.dataset(data, tiny.CLASSES), [0.0, 0.5], name="two")
        # Each class is found where it is, and once where it is not, with the same score: precision 1/2 or 1 by order.
        assert dense.score == dense.precision.ap == pruned.score and 0.5 <= dense.score <= 1
        assert dense.precision.per_class50[tiny.CLASSES.index("person")] >= 0.5
        assert [(m.name, m.unit) for m in dense.metrics()] == [("AP", "%"), ("AP50", "%")]
        document = json.loads(json.dumps(dense.to_dict()))
        assert document["per_class"]["sky"] is None and document["ap50"] == pytest.approx(
            dense.precision.ap50, abs=1e-5
        )
        one = evaluate(model, self.dataset(data, tiny.CLASSES).subset([0]))[0]
        assert one.images == 1 and one.score == pytest.approx(1)

    def scores(self, data, model, **options):
        dataset = open_evaluation_data(model, data, **options)
        return dataset, evaluate(model, dataset, [0.0])[0]

    def test_classes_that_the_data_lacks_do_not_count(self, data, model):
        """As with a file that lists all of the model's classes."""
        dataset, found = self.scores(data, model)
        assert set(dataset.scored) == {"person", "car"}
        document = json.loads((data / "annotations.json").read_text())
        names = [c["name"] for c in document["categories"]]
        document["categories"] += [{"id": 20 + i, "name": n} for i, n in enumerate(tiny.CLASSES) if n not in names]
        (data / "annotations.json").write_text(json.dumps(document))
        whole, expected = self.scores(data, model)
        assert whole.unscored == frozenset() and set(whole.absent) == set(tiny.CLASSES) - {"person", "car"}
        assert found.score == expected.score and found.precision.ap50 == expected.precision.ap50

    def test_chosen_classes(self, data, model):
        _, both = self.scores(data, model)
        dataset, cars = self.scores(data, model, classes=["car"])
        assert dataset.scored == ("car",)
        car, person = tiny.CLASSES.index("car"), tiny.CLASSES.index("person")
        assert cars.score == both.per_class[car] and np.isnan(cars.per_class[person])

    def test_what_annotators_do_does_not_change_the_figures(self, data, model):
        """Null fields, categories of one name, images and objects twice, ids as text: the AP is as without."""
        _, expected = self.scores(data, model)
        path = data / "annotations.json"
        document = json.loads(path.read_text())
        for o in document["annotations"]:
            o.update(area=None, iscrowd=None, segmentation=None, image_id=str(o["image_id"]))
        document["categories"].insert(0, {"id": 1, "name": "person"})
        document["categories"].append({"id": 30, "name": "car"})
        document["images"].append({**document["images"][0], "id": 99})
        document["annotations"].append({**document["annotations"][0], "image_id": 99})
        document["annotations"] += [
            {"image_id": 10, "category_id": 9, "bbox": None},
            {"image_id": 10, "category_id": 9, "bbox": [500, 500, 5, 5]},
            {"image_id": 10, "category_id": 555, "bbox": [1, 1, 5, 5]},
            {"image_id": 555, "category_id": 9, "bbox": [1, 1, 5, 5]},
        ]
        path.write_text(json.dumps(document))
        dataset, found = self.scores(data, model)
        assert found.images == 2
        np.testing.assert_equal(astuple(found.precision), astuple(expected.precision))
        assert sum(dataset.left_out.values()) == 5

    def test_a_box_over_the_edge_is_found_by_its_part_inside(self, data, model):
        path = data / "annotations.json"
        document = json.loads(path.read_text())
        document["annotations"][1]["bbox"] = [20, 8, 60, 60]  # of a frame of 48x32
        path.write_text(json.dumps(document))
        _, found = self.scores(data, model)
        document["annotations"][1]["bbox"] = [20, 8, 28, 24]
        path.write_text(json.dumps(document))
        _, expected = self.scores(data, model)
        assert found.images == 2 and found.score > 0
        np.testing.assert_equal(astuple(found.precision), astuple(expected.precision))

    def test_classes_and_kinds_must_agree(self, data, model):
        with pytest.raises(DatasetError, match="predicts"):
            evaluate(model, self.dataset(data, ("person", "car")))
        with pytest.raises(DatasetError, match="needs boxes in COCO JSON"):
            evaluate(model, Blues())

    def test_boxes_are_no_label_maps(self, data, tiny_model):
        told = r"needs label maps \(CamVid layout\); annotations has none"
        with pytest.raises(DatasetError, match=told):
            evaluate(tiny_model, self.dataset(data, ("person", "car")))

    def test_peers(self, data, tmp_path):
        # The 48x32 frame is stretched to 64x64; a cat is no class of the data.
        objects = [((16 / 3, 8.0, 80 / 3, 48.0), 0, 0.9), ((0.0, 0.0, 9.0, 9.0), 15, 0.9)]
        path = detection_data.write_peer(tmp_path / "peer.onnx", "fastestdet", objects)
        dataset = self.dataset(data, ("person", "car"))
        peer = open_peer(path)
        found = evaluate_peer(peer, dataset.subset([0]))
        assert (found.model, found.images, found.classes) == ("peer", 1, ("person", "car"))
        assert found.score == pytest.approx(1) and found.total_ms >= found.inference_ms > 0
        document = json.loads((data / "annotations.json").read_text())
        document["categories"][0]["name"] = "unicorn"
        (data / "annotations.json").write_text(json.dumps(document))
        with pytest.raises(DatasetError, match="unicorn"):
            evaluate_peer(peer, self.dataset(data, None))
