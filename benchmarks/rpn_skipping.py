"""What would it cost to skip, in Mask R-CNN's pyramid and proposals, what the windows left out?

A cell of a level whose window no block of its stage computed is skipped in three ways, on the same images: its anchors
take no part (`rpn`), those of the finest level alone (`rpn, finest`), or its features are zero for all that look at
them (`levels`). Box and mask AP beside the exact answers, and the share of each level's cells that would go.

    python benchmarks/rpn_skipping.py model.pth annotations.json images/ -o skipping.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsevit_exporter import InstanceModel, windows
from sparsevit_exporter.backbone import Block
from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_exporter.heads.rpn import RATIOS
from sparsevit_exporter.tasks.instances import STAGES, InstanceFeatures
from sparsevit_training.average_precision import average_precision
from sparsevit_training.datasets import CocoInstances
from sparsevit_training.monitor import outputs_of
from sparsevit_training.objectives.instances import instance_records
from sparsevit_training.recipe_parts import InputRecipe

#: Logit of an anchor that takes no part.
_NEVER = -1e4


@contextmanager
def computed_cells(model: InstanceModel) -> Iterator[list[Tensor | None]]:
    """Within, filled at each pass: (B, H, W, 1) where some block of a stage computed, by stage."""
    cells: list[Tensor | None] = [None] * STAGES

    def note(stage: int) -> Callable[..., None]:
        def before(block: Block, inputs: tuple[Any, ...]) -> None:
            x, index = inputs[0], inputs[1] if len(inputs) > 1 else None
            last = cells[stage] if block is not model.backbone.stages[stage].blocks[0] else None
            here = torch.zeros_like(x[..., :1]) if last is None else last
            if index is None:
                here = torch.ones_like(here)
            elif index.shape[1]:
                ones = here.new_ones(*index.shape, block.window_size**2, 1)
                here = windows.window_scatter(here, ones, index, block.window_size, block.shift)
            cells[stage] = here

        return before

    hooks = [
        block.register_forward_pre_hook(note(i))
        for i, stage in enumerate(model.backbone.stages)
        for block in stage.blocks
    ]
    try:
        yield cells
    finally:
        for hook in hooks:
            hook.remove()


def without_anchors(seen: InstanceFeatures, cells: list[Tensor], levels: int) -> InstanceFeatures:
    """Features whose anchors on skipped cells of the finest levels take no part."""
    logits = list(seen.logits)
    for i in range(levels):
        taken = cells[i].flatten(1).repeat_interleave(len(RATIOS), 1) > 0
        logits[i] = torch.where(taken, logits[i], _NEVER)
    return replace(seen, logits=logits)


def without_features(seen: InstanceFeatures, cells: list[Tensor], size: tuple[int, int]) -> InstanceFeatures:
    """Features that are zero on skipped cells, and what the proposals make of them."""
    levels = [level * own.permute(0, 3, 1, 2) for level, own in zip(seen.levels, cells)]
    levels.append(torch.nn.functional.max_pool2d(levels[-1], 1, 2))
    logits, deltas = seen.network.rpn_head(levels)
    return InstanceFeatures(seen.network, levels, logits, deltas, size)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.3, 0.6])
    parser.add_argument("--most", type=int, default=10**6, help="images at most")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    loaded = load_checkpoint(arguments.model)
    model, size = loaded.network, loaded.input_hw
    assert isinstance(model, InstanceModel) and size is not None
    data = CocoInstances(arguments.annotations, arguments.images, [c.name for c in loaded.classes])
    data = data.subset(range(min(arguments.most, len(data))))
    recipe = InputRecipe(height=size[0], width=size[1], mean=loaded.mean, std=loaded.std)
    rows = []
    for ratio in arguments.ratios:
        records: dict[str, list[dict[str, Any]]] = {name: [] for name in ("exact", "rpn", "rpn, finest", "levels")}
        skipped = torch.zeros(STAGES)
        with computed_cells(model) as noted:
            cpu = torch.device("cpu")
            for indices, _, letterboxes, seen in outputs_of(model, data, recipe, ratio, cpu, None, 4):
                cells = [own for own in noted if own is not None]
                skipped += torch.stack([(own == 0).float().mean() for own in cells]) * len(indices) / len(data)
                variants = {
                    "exact": seen,
                    "rpn": without_anchors(seen, cells, STAGES),
                    "rpn, finest": without_anchors(seen, cells, 1),
                    "levels": without_features(seen, cells, size),
                }
                for name, features in variants.items():
                    records[name] += instance_records(features, data, indices, letterboxes)
        for name, found in records.items():
            scores = {}
            for compared in ("bbox", "segm"):
                precision = average_precision(data.document, found, data.image_ids, compared=compared)
                scores[compared] = {"ap": round(precision.ap, 4), "ap50": round(precision.ap50, 4)}
            rows.append({"ratio": ratio, "skips": name, "skipped": [round(float(s), 3) for s in skipped], **scores})
            print(rows[-1])
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"schema": 1, "images": len(data), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
