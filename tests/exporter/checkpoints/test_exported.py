"""Exported files read back: the same network as the one that was exported, whatever the export did to it."""

import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from exports import half_segmenter
from external_weights import split_weights
from sparsevit_exporter import ExportOptions, SparseViT, export, folding, load_checkpoint
from sparsevit_exporter.card_file import record_metrics
from sparsevit_exporter.weights import trained_state
from sparsevit_runtime.card import CARD_KEY, MetricCard, ModelCard
from sparsevit_runtime.errors import CheckpointError
from sparsevit_runtime.model import bundled_models


@pytest.mark.slow
def test_the_file_calls_its_weights_as_the_network_does(tmp_path_factory):
    exported = half_segmenter(tmp_path_factory)
    state = exported.network.state_dict()
    floats = {w.name: w for w in onnx.load(exported.path).graph.initializer if w.data_type in (1, 10)}
    names = {name.removesuffix("/half") for name in floats}
    constants = {name for name in names if name.startswith("val_")} | {"backbone.embed.mean"}  # scales, say, and pixels
    keys = {name.partition(":")[0] for name in names - constants}
    assert keys <= state.keys()
    norms = {name for name in state if "running_" in name or name.endswith(("_tracked", "_index"))}
    folded = {f"{name.rpartition('.')[0]}.weight" for name in norms if "running_mean" in name}
    assert keys == state.keys() - norms - folded
    assert {name for name in names if "blocks.1.attn.w_msa.qkv.weight" in name and "stages.0" in name} == {
        "backbone.stages.0.blocks.1.attn.w_msa.qkv.weight:scaled"
    }
    norm = numpy_helper.to_array(floats["backbone.norm1.bias"])
    assert (norm == state["backbone.norm1.bias"].numpy()).all()


@pytest.mark.slow
def test_weights_that_are_equal_come_back_each(tmp_path):
    """The tracer keeps one of several equal weights, as a network has that was never trained."""
    net = SparseViT(8, (2, 1), (1, 2), window_size=4).eval()
    torch.nn.init.ones_(net.stages[0].blocks[1].ffn.layers[1].bias)
    assert export(net, tmp_path / "m.onnx", ExportOptions(96, 128)).holds
    read = load_checkpoint(tmp_path / "m.onnx").network.state_dict()
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(read[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("height", "padded"), [(96, False), (98, True)])
@pytest.mark.parametrize("fold", ["bytes", "pixels"])
def test_pixels_come_back_from_files_of_today_and_of_before(bundled, height, padded, fold):
    """Those of before had the mean in the bias only where the image is not padded."""
    card = ModelCard.from_json(next(p.value for p in bundled.metadata_props if p.key == CARD_KEY))
    card = card.model_copy(update={"input": card.input.model_copy(update={"height": height})})
    weight, bias = torch.randn(8, 3, 4, 4), torch.randn(8)
    centred = padded and fold == "pixels"
    folded, shift = folding.fold_pixels(weight, bias, card.input.mean, card.input.std, centred)
    name = "backbone.patch_embed.projection"
    state = trained_state({f"{name}.weight:{fold}": folded.t(), f"{name}.bias:{fold}": shift}, card)
    torch.testing.assert_close(state, {f"{name}.weight": weight, f"{name}.bias": bias})


def test_a_bundled_model_by_its_name():
    loaded = load_checkpoint("street-scenes")
    assert loaded.task == "segmentation" and len(loaded.classes) == 11
    assert loaded.training["licence"] and not loaded.metrics  # those are the file's, not those of what it becomes


@pytest.fixture(scope="module")
def bundled():
    return onnx.load(bundled_models()["street-scenes"])


def without_card(proto):
    del proto.metadata_props[:]


def with_card(**changes):
    def change(proto):
        entry = next(p for p in proto.metadata_props if p.key == CARD_KEY)
        card = ModelCard.from_json(entry.value)
        entry.value = card.model_copy(
            update={k: getattr(card, k).model_copy(update=v) for k, v in changes.items()}
        ).to_json()

    return change


def without_weight(proto):
    """As another version's exporter may name it."""
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = name.replace("qkv.bias", "query.bias")
        for i, name in enumerate(node.output):
            node.output[i] = name.replace("qkv.bias", "query.bias")
    for weight in proto.graph.initializer:
        weight.name = weight.name.replace("qkv.bias", "query.bias")


def with_other_answers(proto):
    """All weights are in their places, and the graph does something else with them."""
    last = next(node for node in proto.graph.node if "head.classify.weight" in node.input)
    logits, last.output[0] = last.output[0], "negated"
    proto.graph.node.insert(list(proto.graph.node).index(last) + 1, helper.make_node("Neg", ["negated"], [logits]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_card, "no model card"),
        (with_card(windows={"fixed": tuple((0.5,) * depth for depth in (2, 2, 6, 2))}), "fixed plan"),
        (with_card(windows={"depths": (2, 2, 4, 2)}), "weights are not where"),
        (without_weight, "weights are not where"),
        (with_other_answers, "agrees with it in"),
    ],
    ids=["no card", "fixed", "other depths", "other names", "other answers"],
)
def test_what_cannot_be_read_back(tmp_path, bundled, change, message):
    proto = onnx.ModelProto()
    proto.CopyFrom(bundled)
    change(proto)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


def test_damaged_files(tmp_path):
    whole = bundled_models()["street-scenes"].read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[: len(whole) // 2])
    for path, options in ((tmp_path / "m.onnx", {}), (tmp_path / "absent.onnx", {})):
        with pytest.raises(CheckpointError, match=path.name):
            load_checkpoint(path, **options)
    with pytest.raises(CheckpointError, match="config cannot change it"):
        load_checkpoint("street-scenes", config={"window_size": 5})


@pytest.mark.slow
def test_weights_in_another_file_are_read(tmp_path, tmp_path_factory):
    whole, path = half_segmenter(tmp_path_factory).path, tmp_path / "m.onnx"
    weights = split_weights(whole, path)
    read = load_checkpoint(path).network.state_dict()
    for name, tensor in load_checkpoint(whole).network.state_dict().items():
        torch.testing.assert_close(read[name], tensor, rtol=0, atol=0)

    figure = MetricCard(name="mIoU", dataset="d", ratio=0.0, value=50.0, unit="%")
    before = weights.read_bytes()
    record_metrics(path, [figure])  # the weights stay where they are
    assert weights.read_bytes() == before and path.stat().st_size < whole.stat().st_size
    assert load_checkpoint(path).task == "segmentation"

    weights.write_bytes(before[:100])
    with pytest.raises(CheckpointError, match="cannot read the weights of .* in weights.bin"):
        load_checkpoint(path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="which is not beside it; copy both files together"):
        load_checkpoint(path)
