"""Operations on whole maps as torch custom ops, each of which is one or a few ONNX nodes of constant sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, corners not aligned: (B, C, h, w) to (B, C, height, width). One node in a trace."""
    if tuple(x.shape[2:]) == (height, width):
        return x
    return (_resize if torch.compiler.is_exporting() else _interpolate)(x, height, width)


def _interpolate(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)


@torch.library.custom_op("sparsevit::resize", mutates_args=())
def _resize(x: Tensor, height: int, width: int) -> Tensor:
    return _interpolate(x, height, width)


@_resize.register_fake
def _(x: Tensor, height: int, width: int) -> Tensor:
    return x.new_empty((*x.shape[:2], height, width))


def scale_to(size: int, wanted: int) -> float:
    """The float32 factor nearest to wanted / size that a size multiplied by it and rounded down is `wanted` with, in
    whatever precision: ONNX Runtime multiplies in more than float32 where it infers shapes.

    Sizes themselves would have to be given for all four dimensions, and the batch has none in a graph.
    """
    scale = np.float32(wanted / size)
    while size * float(scale) < wanted:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


def group_norm(x: Tensor, groups: int, eps: float) -> Tensor:
    """Normalised over groups of channels, without scale and shift: (B, C, H, W). InstanceNormalization in a trace."""
    return _group_norm(x, groups, eps) if torch.compiler.is_exporting() else F.group_norm(x, groups, eps=eps)


@torch.library.custom_op("sparsevit::group_norm", mutates_args=())
def _group_norm(x: Tensor, groups: int, eps: float) -> Tensor:
    return F.group_norm(x, groups, eps=eps)


@_group_norm.register_fake
def _(x: Tensor, groups: int, eps: float) -> Tensor:
    return torch.empty_like(x)


def onnx_translations(standard: Any) -> dict[Callable, Callable]:
    """Entries of the table for `torch.onnx.export`; `standard` is ONNX's own operator set."""

    def resized(x, height: int, width: int):
        factors = [1.0, 1.0, scale_to(x.shape[2], height), scale_to(x.shape[3], width)]
        scales = standard.Constant(value_floats=factors)
        return standard.Resize(x, None, scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def normed(x, groups: int, eps: float):
        whole = standard.Constant(value_ints=[0, *x.shape[1:]])
        scale, shift = (standard.Constant(value_floats=[value] * groups) for value in (1.0, 0.0))
        grouped = standard.Reshape(x, standard.Constant(value_ints=[0, groups, -1]))
        return standard.Reshape(standard.InstanceNormalization(grouped, scale, shift, epsilon=eps), whole)

    namespace = torch.ops.sparsevit
    return {namespace.resize.default: resized, namespace.group_norm.default: normed}
