import json

import numpy as np
import pytest
import tiny
import torch

import sparsevit_runtime
from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_exporter.export import ExportOptions, export
from sparsevit_runtime.errors import DatasetError, PlanError
from sparsevit_training.adaptation import adapt
from sparsevit_training.datasets import IGNORE, ClassInfo, Dataset, Sample, open_dataset
from sparsevit_training.evaluate import evaluate
from sparsevit_training.monitor import confusion_at


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
    assert [(m.name, m.value, m.dataset) for m in dense.metrics()] == [
        ("mIoU", 100, "blues test"),
        ("pixel accuracy", 100, "blues test"),
    ]


def test_plans_of_all_forms(tiny_model):
    plans = [None, [0.5, 0.0], [[0.2], [0.4, 0.6]]]
    ratios = [e.ratio for e in evaluate(tiny_model, Blues(), plans)]
    assert ratios == pytest.approx([0.0, 1 / 6, (2 * 0.2 + 2 * 0.4 + 2 * 0.6) / 6])


def test_classes_must_agree(tiny_model):
    with pytest.raises(DatasetError, match="predicts"):
        evaluate(tiny_model, Blues(classes=tiny.CLASSES[::-1]))


def test_plans_must_fit(tiny_model):
    with pytest.raises(PlanError):
        evaluate(tiny_model, Blues(), [[0.1, 0.2, 0.3]])


def test_detectors_have_no_miou(tmp_path):
    path = tiny.write_model(tmp_path / "d.onnx", "detection", boxes=[(0, 0, 1, 1)], scores=[0.5], classes=[1])
    with sparsevit_runtime.load(path) as model, pytest.raises(DatasetError, match="detection"):
        evaluate(model, Blues())


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
