import numpy as np
import pytest
import torch

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_training.batch import normalize
from sparsevit_training.batches import BatchMaker, common_classes
from sparsevit_training.datasets import IGNORE, ClassInfo, Dataset, Sample, open_dataset
from sparsevit_training.tasks import trained_task
from sparsevit_training.teacher import Teacher


class Made(Dataset):
    """One sample of a single colour and class."""

    def __init__(self, name, value, classes=("a", "b"), label=0):
        self.name = name
        self.classes = tuple(ClassInfo(c, (0, 0, 0)) for c in classes)
        image = np.full((48, 64, 3), value, np.uint8)
        self.sample = Sample(image, np.full((48, 64), label, np.uint8) if classes else None, name)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.sample


def objective(recipe):
    return trained_task(recipe.task).objective(recipe)


@pytest.fixture
def maker_of(recipe_of):
    def build(progress=lambda step: step / 8, **changes):
        recipe = recipe_of(**changes)
        return BatchMaker(recipe, objective(recipe), [open_dataset(d) for d in recipe.data], progress)

    return build


def same(a, b):
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and a.keep == b.keep


def test_a_step_is_a_function_of_its_number(maker_of):
    first, second = maker_of(), maker_of()
    for step in (5, 0, 3):
        assert same(first.make(step), second.make(step))
    assert not same(first.make(5), first.make(3))


@pytest.mark.parametrize(("ahead", "workers"), [(False, 0), (True, 0), (True, 2)])
def test_streams_agree_with_single_steps(maker_of, ahead, workers):
    maker = maker_of()
    streamed = dict(maker.stream(2, 6, ahead, workers))
    assert list(streamed) == [2, 3, 4, 5]
    assert all(same(batch, maker.make(step)) for step, batch in streamed.items())
    assert list(maker.stream(6, 6, ahead, workers)) == []


def test_workers_ask_the_teacher_as_one_process_does(recipe_of, teacher_file):
    teacher = {"path": str(teacher_file), "features": [["s4", "r4"], ["s8"]], "strides": [4, 8]}
    recipe = recipe_of(teacher=teacher)
    data = [open_dataset(d) for d in recipe.data]
    maker = BatchMaker(recipe, objective(recipe), data, lambda step: step / 8, Teacher(recipe.teacher))
    for step, batch in maker.stream(0, 4, True, workers=2):
        for one, other in zip(batch.targets.features, maker.make(step).targets.features, strict=True):
            assert torch.equal(one, other)


def test_a_stream_may_be_left_early(maker_of):
    for step, _ in maker_of().stream(0, 100, True, workers=2):
        if step == 3:
            break
    assert step == 3


def test_shapes_and_plans(maker_of, recipe_of):
    maker, recipe = maker_of(), recipe_of()
    sizes = {(c.height, c.width): c.batch for c in recipe.crops}
    seen = set()
    for step in range(8):
        batch = maker.make(step)
        count, height, width, _ = batch.images.shape
        assert count == sizes[height, width] and batch.labels.shape == (count, height, width)
        assert set(batch.labels.unique().tolist()) <= {0, 1, 2, IGNORE}
        if batch.keep is not None:
            stages = stage_geometries(height, width, recipe.model.depths, recipe.model.window_size)
            assert [k <= s.windows for k, s in zip(batch.keep, stages, strict=True)] == [True, True]
            assert batch.pruned > 0
        seen.add((height, width))
    assert seen == set(sizes)


def test_crops_and_data_follow_the_progress(recipe_of):
    recipe = recipe_of(
        data=[
            {"kind": "street", "share": 1.0, "until": 0.5},
            {"kind": "street", "share": 1.0},
        ],
        crops=[
            {"height": 32, "width": 32, "batch": 4, "until": 0.5},
            {"height": 64, "width": 64, "batch": 2, "since": 0.5},
        ],
        augmentation={"color": 0, "scale": [2, 2], "rotation_degrees": 0},
    )
    maker = BatchMaker(recipe, objective(recipe), [Made("early", 50), Made("always", 200)], lambda step: step / 100)
    early = [maker.make(s) for s in range(0, 50, 5)]
    late = [maker.make(s) for s in range(51, 100, 5)]
    assert {b.images.shape[1] for b in early} == {32} and {b.images.shape[1] for b in late} == {64}
    early, late = ([normalize(b.images, recipe.input.mean, recipe.input.std) for b in part] for part in (early, late))
    assert {len(images.mean((1, 2, 3)).round(decimals=2).unique()) for images in early} >= {2}
    assert all(len(images.mean((1, 2, 3)).round(decimals=2).unique()) == 1 for images in late)


def test_no_data_left_is_an_error(recipe_of):
    recipe = recipe_of(data=[{"kind": "street", "until": 0.5}])
    with pytest.raises(DatasetError, match="until"):
        BatchMaker(recipe, objective(recipe), [Made("x", 9)], lambda step: 0.9).make(0)


def test_normalised_rgb():
    images = torch.zeros((1, 2, 2, 3), dtype=torch.uint8)
    images[..., 0], images[..., 2] = 10, 200  # blue, red
    out = normalize(images, (100.0, 0.0, 5.0), (50.0, 1.0, 5.0))
    assert out.shape == (1, 3, 2, 2) and out.dtype == torch.float32
    assert out[0, :, 0, 0].tolist() == [2.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("datasets", "match"),
    [
        ([], "no data set"),
        ([Made("u", 0, classes=())], "no data set"),
        ([Made("one", 0), Made("two", 0, classes=("a", "c"))], "two has classes"),
    ],
)
def test_classes_must_agree(datasets, match):
    with pytest.raises(DatasetError, match=match):
        common_classes(datasets)
