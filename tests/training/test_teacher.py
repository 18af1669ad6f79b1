import numpy as np
import pytest
import torch

from sparsevit_runtime.errors import ModelError
from sparsevit_training.recipe import TeacherRecipe
from sparsevit_training.teacher import FeatureDistillation, Teacher


def recipe(path, features=(("s4", "r4"), ("s8",)), strides=(4, 8)):
    return TeacherRecipe(path=path, features=features, strides=strides)


def views(count, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_inner_tensors_at_any_size(teacher_file):
    teacher = Teacher(recipe(teacher_file))
    assert teacher.calibrate(views(4, 40, 48)) == [10, 7]
    fine, coarse = teacher(views(2, 36, 60)).features  # padded to 40x64
    assert fine.shape == (2, 10, 10, 16) and coarse.shape == (2, 7, 5, 8)


def test_channels_are_standardised(teacher_file):
    teacher = Teacher(recipe(teacher_file, features=(("s4",),), strides=(4,)))
    images = views(8, 64, 64)
    teacher.calibrate(images)
    features = teacher(images).features[0].float()
    assert features.mean((0, 2, 3)).abs().max() < 0.05
    assert ((features.std((0, 2, 3)) - 1).abs() < 0.15).all()


def test_use_before_calibration(teacher_file):
    with pytest.raises(ModelError, match="calibrate"):
        Teacher(recipe(teacher_file))(views(1, 32, 32))


@pytest.mark.parametrize(
    ("content", "features", "match"),
    [
        (None, (("s4",),), "not a readable"),
        (b"not onnx", (("s4",),), "not a readable"),
        ("keep", (("nowhere",),), "nowhere"),
    ],
)
def test_unusable_teachers(teacher_file, content, features, match):
    if content is None:
        teacher_file.unlink()
    elif content != "keep":
        teacher_file.write_bytes(content)
    with pytest.raises(ModelError, match=match):
        Teacher(recipe(teacher_file, features=features, strides=(4,)))


def test_distillation_is_zero_for_aligned_features_and_learns():
    torch.manual_seed(0)
    distillation = FeatureDistillation([4], [4])
    target = torch.randn(2, 4, 6, 8)
    with torch.no_grad():
        distillation.projections[0].weight.copy_(torch.eye(4)[..., None, None])
        distillation.projections[0].bias.zero_()
    assert distillation([target * 3.0], [target]).item() == pytest.approx(0, abs=1e-6)
    assert distillation([-target], [target]).item() == pytest.approx(2, abs=1e-5)

    student = torch.randn(2, 4, 5, 8, requires_grad=True)  # one row fewer than the padded teacher
    loss = distillation([student], [target])
    loss.backward()
    assert 0 < loss.item() < 2 and student.grad.abs().sum() > 0
