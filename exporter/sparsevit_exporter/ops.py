"""The window operations as torch custom ops, so that a trace keeps each of them as one ONNX node."""

from __future__ import annotations

import onnxscript
import torch
from torch import Tensor

from . import nodes, windows


@torch.library.custom_op("sparsevit::window_score", mutates_args=())
def window_score(x: Tensor, window_size: int, shift: int) -> Tensor:
    """See `windows.window_score`."""
    return windows.window_score(x, window_size, shift)


@window_score.register_fake
def _(x: Tensor, window_size: int, shift: int) -> Tensor:
    batch, height, width, _ = x.shape
    count = (-(-height // window_size)) * (-(-width // window_size))
    return x.new_empty((batch, count), dtype=torch.float32)


@torch.library.custom_op("sparsevit::window_gather", mutates_args=())
def window_gather(x: Tensor, index: Tensor, window_size: int, shift: int) -> Tensor:
    """See `windows.window_gather`."""
    return windows.window_gather(x, index, window_size, shift)


@window_gather.register_fake
def _(x: Tensor, index: Tensor, window_size: int, shift: int) -> Tensor:
    return x.new_empty((x.shape[0], index.shape[1], window_size * window_size, x.shape[3]))


@torch.library.custom_op("sparsevit::window_scatter", mutates_args=())
def window_scatter(x: Tensor, tokens: Tensor, index: Tensor, window_size: int, shift: int) -> Tensor:
    """See `windows.window_scatter`."""
    return windows.window_scatter(x, tokens, index, window_size, shift).clone()


@window_scatter.register_fake
def _(x: Tensor, tokens: Tensor, index: Tensor, window_size: int, shift: int) -> Tensor:
    return torch.empty_like(x)


def onnx_translations() -> dict:
    """Custom translation table for `torch.onnx.export`."""
    nodes.register_schemas()
    opset = onnxscript.values.Opset(nodes.DOMAIN, nodes.VERSION)

    def attributes(x, window_size: int, shift: int) -> dict[str, int]:
        return {"height": x.shape[1], "width": x.shape[2], "window_size": window_size, "shift": shift}

    def score(x, window_size: int, shift: int):
        return opset.WindowScore(x, **attributes(x, window_size, shift))

    def gather(x, index, window_size: int, shift: int):
        return opset.WindowGather(x, index, **attributes(x, window_size, shift))

    def scatter(x, tokens, index, window_size: int, shift: int):
        return opset.WindowScatter(x, tokens, index, **attributes(x, window_size, shift))

    namespace = torch.ops.sparsevit
    return {
        namespace.window_score.default: score,
        namespace.window_gather.default: gather,
        namespace.window_scatter.default: scatter,
    }
