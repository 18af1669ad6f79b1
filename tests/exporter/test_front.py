"""The convolutional front: what it adds to a network, where its weights come from, and its way through an export."""

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exports import CLASSES, card_of, native_document, write_export
from networks import randomize
from sparsevit_exporter import ExportOptions, SegmentationModel, SparseViT, export, load_checkpoint
from sparsevit_exporter.checkpoints.yolox import load_front
from sparsevit_exporter.front import Front
from sparsevit_exporter.options import IMAGENET_MEAN, IMAGENET_STD
from sparsevit_runtime.errors import CheckpointError, ExportError
from sparsevit_runtime.graph.parts import part_of_layer
from sparsevit_runtime.windows.macs import card_macs, card_parts
from yolox_files import write_yolox

DEPTHS, HEADS = (2, 1, 1, 1), (1, 1, 2, 2)
CHANNELS = (8, 16, 32, 64)


def fronted(**changes):
    return SparseViT(
        **{"embed_dim": 8, "depths": DEPTHS, "num_heads": HEADS, "window_size": 4, "front_width": 4} | changes
    )


def test_every_stage_gets_a_map_of_its_size_and_blocks_begin_as_ones_that_change_nothing():
    torch.manual_seed(0)
    net = fronted().eval()
    images = torch.randn(1, 3, 91, 130)
    with torch.no_grad():
        dense, nothing = net(images), net(images, keep=[0] * 4)
        assert [tuple(m.shape[1:]) for m in net.front(images)] == [tuple(m.shape[1:]) for m in dense]
        for a, b in zip(dense, nothing, strict=True):
            torch.testing.assert_close(a, b)
        net.front.projections[3].layer[0].weight.zero_()
        assert not torch.allclose(net(images)[3], dense[3])


def test_a_network_without_a_front_is_the_published_one():
    net = SparseViT(8, DEPTHS, HEADS, window_size=4)
    assert net.front is None and "front_width" not in net.config
    assert not any("front" in name for name in net.state_dict())
    assert net.stages[0].blocks[0].ffn.contract.weight.abs().max() > 0


@pytest.mark.parametrize("changes", [{"front_width": 5}, {"depths": (2, 2), "num_heads": (1, 1)}])
def test_a_front_for_other_networks_is_refused(changes):
    with pytest.raises(ValueError, match="even, and there are 4 stages"):
        fronted(**changes)


def test_weights_out_of_a_file_of_yolox(tmp_path):
    """The stem over normalised RGB is YOLOX's focus over BGR bytes, to the border, where there is black beyond."""
    pairs = write_yolox(tmp_path / "yolox.onnx", 4)
    front = Front(4, CHANNELS).eval()
    load_front(front, tmp_path / "yolox.onnx", IMAGENET_MEAN, IMAGENET_STD)
    last = front.features.up_to5.join[0]
    assert torch.equal(last.weight, pairs[-1][0]) and torch.equal(last.bias, pairs[-1][1])
    pixels = torch.randint(256, (1, 3, 16, 20)).float()  # BGR
    focus = torch.cat([pixels[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1)
    seen = []
    front.features.stem[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        front((pixels.flip(1) - mean) / std)
    torch.testing.assert_close(seen[0], F.conv2d(focus, *pairs[0], padding=1), rtol=1e-4, atol=1e-2)


def test_files_of_other_networks_are_refused(tmp_path):
    write_yolox(tmp_path / "yolox.onnx", 4)
    with pytest.raises(CheckpointError, match=r"convolution 0 is \[\(4, 3, 6, 6\).*of width 6"):
        load_front(Front(6, CHANNELS), tmp_path / "yolox.onnx", IMAGENET_MEAN, IMAGENET_STD)
    with pytest.raises(CheckpointError, match=r"cannot read .*none\.onnx"):
        load_front(Front(4, CHANNELS), tmp_path / "none.onnx", IMAGENET_MEAN, IMAGENET_STD)


def segmenter():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomize(SegmentationModel(fronted(), len(CLASSES), 8), seed=3)


def test_a_native_checkpoint_has_its_front(tmp_path):
    model = segmenter()
    torch.save(native_document(model, CLASSES), tmp_path / "w.pth")
    read = load_checkpoint(tmp_path / "w.pth").network
    assert read.backbone.config == model.backbone.config
    torch.testing.assert_close(read.state_dict(), model.state_dict())


def test_another_normalisation_than_the_fronts_is_refused(tmp_path):
    with pytest.raises(ExportError, match="made for other pixels"):
        export(segmenter(), tmp_path / "m.onnx", ExportOptions(96, 128, mean=(1.0, 2.0, 3.0)), CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [ExportOptions(91, 130, half_weights=True), ExportOptions(96, 128, layout="normalized")],
    ids=["camera", "normalized"],
)
def test_a_file_computes_says_and_gives_back_its_front(tmp_path, options):
    exported = write_export(segmenter(), tmp_path / "m.onnx", options, CLASSES)
    card = card_of(exported.path)
    assert card.architecture.front.width == 4
    parts = card_parts(card, 0.5)
    assert parts["front"] == card.architecture.front.macs > 0
    assert list(parts)[:2] == ["embed", "front"] and card_macs(card, 0.5) == sum(parts.values()) - parts["head"]
    nodes = onnx.load(exported.path).graph.node
    convolutions = [node.name for node in nodes if node.op_type == "Conv" and part_of_layer(node.name) == "front"]
    assert len(convolutions) == sum(isinstance(m, nn.Conv2d) for m in exported.network.backbone.front.modules())
    readers = {node.op_type for node in nodes if "image" in node.input}
    assert readers == ({"PatchEmbed", "Cast"} if options.layout == "camera" else readers)  # TensorRT turns no bytes
    read = load_checkpoint(exported.path).network.backbone.front.features
    limits = {"rtol": 1e-3, "atol": 1e-3} if options.half_weights else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(read.state_dict(), exported.network.backbone.front.features.state_dict(), **limits)
