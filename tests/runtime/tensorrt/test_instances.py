"""An exported Mask R-CNN, built whole by TensorRT for RTX with the plugins of its boxes."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest
import torch

from exports import tiny_backbone
from networks import randomize
from sparsevit_exporter import ExportOptions, InstanceModel, InstanceOptions, export
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.tensorrt import BuildOptions, build_engine
from sparsevit_runtime.tensorrt.plugin_library import PLUGIN_NAMES

pytestmark = pytest.mark.slow  # nvcc compiles the library first


def test_an_instance_segmenter_is_built_with_plugins(rtx, plugin_library, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = randomize(InstanceModel(tiny_backbone((1, 2, 1, 1)), 3, 8, 16), 3)
    options = ExportOptions(72, 100, precision="fp16", task=InstanceOptions(20, 10))
    model, classes = tmp_path / "m.onnx", [ClassCard(name=name) for name in "abc"]
    assert export(network, model, options, classes).holds
    nodes = Counter(node.op_type for node in onnx.load(model).graph.node if node.op_type in PLUGIN_NAMES)
    assert (nodes["NmsKeep"], nodes["MultiLevelRoiAlign"]) == (2, 2), "proposals and classes; boxes and masks"
    batches = BuildOptions(flavour="tensorrt_rtx", plugins=plugin_library, batch=(1, 1, 2))
    report = build_engine(model, tmp_path / "m.engine", batches)
    assert report.card.plugin_layers == sum(nodes.values())
