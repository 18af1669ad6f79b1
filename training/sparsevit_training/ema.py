"""Exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class ModelEma(Generic[M]):
    """Keeps an averaged copy of a model, the one to evaluate and ship.

    The decay rises from 0 to its value over the first updates, so that the random start is forgotten soon.

    Args:
        model: averaged, with the statistics of its batch norms; other buffers are copied.
        decay: share of the old average kept at each update.
    """

    def __init__(self, model: M, decay: float) -> None:
        self.model: M = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards `model`."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        averaged: list[torch.Tensor] = list(self.model.parameters())
        current: list[torch.Tensor] = list(model.parameters())
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for target, source in zip(self.model.buffers(), model.buffers(), strict=True):
            if target.is_floating_point():
                target.lerp_(source, 1 - decay)
            else:
                target.copy_(source)

    def state_dict(self) -> dict:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
