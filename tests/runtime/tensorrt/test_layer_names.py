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
from sparsevit_runtime.graph.branches import without_conditions
from sparsevit_runtime.graph.onnx_file import without_functions
from sparsevit_runtime.graph.parts import OTHER, PARTS, part_of_layer
from sparsevit_runtime.tensorrt.layer_names import layer_origins
from sparsevit_runtime.tensorrt.plugin_library import WITHOUT_PLUGIN

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
def test_every_layer_of_a_real_engine_has_a_part(
    build_engine,  # noqa: F811
    plugin_library,
    exported,
    tmp_path,
    portable,
):
    path, data = tmp_path / "m.onnx", exported().read_bytes()
    path.write_bytes(without_conditions(data if portable else without_functions(data, WITHOUT_PLUGIN)))
    profile = {"image": [[1, 60, 88, 3]] * 3, "keep": [[0] * 4, [6, 2, 1, 1], [12, 4, 1, 1]]}
    report = build_engine(path, profile, None if portable else plugin_library, detailed=True)
    assert report["conditions"] == 0
    layers = logged_layers(report["log"])
    assert len(layers) > (100 if portable else 60)
    renamed = [layer for layer in layers if part_of_layer(layer["Name"]) == OTHER]
    assert len(renamed) > (50 if portable else 30)  # what a profile says without the inspector

    origins = layer_origins(TRT, engine_with(*texts(layers)))
    unknown = {layer["LayerType"] for layer in layers if layer["Name"] not in origins}
    assert unknown <= WITHOUT_NODES
    parts = Counter(part_of_layer(origins[layer["Name"]]) for layer in layers if layer["Name"] in origins)
    assert OTHER not in parts
    if portable:  # bodies are fused with what is around them
        assert {part for fused in parts for part in fused.split("+")} == {*PARTS, "labels"} - {"front"}
    else:
        assert set(parts) == {*PARTS, "labels"} - {"front"}
        assert (parts["gather"], parts["scatter"]) == (10, 5)  # a block: its share of the order, and its windows


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


def test_an_engine_of_a_file_without_names_asks_for_another_export(caplog):
    layer = {"Name": "__myl_Fc_myl0_1", "LayerType": "gemm", "Metadata": "[ONNX Layer: node_MatMul_48]"}
    origins = layer_origins(TRT, engine_with(*texts([layer])))
    assert part_of_layer(origins["__myl_Fc_myl0_1"]) == OTHER
    assert "export it again" in caplog.text
    caplog.clear()
    layer["Metadata"] = "[ONNX Layer: stages.0/blocks.1/mlp/expand/MatMul]"
    assert part_of_layer(layer_origins(TRT, engine_with(*texts([layer])))["__myl_Fc_myl0_1"]) == "mlp"
    assert not caplog.text
