import pytest
import torch

from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_runtime.errors import CheckpointError, SinkError
from sparsevit_training.adaptation import build_model
from sparsevit_training.checkpoint import load_for_resume, model_document, save_whole, start_from
from sparsevit_training.datasets import ClassInfo

CLASSES = (ClassInfo("a", (1, 2, 3)), ClassInfo("b", (4, 5, 6)))


@pytest.fixture
def saved(recipe_of, tmp_path):
    recipe = recipe_of(data_note="made up", licence_note="none")
    torch.manual_seed(1)
    model = build_model(recipe, 2)
    path = tmp_path / "model.pth"
    metrics = [{"name": "mIoU", "dataset": "tiny", "ratio": 0.5, "value": 40.0, "unit": "%"}]
    save_whole(model_document(model, CLASSES, recipe, {"steps": 5}, metrics), path)
    return path, model, recipe


def test_the_exporter_reads_it(saved):
    path, model, _ = saved
    loaded = load_checkpoint(path)
    assert loaded.task == "segmentation" and loaded.input_hw == (40, 56)
    assert [c.name for c in loaded.classes] == ["a", "b"]
    assert loaded.training["data"] == "made up" and loaded.training["steps"] == 5
    assert loaded.metrics[0].value == 40.0
    torch.testing.assert_close(loaded.network.state_dict(), model.state_dict())


def test_starting_from_it(saved):
    path, model, recipe = saved
    torch.manual_seed(2)
    same, more_classes = build_model(recipe, 2), build_model(recipe, 3)
    start_from(same, path)
    torch.testing.assert_close(same.state_dict(), model.state_dict())
    head = more_classes.head.state_dict()["classify.weight"].clone()
    start_from(more_classes, path)
    torch.testing.assert_close(more_classes.backbone.state_dict(), model.backbone.state_dict())
    assert torch.equal(more_classes.head.state_dict()["classify.weight"], head)


@pytest.mark.slow
def test_starting_from_a_bundled_model(recipe_of):
    """With the architecture that the docs name."""
    size = {"embed_dim": 32, "depths": [2, 2, 6, 2], "num_heads": [1, 2, 4, 8], "front_width": 16, "head_channels": 64}
    mine = build_model(recipe_of(model=size), 3)
    start_from(mine, "street-scenes")
    bundled = load_checkpoint("street-scenes").network.backbone
    torch.testing.assert_close(mine.backbone.state_dict(), bundled.state_dict())


def test_starting_from_another_architecture(saved, recipe_of):
    other = build_model(recipe_of(model={"embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}), 2)
    with pytest.raises(CheckpointError, match="'embed_dim': 8"):
        start_from(other, saved[0])


def test_resuming_needs_a_training_checkpoint(saved, tmp_path):
    with pytest.raises(CheckpointError, match="not a training checkpoint"):
        load_for_resume(saved[0], torch.device("cpu"))
    broken = tmp_path / "last.pth"
    broken.write_bytes(saved[0].read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_for_resume(broken, torch.device("cpu"))


def test_a_failed_save_leaves_the_old_file(saved):
    path = saved[0]
    before = path.read_bytes()
    with pytest.raises(AttributeError, match="local object"):
        save_whole({"bad": lambda: None}, path)
    with pytest.raises(SinkError):
        save_whole({}, path.parent / "absent" / "model.pth")
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.pth", "tiny"]
