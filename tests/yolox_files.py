"""Files of YOLOX with random weights, for a convolutional front to read."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from sparsevit_exporter.front import FrontFeatures


def write_yolox(path: Path, width: int) -> list[tuple[Tensor, Tensor]]:
    """Writes an ONNX file whose convolutions are those of a YOLOX of that width; returns their weights and biases."""
    generator = torch.Generator().manual_seed(3)
    layers = [m for m in FrontFeatures(width).modules() if isinstance(m, nn.Conv2d)]
    shapes = [(width, 12, 3, 3), *(tuple(layer.weight.shape) for layer in layers[1:])]
    weights = [
        torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5 for shape in map(torch.Size, shapes)
    ]
    pairs = [(weight, torch.randn(len(weight), generator=generator) * 0.1) for weight in weights]
    nodes = [helper.make_node("Conv", [f"x{i}", f"w{i}", f"b{i}"], [f"x{i + 1}"]) for i in range(len(pairs))]
    tensors = [numpy_helper.from_array(t.numpy(), f"{n}{i}") for i, p in enumerate(pairs) for n, t in zip("wb", p)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "yolox", [], [], tensors)), path)
    return pairs
