"""Backbone, head and decoding as they are traced."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..options import ExportOptions
from ..tasks import Task
from ..weights import fold_norms
from .backbone import DeployedBackbone


class DeployedModel(nn.Module):
    """The module that is traced.

    Args:
        network: trained, in eval mode; left untouched.
        task: task of the network.
        options: options of the export.

    Attributes:
        backbone: deployed backbone.
        answers: deployed head and decoding.
        trained_backbone: name of the backbone in the trained network; empty where it is the network.
        dtype: type of the maps.
    """

    def __init__(self, network: nn.Module, task: Task[Any], options: ExportOptions) -> None:
        super().__init__()
        trained = task.backbone_of(network)
        input_hw = (options.height, options.width)
        dtype = torch.float16 if options.precision == "fp16" else torch.float32
        self.backbone = DeployedBackbone(
            trained,
            *input_hw,
            task.pad_multiple,
            options.mean,
            options.std,
            options.layout == "camera",
            options.fixed,
            dtype,
            torch.float32 if task.float_maps else None,
        )
        own = task.check_options(options.task)
        self.answers = fold_norms(task.deploy(copy.deepcopy(network), input_hw, own)).to(dtype)
        self.trained_backbone = next(name for name, module in network.named_modules() if module is trained)
        self.input_hw, self.dtype = input_hw, dtype
        self.eval()

    def forward(self, image: Tensor, keep: Tensor | None = None) -> dict[str, Tensor]:
        """Outputs by name: answers, what they were decoded from, and window orders."""
        maps, orders = self.backbone(image, keep)
        return self.answers(maps) | orders
