"""Where plugins are looked up: in this project's namespace, or the empty one of libraries of before."""

from __future__ import annotations

from types import SimpleNamespace as Thing

import onnx
import pytest
from onnx import helper

from sparsevit_runtime.tensorrt.plugin_nodes import in_namespace
from sparsevit_runtime.tensorrt.worker import Refused, _load_plugins

KINDS = ("WindowRank", "WindowAttention")


def test_only_nodes_that_take_plugins_say_their_namespace():
    nodes = [
        helper.make_node("WindowRank", ["x"], ["order"], domain="sparsevit", shift=0),
        helper.make_node("WindowRank", ["x"], ["other"], domain="another"),
        helper.make_node("KeepCount", ["keep"], ["count"], domain="sparsevit"),
    ]
    data = helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString()
    found = onnx.load_from_string(in_namespace(data, KINDS, "sparsevit")).graph.node
    said = [{a.name: helper.get_attribute_value(a) for a in node.attribute} for node in found]
    assert said == [{"shift": 0, "plugin_namespace": b"sparsevit"}, {}, {}]
    assert in_namespace(data, KINDS, "") == data


@pytest.mark.parametrize(
    ("registered", "namespace"),
    [
        ([("WindowRank", "sparsevit"), ("WindowAttention", "sparsevit"), ("WindowAttention", "")], "sparsevit"),
        ([("WindowRank", ""), ("WindowAttention", "")], ""),  # a library of before
        ([("WindowRank", "sparsevit"), ("WindowAttention", "")], None),  # the second is another library's
    ],
)
def test_the_namespace_is_the_one_that_has_all_of_them(registered, namespace):
    creators = [Thing(name=name, plugin_version="1", plugin_namespace=space) for name, space in registered]
    registry = Thing(load_library=lambda path: path, all_creators=creators)
    trt, log = Thing(get_plugin_registry=lambda: registry), Thing(mark=lambda: 0)
    request = Thing(plugins="p.so", nodes=list(KINDS), source="m.onnx")
    if namespace is not None:
        assert _load_plugins(trt, request, log) == namespace
        return
    with pytest.raises(Refused, match=r"p.so has no plugin WindowAttention version 1, which m.onnx needs"):
        _load_plugins(trt, request, log)
