"""The registry, with a task that the package does not know."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import sparsevit_runtime
import sparsevit_training
import tiny
from classification.training import Accuracy
from sparsevit_runtime.contract import BATCH, TensorSpec
from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.tasks import Result, known_tasks
from sparsevit_runtime.tasks import Task as RuntimeTask
from sparsevit_runtime.tasks import register as register_at_runtime
from sparsevit_training import tasks
from sparsevit_training.adaptation import adapt
from sparsevit_training.datasets import IGNORE, ClassInfo, Dataset, Sample
from sparsevit_training.evaluate import evaluate
from sparsevit_training.evaluation_data import open_evaluation_data
from sparsevit_training.objectives.segmentation import SegmentationObjective
from sparsevit_training.recipe import RecipeError
from sparsevit_training.tasks.evaluation import Tally
from sparsevit_training.tasks.segmentation import SegmentationTask

PACKAGE = Path(sparsevit_training.__file__).parent


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Count(Result):
    """How many classes a frame shows."""

    count: int

    def to_dict(self):
        return {**self._head(Counting.name), "count": self.count}

    def save(self, path):
        Path(path).write_text(str(self.count))


class CountingAtRuntime(RuntimeTask):
    name = "counting"
    result_type = Count

    @property
    def answers(self):
        return (TensorSpec.of("labels", np.uint8, BATCH, "rows", "columns"),)

    def decode(self, answers, letterbox, threshold):
        return {"count": len(np.unique(answers["labels"]))}


@dataclass(frozen=True, kw_only=True)
class CountingEvaluation(Accuracy):
    """Share of the frames whose count is right."""

    recorded = ("right counts",)

    @property
    def figures(self):
        return {"right counts": self.score}


class CountingTally(Tally[Count]):
    def __init__(self):
        self.right = []

    def add(self, index, sample, result):
        self.right.append(len(set(np.unique(sample.label)) - {IGNORE}) == result.count)

    def evaluation(self, **about):
        return CountingEvaluation(**about, right=tuple(self.right))


class Stripes(Dataset):
    """Two frames, of 2 and of 3 classes in columns of pixels whose blue value tells the class."""

    name = "stripes"
    classes = tuple(ClassInfo(name, (0, 0, 0)) for name in tiny.CLASSES)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        label = np.arange(48).repeat(32).reshape(48, 32).T // (24 if index == 0 else 16)
        image = np.full((32, 48, 3), 90, np.uint8)
        image[..., 0] = label * 32 + 16
        return Sample(image, label.astype(np.uint8), str(index))


class Counting(tasks.Task):
    name = "counting"
    metric = "right counts"

    def open_evaluation_data(self, root, class_names, split, cache_mb, progress):
        assert tuple(class_names) == tiny.CLASSES
        return Stripes()

    def tally(self, model, dataset):
        if dataset[0].label is None:
            raise self.mismatch(model, dataset, "something to count")
        return CountingTally()


@pytest.fixture
def registries(monkeypatch):
    """What a test registers is forgotten afterwards."""
    for registry in (sparsevit_runtime.tasks, tasks):
        monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))


@pytest.fixture
def model(registries, tmp_path):
    """The tiny segmenter, whose card says that it counts."""
    register_at_runtime(CountingAtRuntime)
    card = json.dumps({**tiny.card_document(), "task": "counting"})
    with sparsevit_runtime.load(tiny.write_model(tmp_path / "counter.onnx", card=card)) as model:
        yield model


def test_a_new_task_is_measured_by_its_own_metric(model, tmp_path):
    tasks.register(Counting)
    dense, none = evaluate(model, open_evaluation_data(model, tmp_path), [0.0, 1.0])
    assert dense.right == (True, True) and none.right == (False, False)  # with no window kept every label is 7
    assert dense.total_ms >= dense.inference_ms > 0
    assert [(m.name, m.value, m.ratio) for m in dense.metrics()] == [("right counts", 100, 0.0)]
    assert none.to_dict()["right_counts"] == 0.0 and none.to_dict()["dataset"] == "stripes"


def test_a_new_task_refuses_data_without_its_truth(model):
    class Plain(Stripes):
        name = "plain"

        def __getitem__(self, index):
            return Sample(super().__getitem__(index).image, None, str(index))

    tasks.register(Counting)
    with pytest.raises(DatasetError, match="tiny is a model for counting and needs something to count; plain has none"):
        evaluate(model, Plain())


def test_a_task_without_a_metric_is_told_with_those_that_have_one(model, tmp_path):
    told = "no metric for a counting model; evaluate one for segmentation or detection or instances"
    with pytest.raises(DatasetError, match=told):
        evaluate(model, Stripes())
    with pytest.raises(DatasetError, match=told):
        open_evaluation_data(model, tmp_path)
    tasks.register(Counting)
    with (
        sparsevit_runtime.load(tiny.write_model(tmp_path / "b.onnx", task="backbone")) as backbone,
        pytest.raises(
            DatasetError,
            match="for a backbone model; evaluate one for segmentation or detection or instances or counting",
        ),
    ):
        evaluate(backbone, Stripes())


def test_a_recipe_names_tasks_that_are_trained(registries, recipe_of):
    told = r"task: .*no training for the task 'counting'; a recipe can name segmentation or detection"
    with pytest.raises(RecipeError, match=told):
        recipe_of(task="counting")
    tasks.register(Counting)  # measured alone
    with pytest.raises(RecipeError, match=told):
        recipe_of(task="counting")


class OutlineObjective(SegmentationObjective):
    terms = ("outlines",)

    def losses(self, predictions, batch):
        (loss,) = super().losses(predictions, batch).values()
        return {"outlines": 2 * loss}

    def scores(self, model, dataset, ratios, dtype):
        return {ratio: 0.25 for ratio in ratios}


class Outlines(SegmentationTask):
    name = "outlines"
    metric = "Outline F1"
    weighs_pixels = False

    def check_recipe(self, recipe):
        if recipe.augmentation.rotation_degrees:
            raise RecipeError("outlines do not turn; set augmentation.rotation_degrees to 0")

    def objective(self, recipe):
        return OutlineObjective(recipe)


def test_a_new_task_is_trained(registries, recipe_of):
    tasks.register(Outlines)
    with pytest.raises(RecipeError, match="outlines do not turn"):
        recipe_of(task="outlines")
    still = {"rotation_degrees": 0}
    with pytest.raises(RecipeError, match="importance is for segmentation and detection: no other task has it"):
        recipe_of(task="outlines", augmentation=still, loss={"importance": 0.5})
    recipe = recipe_of(task="outlines", augmentation=still)
    adapt(recipe)
    with (recipe.output / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(float(r["loss"]) == pytest.approx(float(r["outlines"]), rel=1e-4) for r in rows)
    assert [r["outline_f1_50"] for r in rows] == ["", "", "", "25", "", "", "", "25"]


def test_tasks_have_the_names_that_model_cards_have():
    names = {task.name for task in tasks.trained_tasks()}
    assert names <= set(known_tasks()) and {"segmentation", "detection"} <= names


@pytest.mark.parametrize("name", [task.name for task in tasks.trained_tasks()])
def test_only_its_own_module_spells_the_name_of_a_task(name):
    """But for the key of COCO JSON that happens to be called alike."""
    quoted = re.compile(f"""["']{name}["']""")
    found = {
        (str(path.relative_to(PACKAGE)), line.partition(" = ")[0].strip())
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if quoted.search(line)
    }
    assert found == {(f"tasks/{name}.py", "name: ClassVar[str]")}


def test_measuring_needs_neither_pytorch_nor_the_exporter():
    modules = ", ".join(f"sparsevit_training.{m}" for m in ("evaluate", "evaluation_data", "tasks"))
    forbidden = "{'torch', 'onnx', 'sparsevit_exporter'}"
    command = f"import sys; sys.path[:] = {sys.path!r}; import {modules}; print(*({forbidden} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
