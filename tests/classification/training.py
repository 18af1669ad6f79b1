"""Classification, as training knows it: measured alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from classification.runtime import Classification
from sparsevit_training.datasets import ClassInfo, Dataset, Sample
from sparsevit_training.tasks import Task
from sparsevit_training.tasks.evaluation import Evaluation, Tally


@dataclass(frozen=True, kw_only=True)
class Accuracy(Evaluation):
    """Attributes: `right`, per frame."""

    recorded = ("accuracy",)

    right: tuple[bool, ...]

    @property
    def score(self):
        return sum(self.right) / len(self.right)

    @property
    def figures(self):
        return {"accuracy": self.score}

    @property
    def per_class(self):
        return (self.score,) * len(self.classes)


class RightClasses(Tally[Classification]):
    def __init__(self, dataset):
        self.dataset, self.right = dataset, []

    def add(self, index, sample, result):
        self.right.append(self.dataset.paths[index].parent.name == result.kind)

    def evaluation(self, **about):
        return Accuracy(**about, right=tuple(self.right))


class PictureFolders(Dataset):
    """root/CLASS/*.png"""

    name = "pictures"

    def __init__(self, root, names):
        self.paths = sorted(Path(root).glob("*/*.png"))
        self.classes = tuple(ClassInfo(name, (0, 0, 0)) for name in names)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return Sample(cv2.imread(str(self.paths[index])), None, self.paths[index].stem)


class ClassificationTask(Task):
    name = "classification"
    metric = "accuracy"

    def open_evaluation_data(self, root, class_names, split, cache_mb, progress):
        return PictureFolders(root, class_names)

    def tally(self, model, dataset):
        return RightClasses(dataset)
