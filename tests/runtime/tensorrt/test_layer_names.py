"""Which nodes TensorRT's layers were made of.

Only an engine opened on a GPU has an inspector. TensorRT's log has the same facts while it builds, a line per layer, so
the inspector here is a stand-in that tells what the real builder of TensorRT for RTX has logged.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from types import SimpleNamespace

import pytest

from plugins.conftest import build_engine  # noqa: F401 - a fixture
from sparsevit_runtime.graph.onnx_file import without_functions
from sparsevit_runtime.graph.parts import OTHER, PARTS, exported_parts, name_by_part, part_of_layer, read_nodes
from sparsevit_runtime.model import find_model
from sparsevit_runtime.tensorrt.layer_names import layer_origins

TRT = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON="json"))
LOGGED = re.compile(r"^Name: (?P<Name>.+?), LayerType: (?P<LayerType>\w+), .*Metadata: (?P<Metadata>.*)$", re.MULTILINE)
#: Run on the host, or only wait for another stream.
WITHOUT_NODES = {"shape_call", "signal", "wait"}


def engine_with(*texts: str) -> SimpleNamespace:
    """An engine whose inspector gives these texts."""

    def information(index, form):
        assert form == TRT.LayerInformationFormat.JSON
        return texts[index]

    inspector = SimpleNamespace(get_layer_information=information)
    return SimpleNamespace(num_layers=len(texts), create_engine_inspector=lambda: inspector)


def logged_layers(log: list[str]) -> list[dict[str, str]]:
    """The layers of an engine as the builder's verbose log lists them at its end."""
    listing = next(line for line in log if line.startswith("VERBOSE Layers:"))
    return [found.groupdict() for found in LOGGED.finditer(listing)]


def texts(layers: list[dict[str, str]]) -> list[str]:
    """As the inspector writes them: the marks of fused nodes are parted by a bare control character."""
    return [json.dumps(layer, ensure_ascii=False).replace("\\u001f", "\x1f") for layer in layers]


@pytest.mark.slow
@pytest.mark.parametrize("portable", [False, True], ids=["plugins", "portable"])
def test_every_layer_of_a_real_engine_has_a_part(build_engine, plugin_library, tmp_path, portable):  # noqa: F811
    named = name_by_part(find_model("street-scenes").read_bytes())
    path = tmp_path / "named.onnx"
    path.write_bytes(named if portable else without_functions(named))
    profile = {"image": [[1, 420, 560, 3]] * 3, "keep": [[0] * 6, [120, 32, 8, 8, 8, 2], [300, 80, 20, 20, 20, 6]]}
    report = build_engine(path, profile, None if portable else plugin_library, detailed=True)
    layers = logged_layers(report["log"])
    assert len(layers) > 200
    renamed = [layer for layer in layers if part_of_layer(layer["Name"]) == OTHER]
    assert len(renamed) > 100  # what a profile says without the inspector

    origins = layer_origins(TRT, engine_with(*texts(layers)))
    unknown = {layer["LayerType"] for layer in layers if layer["Name"] not in origins}
    assert unknown <= WITHOUT_NODES
    parts = Counter(part_of_layer(origins[layer["Name"]]) for layer in layers if layer["Name"] in origins)
    assert OTHER not in parts
    if portable:  # bodies are fused with what is around them
        assert {part for fused in parts for part in fused.split("+")} == set(PARTS)
    else:
        assert set(parts) == set(PARTS)
        assert parts["gather"] == parts["scatter"] == 12


def test_fused_layers_name_all_their_nodes_once():
    layer = {
        "Name": "__myl_FcAdd_myl0_2",
        "LayerType": "gemm",
        "Metadata": "[ONNX Layer: mlp/b]\x1f[ONNX Layer: mlp/b]\x1f[ONNX Layer: node_of_y | scatter/a (WindowScatter)]",
    }
    origins = layer_origins(TRT, engine_with(*texts([layer])))
    assert origins == {"__myl_FcAdd_myl0_2": "mlp/b + node_of_y | scatter/a (WindowScatter)"}
    assert part_of_layer(origins["__myl_FcAdd_myl0_2"]) == "mlp+scatter"


@pytest.mark.parametrize(
    "text",
    ['"__myl_FcAdd_myl0_2"', '{"Name": "a", "Metadata": ""}', '{"Name": "a"}', '{"Name": "a", "Metadata": null}', ""],
    ids=["an engine without details", "no nodes", "no metadata", "null", "nothing"],
)
def test_layers_of_which_nothing_is_known_are_left_out(text):
    assert layer_origins(TRT, engine_with(text)) == {}


def test_parts_of_fused_layers_are_in_the_order_of_a_frame():
    assert part_of_layer("scatter/a + mlp/b") == part_of_layer("mlp/b + scatter/a") == "mlp+scatter"


def test_casts_of_weights_belong_to_what_reads_them():
    nodes = read_nodes(find_model("street-scenes").read_bytes())
    parts = exported_parts(nodes)
    readers = {name: i for i in range(len(nodes) - 1, -1, -1) for name in nodes[i].inputs}
    casts = [i for i, node in enumerate(nodes) if node.kind == "Cast" and node.inputs[0].endswith("/half")]
    assert len(casts) > 50  # the bundled model stores its weights in half
    assert [parts[i] for i in casts] == [parts[readers[nodes[i].outputs[0]]] for i in casts]
    assert {"merge", "head"} <= {parts[i] for i in casts}
