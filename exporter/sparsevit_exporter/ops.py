"""The operations on windows and regions as torch custom ops, so that a trace keeps each of them as one ONNX node; and
some of ONNX's own, which PyTorch would take apart: into nodes that a GPU waits for, at the cost of half the trace."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnxscript
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from . import block_ops, ends_ops, map_ops, nodes, norm_ops, regions, windows
from .unknown_sizes import unknown_count


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


@torch.library.custom_op("sparsevit::linear_gelu", mutates_args=())
def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer and exact GELU: (..., C), (C, D), (D,) -> (..., D)."""
    y = x @ weight + bias
    return y * (torch.erf(y / math.sqrt(2.0)) + 1.0) * 0.5


@linear_gelu.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[-1]))


@torch.library.custom_op("sparsevit::reshape", mutates_args=())
def reshape(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """ONNX's Reshape with constant sizes.

    PyTorch would have the graph work sizes out where the batch is dynamic: small nodes that a GPU waits for.

    Args:
        x: any tensor.
        sizes: size of each dimension; 0 for that of the same dimension of `x`, -1 for what is left, at most once.
    """
    return x.reshape(_resolved(x, sizes)).clone()


@reshape.register_fake
def _(x: Tensor, sizes: Sequence[int]) -> Tensor:
    return x.new_empty(_resolved(x, sizes))


def _resolved(x: Tensor, sizes: Sequence[int]) -> list[int]:
    kept = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    if -1 in sizes:
        rest = [size for i, size in enumerate(x.shape) if i >= len(sizes) or sizes[i] != 0]
        kept[sizes.index(-1)] = _quotient(rest, math.prod(size for size in sizes if size > 0))
    return kept


def _quotient(sizes: Sequence[int], divisor: int) -> int:
    """Their product over the divisor. Where known sizes divide, the tracer has no division by unknown ones to solve."""
    known = math.prod(size for size in sizes if isinstance(size, int))
    unknown = [size for size in sizes if not isinstance(size, int)]
    if known % divisor == 0:
        return math.prod(unknown, start=known // divisor)
    return math.prod(sizes) // divisor


@torch.library.custom_op("sparsevit::select", mutates_args=())
def select(table: Tensor, index: Tensor) -> Tensor:
    """ONNX's Gather: entries of a table, (n, ...), at indices of any shape, (*index, ...)."""
    return table[index]


@select.register_fake
def _(table: Tensor, index: Tensor) -> Tensor:
    return table.new_empty((*index.shape, *table.shape[1:]))


@torch.library.custom_op("sparsevit::keep_count", mutates_args=())
def keep_count(keep: Tensor, place: int) -> Tensor:
    """Windows to compute in one pair of blocks: (pairs,) int64 -> (1,)."""
    return keep[place : place + 1].clone()


@keep_count.register_fake
def _(x: Tensor, place: int) -> Tensor:
    return x.new_empty((1,))


@torch.library.custom_op("sparsevit::first", mutates_args=())
def first(x: Tensor, count: Tensor) -> Tensor:
    """ONNX's Slice: the first entries of each sample, (B, n) and how many, (1,) int64 -> (B, count)."""
    return x[:, : int(count)].clone()


@first.register_fake
def _(x: Tensor, count: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], unknown_count()))


@torch.library.custom_op("sparsevit::matmul", mutates_args=())
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """ONNX's MatMul, (..., n, m) by (..., m, p) of the same leading sizes, or one of them without any."""
    return a @ b


@matmul.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    leading = a.shape[:-2] if a.ndim >= b.ndim else b.shape[:-2]
    return a.new_empty((*leading, a.shape[-2], b.shape[-1]))


@torch.library.custom_op("sparsevit::gather_rows", mutates_args=())
def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """ONNX's GatherND over each sample's rows: (B, n, ...) at (B, k) int64 -> (B, k, ...)."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]


@gather_rows.register_fake
def _(x: Tensor, index: Tensor) -> Tensor:
    return x.new_empty((*index.shape, *x.shape[2:]))


@torch.library.custom_op("sparsevit::top_k", mutates_args=())
def top_k(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """ONNX's TopK over (B, n): the largest and their places, (B, count) each; of equals the first place first."""
    values, places = x.sort(dim=1, descending=True, stable=True)
    return values[:, :count].clone(), places[:, :count].clone()


@top_k.register_fake
def _(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], count)
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int64)


@torch.library.custom_op("sparsevit::quotient", mutates_args=())
def quotient(x: Tensor, divisor: Tensor) -> Tensor:
    """ONNX's Div of whole numbers that are not negative, rounded down; PyTorch would round by further nodes."""
    return x // divisor


@quotient.register_fake
def _(x: Tensor, divisor: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("sparsevit::nms_keep", mutates_args=())
def nms_keep(boxes: Tensor, scores: Tensor, iou: float, score_threshold: float, limit: int) -> Tensor:
    """See `regions.nms_keep`."""
    return regions.nms_keep(boxes, scores, iou, score_threshold, limit)


@nms_keep.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, score_threshold: float, limit: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


@torch.library.custom_op("sparsevit::multi_level_roi_align", mutates_args=())
def _multi_level_roi_align(
    maps: Sequence[Tensor], boxes: Tensor, output_size: int, finest_scale: int, strides: Sequence[int]
) -> Tensor:
    return regions.multi_level_roi_align(maps, boxes, output_size, finest_scale, strides)


@_multi_level_roi_align.register_fake
def _(maps: Sequence[Tensor], boxes: Tensor, output_size: int, finest_scale: int, strides: Sequence[int]) -> Tensor:
    return maps[0].new_empty((*boxes.shape[:2], maps[0].shape[1], output_size, output_size))


def multi_level_roi_align(
    maps: Sequence[Tensor], boxes: Tensor, output_size: int, finest_scale: int, strides: Sequence[int]
) -> Tensor:
    """See `regions.multi_level_roi_align`; a node in a trace and where shapes are all there is, else differentiable."""
    whole = torch.compiler.is_exporting() or isinstance(boxes, FakeTensor)
    compute = _multi_level_roi_align if whole else regions.multi_level_roi_align
    return compute(list(maps), boxes, output_size, finest_scale, list(strides))


def onnx_translations() -> dict:
    """Custom translation table for `torch.onnx.export`."""
    nodes.register_schemas()
    opset = onnxscript.values.Opset(nodes.DOMAIN, nodes.VERSION)
    standard = onnxscript.values.Opset("", nodes.OPSET)

    def score(x, window_size: int, shift: int):
        return opset.WindowScore(x, **block_ops.window_attributes(x, window_size, shift))

    def gather(x, index, window_size: int, shift: int):
        return opset.WindowGather(x, index, **block_ops.window_attributes(x, window_size, shift))

    def scatter(x, tokens, index, window_size: int, shift: int):
        return opset.WindowScatter(x, tokens, index, **block_ops.window_attributes(x, window_size, shift))

    def reshaped(x, sizes: Sequence[int]):
        return standard.Reshape(x, standard.Constant(value_ints=list(sizes)))

    def selected(table, index):
        return standard.Gather(table, index, axis=0)

    def counted(keep, place: int):
        return opset.KeepCount(keep, place=place)

    def activated(x, weight, bias):
        return opset.LinearGelu(x, weight, bias)

    def sliced(x, count):
        zeros, axes = standard.Constant(value_ints=[0]), standard.Constant(value_ints=[1])
        return standard.Slice(x, zeros, count, axes)

    def multiplied(a, b):
        return standard.MatMul(a, b)

    def gathered_rows(x, index):
        return standard.GatherND(x, standard.Unsqueeze(index, standard.Constant(value_ints=[-1])), batch_dims=1)

    def largest(x, count: int):
        return standard.TopK(x, standard.Constant(value_ints=[count]), axis=1)

    def divided(x, divisor):
        return standard.Div(x, divisor)

    def kept(boxes, scores, iou: float, score_threshold: float, limit: int):
        keep = opset.NmsKeep(boxes, scores, iou=iou, score_threshold=score_threshold, limit=limit)
        return standard.Cast(keep, to=9)  # bool, which a plugin of TensorRT may not answer

    def aligned(maps, boxes, output_size: int, finest_scale: int, strides: Sequence[int]):
        sizes = {"output_size": output_size, "finest_scale": finest_scale, "strides": list(strides)}
        return opset.MultiLevelRoiAlign(*maps, boxes, **sizes)

    namespace = torch.ops.sparsevit
    return {
        namespace.window_score.default: score,
        namespace.window_gather.default: gather,
        namespace.window_scatter.default: scatter,
        namespace.keep_count.default: counted,
        namespace.linear_gelu.default: activated,
        namespace.first.default: sliced,
        namespace.matmul.default: multiplied,
        namespace.reshape.default: reshaped,
        namespace.select.default: selected,
        namespace.gather_rows.default: gathered_rows,
        namespace.top_k.default: largest,
        namespace.quotient.default: divided,
        namespace.nms_keep.default: kept,
        namespace.multi_level_roi_align.default: aligned,
        **block_ops.onnx_translations(opset),
        **ends_ops.onnx_translations(opset),
        **norm_ops.onnx_translations(opset),
        **map_ops.onnx_translations(standard),
    }
