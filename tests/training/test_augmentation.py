import numpy as np
import pytest

from sparsevit_training.augmentation import crop_sample, jitter_colors, paste_classes
from sparsevit_training.datasets import IGNORE, Sample
from sparsevit_training.recipe import AugmentationRecipe

STILL = AugmentationRecipe(
    scale=(1.0, 1.0), aspect=0.0, rotation_degrees=0.0, flip_probability=0.0, color=0.0, blur_probability=0.0
)


def labelled(height=40, width=60, seed=0) -> Sample:
    """Blocks of 10 pixels whose blue value is 20 times their class."""
    classes = np.random.default_rng(seed).integers(0, 10, (height // 10, width // 10), dtype=np.uint8)
    label = classes.repeat(10, 0).repeat(10, 1)
    return Sample(np.repeat(label[..., None] * 20, 3, axis=2), label, "blocks")


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_crop_of_the_whole_size_is_the_image():
    sample = labelled()
    image, label = crop_sample(sample, (40, 60), STILL, rng())
    assert (image == sample.image).all() and (label == sample.label).all()


def test_flipped():
    sample = labelled()
    image, label = crop_sample(sample, (40, 60), STILL.model_copy(update={"flip_probability": 1.0}), rng())
    assert (image == sample.image[:, ::-1]).all() and (label == sample.label[:, ::-1]).all()


def test_outside_the_image_lie_grey_and_void():
    sample = labelled()
    image, label = crop_sample(sample, (60, 60), STILL, rng())
    assert (label[:10] == IGNORE).all() and (label[50:] == IGNORE).all()
    assert (image[:10] == 114).all() and (image[50:] == 114).all()
    assert (label[10:50] == sample.label).all()


def test_smaller_crops_lie_inside_and_differ():
    sample = labelled()
    views = [crop_sample(sample, (20, 20), STILL, rng(s)) for s in range(20)]
    assert all((label != IGNORE).all() for _, label in views)
    assert len({label.tobytes() for _, label in views}) > 5


@pytest.mark.parametrize("seed", range(5))
def test_image_and_label_move_together(seed):
    wild = AugmentationRecipe(scale=(0.6, 2.0), aspect=0.3, rotation_degrees=15)
    image, label = crop_sample(labelled(seed=seed), (48, 48), wild, rng(seed))
    known = label != IGNORE
    assert known.sum() > 200
    # away from the blocks' borders, where colours mix
    same = [np.roll(label, shift, axis) == label for axis in (0, 1) for shift in (-2, 2)]
    inner = np.logical_and.reduce([known, *same])
    inner[:2] = inner[-2:] = False
    inner[:, :2] = inner[:, -2:] = False
    assert inner.sum() > 100
    assert (np.abs(image[inner][:, 0].astype(int) - label[inner].astype(int) * 20) <= 2).mean() > 0.97


def test_scale_enlarges():
    double = STILL.model_copy(update={"scale": (2.0, 2.0)})
    _, label = crop_sample(labelled(), (80, 120), double, rng())
    assert (label == labelled().label.repeat(2, 0).repeat(2, 1)).mean() > 0.95


def test_rare_classes_are_sought():
    sample = labelled(200, 200)
    sample.label[:] = 0
    sample.label[190:, 190:] = 7
    seeking = STILL.model_copy(update={"rare_classes": (5, 7), "rare_crop_probability": 1.0})
    found = [(crop_sample(sample, (40, 40), seeking, rng(s))[1] == 7).any() for s in range(20)]
    blind = [(crop_sample(sample, (40, 40), STILL, rng(s))[1] == 7).any() for s in range(20)]
    assert sum(found) >= 18 > sum(blind)


def test_unlabelled_samples_are_all_void():
    image, label = crop_sample(Sample(labelled().image, None, "u"), (20, 30), AugmentationRecipe(), rng())
    assert image.shape == (20, 30, 3) and (label == IGNORE).all()


def test_colours_change_with_strength():
    image = labelled().image
    assert (jitter_colors(image, AugmentationRecipe(color=0.0), rng()) == image).all()
    weak, strong = (
        np.mean(
            [
                np.abs(jitter_colors(image, AugmentationRecipe(color=c), rng(s)) - image.astype(int)).mean()
                for s in range(20)
            ]
        )
        for c in (0.2, 1.0)
    )
    assert 0 < weak < strong
    jittered = jitter_colors(image, AugmentationRecipe(blur_probability=1, noise_probability=1), rng())
    assert jittered.shape == image.shape and jittered.dtype == np.uint8


def test_pasting_brings_pixels_and_labels():
    a, b = labelled(seed=1), labelled(seed=2)
    image, label = paste_classes(a.image, a.label, b.image, b.label, (3, 4))
    mask = np.isin(b.label, (3, 4))
    assert (label[mask] == b.label[mask]).all() and (image[mask] == b.image[mask]).all()
    assert (label[~mask] == a.label[~mask]).all() and (image[~mask] == a.image[~mask]).all()
    assert (a.label == labelled(seed=1).label).all()  # the source is left alone


def test_same_seed_same_view():
    views = [crop_sample(labelled(), (32, 32), AugmentationRecipe(), rng(3)) for _ in range(2)]
    assert (views[0][0] == views[1][0]).all() and (views[0][1] == views[1][1]).all()
