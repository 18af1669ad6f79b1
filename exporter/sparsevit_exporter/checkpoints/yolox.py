"""The weights of a convolutional front, and of YOLOX's head, out of an ONNX file of YOLOX.

Such files have no names that say which layer a weight is of, but their convolutions lie in the order in which they are
computed, and batch norms are folded into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from sparsevit_runtime.errors import CheckpointError

from ..folding import unfold_colours
from ..front import Front, FrontFeatures, black_pixel
from ..heads.decoupled import DecoupledHead

#: Where in the stem's 2x2 pixels (row, column) the four parts come from that YOLOX puts side by side.
_FOCUS = ((0, 0), (1, 0), (0, 1), (1, 1))


def load_front(front: Front, path: str | Path, mean: Sequence[float], std: Sequence[float]) -> None:
    """Fills a front's convolutions.

    Args:
        front: its projections stay as they are.
        path: ONNX file of a YOLOX whose input is BGR in bytes, such as YOLOX-nano.
        mean, std: RGB normalisation of the images that the front will be given, in bytes.

    Raises:
        CheckpointError: the file cannot be read, or its convolutions are not those of a front of this width.
    """
    found = _convolutions(path)
    layers = [module for module in front.features.modules() if isinstance(module, nn.Conv2d)]
    if found and found[0][0].shape[1:] == (12, 3, 3):
        found[0] = unfold_colours(_unfocused(found[0][0]), found[0][1], mean, std)
    for number, layer in enumerate(layers):
        shapes = [tuple(t.shape) for t in found[number]] if number < len(found) else "missing"
        assert layer.bias is not None
        if shapes != [tuple(layer.weight.shape), tuple(layer.bias.shape)]:
            raise CheckpointError(
                f"{path}: convolution {number} is {shapes}, that of a front of width {front.width} "
                f"{tuple(layer.weight.shape)}; it takes YOLOX with separable convolutions, of the same width"
            )
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, found, strict=False):
            assert layer.bias is not None
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        features: FrontFeatures = front.features
        features.black.copy_(black_pixel(mean, std))


def load_head(head: DecoupledHead, path: str | Path, classes: Sequence[int]) -> None:
    """Fills a head of YOLOX's kind.

    Args:
        head: three levels.
        path: ONNX file, as for `load_front`.
        classes: YOLOX's class of each class of the head.

    Raises:
        CheckpointError: the file cannot be read, or its last convolutions are not those of a head of this width.
    """
    layers = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    found = _convolutions(path)[-len(layers) :]
    chosen = list(classes)
    filled = []
    for number, (layer, (weight, bias)) in enumerate(zip(layers, found, strict=False)):
        if layer.out_channels == len(chosen) and weight.shape[0] > max(chosen):
            weight, bias = weight[chosen], bias[chosen]
        if weight.shape != layer.weight.shape or layer.bias is None or bias.shape != layer.bias.shape:
            raise CheckpointError(
                f"{path}: convolution {number} of its head is {tuple(weight.shape)}, that of the head "
                f"{tuple(layer.weight.shape)}; it takes YOLOX with separable convolutions, of the same width"
            )
        filled.append((layer.weight, weight))
        filled.append((layer.bias, bias))
    if len(filled) < 2 * len(layers):
        raise CheckpointError(f"{path} has {len(found)} convolutions, fewer than the head's {len(layers)}")
    with torch.no_grad():
        for parameter, value in filled:
            parameter.copy_(value)


def _convolutions(path: str | Path) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of a file's convolutions, in the order in which they are computed. Raises CheckpointError."""
    try:
        graph = onnx.load_from_string(Path(path).read_bytes()).graph
    except (OSError, DecodeError) as error:
        raise CheckpointError(
            f"cannot read {path} as ONNX ({error}); give the path of an ONNX file of YOLOX"
        ) from error
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    return [
        (weights[node.input[1]], weights[node.input[2]])
        for node in graph.node
        if node.op_type == "Conv" and len(node.input) == 3 and {*node.input[1:3]} <= weights.keys()
    ]


def _unfocused(weight: Tensor) -> Tensor:
    """(C, 12, 3, 3) over 2x2 pixels side by side -> (C, 3, 6, 6) over the pixels."""
    count = weight.shape[0]
    parts = weight.new_zeros(count, 3, 3, 2, 3, 2)  # row, row within, column, column within
    for number, (row, column) in enumerate(_FOCUS):
        parts[:, :, :, row, :, column] = weight[:, 3 * number : 3 * number + 3]
    return parts.reshape(count, 3, 6, 6)
