"""The backbone alone: its feature maps are the answer."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from sparsevit_runtime.agreement import READ_BACK
from sparsevit_runtime.card import ModelCard

from ..backbone import SparseViT
from ..options import TaskOptions
from ..parity_report import ParityRow, ParityRun
from .base import Task


class DeployedMaps(nn.Module):
    """The maps themselves, in float32."""

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        return {f"stage{i}": feature_map for i, feature_map in enumerate(maps)}


class BackboneTask(Task[TaskOptions]):
    """Feature maps at strides 4, 8, 16, 32; out of any trained network."""

    name = "backbone"
    network = SparseViT
    head_config = None
    float_maps = True

    def backbone_of(self, network: nn.Module) -> SparseViT:
        return cast(SparseViT, network)

    def network_in(self, network: nn.Module, task: Task[Any]) -> nn.Module | None:
        return task.backbone_of(network)

    def class_count(self, network: nn.Module) -> int:
        return 0

    def build(self, backbone: SparseViT, head: Mapping[str, Any]) -> nn.Module:
        return backbone

    def deploy(self, network: nn.Module, input_hw: tuple[int, int], options: TaskOptions) -> nn.Module:
        return DeployedMaps()

    def compare(self, run: ParityRun, expected: Sequence[Tensor], outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        return [run.real(f"stage{i}", outputs[f"stage{i}"], m) for i, m in enumerate(expected)]

    def head_in_file(self, card: ModelCard, weights: MutableMapping[str, Tensor]) -> dict[str, Any]:
        return {}

    def agreement(self, answer: Sequence[Tensor], outputs: Mapping[str, Tensor], card: ModelCard) -> float:
        return min(
            float(((m - outputs[f"stage{i}"]).abs() < READ_BACK.difference * m.abs().max()).float().mean())
            for i, m in enumerate(answer)
        )
