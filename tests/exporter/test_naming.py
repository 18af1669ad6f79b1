import onnx
import pytest

from exports import half_segmenter, write_half_segmenter
from sparsevit_runtime.graph.parts import OTHER, part_of_layer

pytestmark = pytest.mark.slow  # each export costs seconds of tracing


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> list[onnx.GraphProto]:
    """Of two exports of one network."""
    folder = tmp_path_factory.mktemp("naming")
    paths = half_segmenter(tmp_path_factory).path, write_half_segmenter(folder / "second.onnx").path
    return [onnx.load(path).graph for path in paths]


def test_names_are_unique_tell_the_module_and_stay_the_same_between_exports(graphs):
    assert graphs[0].SerializeToString(deterministic=True) == graphs[1].SerializeToString(deterministic=True)
    nodes = graphs[0].node
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    assert not [name for name in names if part_of_layer(name) == OTHER]
    by_name = {node.name: node for node in nodes}
    for name, kind in (
        ("embed/PatchEmbed", "PatchEmbed"),
        ("stages.0/score/WindowRank_1", "WindowRank"),
        ("stages.0/blocks.1/gather/WindowGatherNorm", "WindowGatherNorm"),
        ("stages.1/blocks.0/attention/qkv/MatMul", "MatMul"),
        ("stages.0/blocks.0/attention/WindowAttention", "WindowAttention"),
        ("stages.1/blocks.0/attention/proj/MatMul", "MatMul"),
        ("stages.1/blocks.0/attention/AddNorm", "AddNorm"),
        ("stages.0/blocks.1/mlp/LinearGelu", "LinearGelu"),
        ("stages.1/blocks.0/scatter/WindowScatterAdd", "WindowScatterAdd"),
        ("stages.0/merge/reduction/MatMul", "MatMul"),
        ("stages.0/merge/PatchMergeNorm", "PatchMergeNorm"),
        ("head/maps.1/FeatureMapNorm", "FeatureMapNorm"),
        ("head/pyramid/laterals.0.0/Conv", "Conv"),
        ("labels/LabelDecode", "LabelDecode"),
    ):
        assert by_name[name].op_type == kind


def test_tensors_are_named_like_the_nodes_that_make_them(graphs):
    graph = graphs[0]
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0].endswith("/half"):
            continue  # makes a weight, which has a name
        for i, name in enumerate(node.output):
            assert name in outputs or name == (node.name if i == 0 else f"{node.name}:{i}")
    made = {name for node in graph.node for name in node.output}
    known = made | {i.name for i in graph.input} | {w.name for w in graph.initializer} | {""}
    assert all(name in known for node in graph.node for name in node.input)
    assert outputs <= made
