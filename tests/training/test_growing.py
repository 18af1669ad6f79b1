import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from sparsevit_exporter.backbone import SparseViT
from sparsevit_exporter.checkpoints.yolox import load_front, load_head
from sparsevit_exporter.front import Front
from sparsevit_exporter.heads.decoupled import DecoupledHead
from sparsevit_exporter.heads.detection import RawDetections
from sparsevit_exporter.options import IMAGENET_MEAN, IMAGENET_STD
from sparsevit_runtime.errors import CheckpointError
from sparsevit_training.growing import _pass_through, _rank_by_objects, _standardise, grow
from sparsevit_training.importance import importance_loss, object_weights, stage_inputs

WIDTH, CHANNELS = 4, (8, 16, 32, 64)
#: Of 5 classes in the file.
CLASSES = (3, 0)


def convolutions(module):
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An ONNX file with the convolutions of a YOLOX with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        parts = [*convolutions(Front(WIDTH, CHANNELS).features), *convolutions(DecoupledHead(CHANNELS, 5, 16))]
    pairs = [(c.weight.detach(), c.bias.detach()) for c in parts]
    pairs[0] = (torch.randn(WIDTH, 12, 3, 3, generator=torch.Generator().manual_seed(1)) / 300, pairs[0][1])
    nodes = [helper.make_node("Conv", [f"x{i}", f"w{i}", f"b{i}"], [f"x{i + 1}"]) for i in range(len(pairs))]
    tensors = [numpy_helper.from_array(t.numpy(), f"{n}{i}") for i, p in enumerate(pairs) for n, t in zip("wb", p)]
    path = tmp_path_factory.mktemp("yolox") / "yolox.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "yolox", [], [], tensors)), path)
    return path


def test_a_heads_weights_out_of_a_file_of_yolox(file):
    head = DecoupledHead(CHANNELS, len(CLASSES), 16)
    load_head(head, file, CLASSES)
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(file).graph.initializer}
    last = len(stored) // 2 - 1  # the last level's object layer
    assert torch.equal(head.levels[2].object.weight, stored[f"w{last}"])
    assert torch.equal(head.levels[2].object.bias, stored[f"b{last}"])
    named = [name for name, t in stored.items() if t.shape == (5, 16, 1, 1)]
    assert torch.equal(head.levels[0].classify.weight, stored[named[0]][list(CLASSES)])
    with pytest.raises(CheckpointError, match="of the same width"):
        load_head(DecoupledHead(CHANNELS, 2, 8), file, CLASSES)


def test_a_grown_detector_answers_as_yolox_at_every_plan(file):
    torch.manual_seed(0)
    backbone = SparseViT(8, (2, 1, 1, 1), (1, 1, 2, 2), 4, front_width=WIDTH)
    load_front(backbone.front, file, IMAGENET_MEAN, IMAGENET_STD)
    head, original = (DecoupledHead(CHANNELS, len(CLASSES), 16).eval() for _ in range(2))
    load_head(original, file, CLASSES)
    batches = [nn.functional.interpolate(torch.randn(4, 3, 8, 12), scale_factor=16) for _ in range(3)]
    explained = grow(backbone, head, file, CLASSES, batches)
    assert min(explained) > 0.9
    with torch.no_grad():
        said = original(backbone.front(batches[0]))
        for keep in (None, (20, 5, 2, 1)):
            own = head(backbone(batches[0], keep=keep))
            errors = [(a - b).std() / b.std() for a, b in zip(own, said, strict=True)]
            assert max(errors) < 0.3, errors


def test_windows_score_by_what_is_found(file):
    """Bright squares are found; what the windows of new images hold is then told by their scores."""
    torch.manual_seed(0)
    backbone = SparseViT(8, (2, 1, 1, 1), (1, 1, 2, 2), 4, front_width=WIDTH)
    load_front(backbone.front, file, IMAGENET_MEAN, IMAGENET_STD)
    images, boxes = torch.randn(16, 3, 128, 192) / 10, torch.zeros(16, 1, 4)
    for image, box in zip(images, boxes, strict=True):
        x, y = (32 * int(torch.randint(n, ())) for n in (6, 4))
        image[:, y : y + 32, x : x + 32] += 3.0
        box[0] = torch.tensor([x, y, x + 32, y + 32])
    answers = iter(boxes[:12].split(4))

    def found(maps):
        return RawDetections(torch.full((4, 1, 2), 5.0), next(answers))

    with torch.no_grad(), stage_inputs(backbone) as inputs:
        _pass_through(backbone)
        _standardise(backbone, images[:12].split(4))
        _rank_by_objects(backbone, found, images[:12].split(4))
        backbone(images[12:])
    loss = importance_loss(inputs, object_weights(list(boxes[12:]), (128, 192)), 4, (1, 1, 1, 1))
    assert loss.item() < 0.75  # 1 where scores know nothing; the front's weights are random


def test_small_objects_weigh_more_and_stay_before_large_ones():
    boxes = [torch.tensor([[0.0, 0, 4, 4], [2, 2, 18, 18]]), None]
    weights = object_weights(boxes, (16, 20))
    assert weights.shape == (2, 16, 20) and not weights[1].any()
    assert weights[0, 3, 3] == 0.5 == weights[0, 0, 0] and weights[0, 4, 4] == 0.25 == weights[0, 15, 17]
    assert weights[0, 0, 5] == 0 == weights[0, 15, 18]
