"""Parts of exported graphs, and of what ONNX Runtime makes of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from networks import randomize
from sparsevit_exporter import DetectionModel, ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime import load, probe_image
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.graph.parts import OTHER, PARTS, exported_parts, name_by_part, part_of_layer, read_nodes
from sparsevit_runtime.windows.plan import Plan

DEPTHS = (2, 1, 2, 1)
FIXED = ((0.5, 0.5), (0.0,), (0.0, 0.0), (0.0,))


@pytest.mark.parametrize(
    ("layer", "part"),
    [
        ("", OTHER),
        ("mlp/node_MatMul_95", "mlp"),
        ("attention/node_MatMul_9 + attention/node_add", "attention"),
        ("{ForeignNode[attention/node_layer_norm_1...mlp/node_add_33]}", "attention+mlp"),
        ("__myl_FcAdd_myl12_3", OTHER),
        ("PWN(score/node_Div)", "score"),
        ("myhead/x overhead/y", OTHER),
        ("headmlp", OTHER),
    ],
)
def test_the_part_a_layer_says(layer, part):
    assert part_of_layer(layer) == part


@pytest.fixture(scope="module", params=["half", "fixed", "fp16-detection"])
def exported(request, tmp_path_factory):
    """Every stage padded, for each kind of file."""
    backbone = SparseViT(8, DEPTHS, (1, 1, 2, 2))
    kind = DetectionModel if "detection" in request.param else SegmentationModel
    network = randomize(kind(backbone, 2, 8), seed=1)
    path = tmp_path_factory.mktemp("parts") / f"{request.param}.onnx"
    options = ExportOptions(
        60,
        88,
        precision="fp16" if "fp16" in request.param else "fp32",
        half_weights=request.param == "half",
        fixed=Plan(FIXED) if request.param == "fixed" else None,
    )
    assert export(network, path, options, [ClassCard(name="a"), ClassCard(name="b")]).holds
    return path


@pytest.mark.slow
def test_every_node_of_an_exported_graph_has_the_part_its_module_says(exported):
    nodes = read_nodes(exported.read_bytes())
    parts = exported_parts(nodes)
    count = Counter(zip((node.kind for node in nodes), parts))
    blocks = sum(DEPTHS)
    assert OTHER not in parts
    assert count["Softmax", "attention"] == count["Erf", "mlp"] == blocks
    assert count["MatMul", "attention"] == 6 * blocks  # query, key, value, scores, answers, projection
    assert count["MatMul", "mlp"] == 2 * blocks
    assert count["LayerNormalization", "attention"] == count["LayerNormalization", "mlp"] == blocks
    assert count["MatMul", "merge"] == count["LayerNormalization", "merge"] == 3
    assert count["MatMul", "embed"] == count["LayerNormalization", "embed"] == 1
    sparse = 2 if exported.stem == "fixed" else blocks
    assert count["WindowGather", "gather"] == count["WindowScatter", "scatter"] == sparse
    assert not {part for kind, part in count if kind == "Conv"} - {"head"}
    assert {part for kind, part in count if kind in ("WindowScore", "TopK")} <= {"score", "head"}


@pytest.mark.slow
def test_naming_changes_names_alone(exported):
    data = exported.read_bytes()
    named = name_by_part(data)
    model, other = onnx.load_from_string(data), onnx.load_from_string(named)
    assert [n.name.partition("/")[0] for n in other.graph.node] == exported_parts(read_nodes(data))
    assert len({n.name for n in other.graph.node}) == len(other.graph.node)
    for node in (*model.graph.node, *other.graph.node):
        node.name = ""
    assert model == other


@pytest.mark.parametrize("data", [b"\x0f", b"\x3a\x7f\x00"])
def test_what_is_no_model(data):
    with pytest.raises(ValueError, match="byte"):
        name_by_part(data)


@pytest.mark.slow
def test_layers_of_a_run_have_parts(exported):
    with load(exported, threads=1) as model:
        image = probe_image(60, 88, seed=0)[None]
        layers = model.backend.layers(feeds_of(image))
        times = Counter()
        for name, ms in layers:
            times[part_of_layer(name)] += ms
        assert set(times) <= {*PARTS, OTHER}
        assert set(PARTS) - set(times) <= ({"score"} if exported.stem == "fixed" else set())
        assert times[OTHER] < 0.03 * sum(times.values())
        if model.card.windows.fixed is None:  # other windows, other times, the same session
            none = model.backend.layers(feeds_of(image, np.zeros(sum(s.pairs for s in model.card.stages), np.int64)))
            assert [name for name, _ in none] == [name for name, _ in layers]
