"""Gradients of the operations that stand in heads which are trained, too; importing it is enough.

An operation of ours is one step to PyTorch's autograd, whatever it is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import ops


def _keep_shape(ctx: Any, inputs: tuple[Tensor, Sequence[int]], output: Tensor) -> None:
    ctx.shape = inputs[0].shape


def _of_reshape(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return grad.reshape(ctx.shape), None


def _keep_index(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.shape = inputs[0].shape


def _of_select(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (index,) = ctx.saved_tensors
    table = grad.new_zeros(ctx.shape)
    return table.index_add(0, index.flatten(), grad.reshape(-1, *ctx.shape[1:])), None


def _keep_factors(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _of_matmul(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    a, b = ctx.saved_tensors
    return _summed(grad @ b.mT, a.shape), _summed(a.mT @ grad, b.shape)


def _summed(grad: Tensor, shape: torch.Size) -> Tensor:
    """Over the leading sizes that the factor does not have."""
    return grad.sum(tuple(range(grad.ndim - len(shape)))) if grad.ndim > len(shape) else grad


torch.library.register_autograd("sparsevit::reshape", _of_reshape, setup_context=_keep_shape)
torch.library.register_autograd("sparsevit::select", _of_select, setup_context=_keep_index)
torch.library.register_autograd("sparsevit::matmul", _of_matmul, setup_context=_keep_factors)

#: Operations that have them.
DIFFERENTIABLE = (ops.reshape, ops.select, ops.matmul)
