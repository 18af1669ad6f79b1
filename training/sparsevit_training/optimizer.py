"""AdamW of the parts of a network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from .recipe import Recipe
from .recipe_parts import RecipeError


def build_optimizer(modules: Iterable[nn.Module | None], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW of what is trained, with weight decay on matrices and filters alone: not on norms, biases, bias tables.

    Raises:
        RecipeError: `optimizer.lr_scale` names a part that has nothing to train.
    """
    settings = recipe.optimizer
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    met: set[str] = set()
    for module in filter(None, modules):
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            parts = [part for part in settings.lr_scale if name.startswith(f"{part}.")]
            met.update(parts)
            scale = settings.lr_scale[max(parts, key=len)] if parts else 1.0
            plain = parameter.ndim <= 1 or name.endswith("relative_position_bias_table")
            groups.setdefault((scale, not plain), []).append(parameter)
    if idle := sorted(set(settings.lr_scale) - met):
        raise RecipeError(f"optimizer.lr_scale names {', '.join(idle)}, which has nothing to train; see model.frozen")
    return torch.optim.AdamW(
        [
            {"params": chosen, "weight_decay": settings.weight_decay * decays, "lr_scale": scale}
            for (scale, decays), chosen in groups.items()
        ],
        lr=settings.lr,
        betas=settings.betas,
    )
