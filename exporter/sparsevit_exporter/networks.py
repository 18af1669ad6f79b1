"""Whole networks: the backbone with a head. Those of a task stand in its module in `tasks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from .backbone import SparseViT


class Network(nn.Module):
    """SparseViT with what a task sets on it; called with images, as `HeadedModel.forward` is.

    Attributes:
        backbone: the feature extractor.
        task: name as the model card has it.
        head_config: arguments that rebuild what stands on the backbone.
    """

    task: ClassVar[str]
    backbone: SparseViT
    head_config: dict[str, Any]


class HeadedModel(Network):
    """SparseViT with one head.

    Args:
        backbone: the feature extractor.
        num_classes: classes; void or background is not one of them.
        channels: width of the head.
        head: further arguments of the head.

    Attributes:
        head_name: name of the head where its task has several, empty for the first of them.
    """

    head_name: ClassVar[str] = ""
    head_type: ClassVar[type[nn.Module]]

    def __init__(self, backbone: SparseViT, num_classes: int, channels: int = 64, **head: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = self.head_type(backbone.channels, num_classes, channels, **head)
        named = {"type": self.head_name} if self.head_name else {}
        self.head_config = {**named, "num_classes": num_classes, "channels": channels, **head}

    def forward(
        self,
        images: Tensor,
        ratios: Sequence[Sequence[float]] | None = None,
        keep: Sequence[int] | None = None,
        orders: Sequence[Mapping[int, Tensor]] | None = None,
    ) -> Any:
        """(B, 3, H, W) normalised RGB -> what the head returns; the other arguments as in `SparseViT.forward`."""
        return self.head(self.backbone(images, ratios, keep, orders))
