from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tiny
from sparsevit_exporter import SparseViT
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import PlanError
from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.macs import backbone_macs, card_macs, card_parts, window_macs
from sparsevit_runtime.windows.plan import Plan

DEPTHS = (2, 2, 6, 2)
SWIN_T_672 = stage_geometries(672, 672, DEPTHS, 7)
LATER_STAGES = [[0, 0], [0.2, 0.2, 0.4, 0.4, 0.5, 0.5], [0, 0]]


@pytest.mark.parametrize(
    ("plan", "published_g"),
    [
        (0, 40.4),
        ([[0.3, 0.3], [0, 0], [0.1, 0.1, 0.2, 0.2, 0.2, 0.2], [0, 0]], 34.8),
        ([[0.6, 0.6], *LATER_STAGES], 29.1),
        ([[0.7, 0.7], *LATER_STAGES], 28.4),
        (0.6, 16.5),
        ([0.6, 0.6, 0.6, 0], 20.7),
    ],
)
def test_swin_t_as_published(plan, published_g):
    macs = backbone_macs(SWIN_T_672, 96, Plan.parse(plan, DEPTHS))
    assert round(macs / 1e9, 1) == published_g


@pytest.mark.parametrize(("height", "width"), [(64, 64), (112, 224), (97, 131)])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_equals_what_torch_counts(height, width, ratio):
    depths, embed = (2, 1, 3), 8
    net = SparseViT(embed, depths, (1, 2, 4)).eval()
    stages = stage_geometries(height, width, depths, 7)
    plan = Plan.uniform(ratio, depths)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.rand(1, 3, height, width), keep=plan.keep(stages).tolist())
    assert backbone_macs(stages, embed, plan) * 2 == counter.get_total_flops()


def test_nothing_kept_leaves_embedding_and_merging():
    plan = Plan.uniform(1.0, DEPTHS)
    embedding = 168 * 168 * 48 * 96
    merging = sum((84 >> i) ** 2 * (4 * 96 << i) * (2 * 96 << i) for i in range(3))
    assert backbone_macs(SWIN_T_672, 96, plan) == embedding + merging


def test_one_window():
    assert window_macs(7, 32) == 49 * (32 * 96 + 32 * 32 + 2 * 32 * 128) + 2 * 49 * 49 * 32


class TestCard:
    fixed = ((0.0, 0.5), (0.5, 0.5, 0.5, 0.5))

    def test_dense_unless_told(self):
        card = ModelCard.model_validate(tiny.card_document())
        assert card_macs(card) == card_macs(card, 0.0) > card_macs(card, 0.5)

    def test_parts_of_the_backbone_and_those_behind_it(self):
        card = ModelCard.model_validate(tiny.card_document())
        with_head = card.architecture.model_copy(update={"head_macs": {"neck": 5, "head": 7}})
        card = card.model_copy(update={"architecture": with_head})
        parts = card_parts(card, 0.5)
        assert list(parts) == ["embed", "attention", "mlp", "merge", "neck", "head"]
        assert sum(parts.values()) == card_macs(card, 0.5) + 12
        assert ModelCard.from_json(card.to_json()) == card

    def test_fixed_plan_of_the_card(self):
        card = ModelCard.model_validate(tiny.card_document(fixed=self.fixed))
        assert card_macs(card) == backbone_macs(card.stages, 1, Plan(self.fixed)) < card_macs(card, 0)

    def test_plan_of_another_model(self):
        with pytest.raises(PlanError, match="3 stages"):
            card_macs(ModelCard.model_validate(tiny.card_document()), [0, 0, 0])
