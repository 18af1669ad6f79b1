"""Does the exported graph compute what the network computes? ONNX Runtime against PyTorch, at several plans.

The network under its training names is the yardstick, so everything the export folds is covered. Windows are compared
first: the graph's order must be one by descending PyTorch score, up to rounding. PyTorch then computes with the graph's
own order, because two windows of equal score may legitimately change places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from sparsevit_runtime.agreement import Precision
from sparsevit_runtime.backends.onnxruntime_session import session_options
from sparsevit_runtime.card import InputCard
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.progress import SILENT, Progress
from sparsevit_runtime.windows.geometry import StageGeometry
from sparsevit_runtime.windows.plan import Plan, dense_keep

from . import windows
from .backbone import SparseViT
from .parity_report import ParityReport, ParityRow, ParityRun
from .tasks import Task

__all__ = ["ParityReport", "ParityRow", "ParityRun", "compare"]


def compare(
    proto: onnx.ModelProto,
    network: nn.Module,
    task: Task[Any],
    card_input: InputCard,
    stages: Sequence[StageGeometry],
    precision: Precision,
    fixed: Plan | None = None,
    progress: Progress = SILENT,
) -> ParityReport:
    """Runs both on probe images.

    Args:
        proto: traced model with all outputs (`trace.trace`).
        network: the same network in PyTorch, float32, eval mode.
        task: task of the network.
        card_input: input geometry.
        stages: window geometry.
        precision: arithmetic of the graph.
        fixed: the frozen plan; None to try several through `keep`.
        progress: listener, told the runs.
    """
    session = open_session(proto)
    names = [o.name for o in session.get_outputs()]
    rows: list[ParityRow] = []
    runs = [("fixed", None, 1), ("fixed", None, 2)] if fixed is not None else _keep_runs(stages)
    progress.start("comparing with PyTorch", len(runs))
    for number, (name, keep, batch) in enumerate(runs):
        progress.advance(number, f"{name}, batch {batch}")
        frames = probe_images(card_input, range(batch))
        images = normalize(frames, card_input)
        feed = feed_of(frames, card_input, keep)
        outputs = dict(zip(names, (torch.from_numpy(o) for o in session.run(names, feed)), strict=True))
        orders = _orders(outputs, stages)
        run = ParityRun(name, batch, precision, card_input)
        with torch.inference_mode():
            with _ScoredMaps(task.backbone_of(network), fixed) as scored:
                if keep is not None:
                    expected = network(images, keep=keep, orders=orders)
                else:
                    assert fixed is not None
                    expected = network(images, ratios=fixed.ratios, orders=orders)
            rows += _order_rows(scored.maps, orders, stages, run)
            rows += task.compare(run, expected, outputs)
    return ParityReport(precision, tuple(rows))


def open_session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The graph in ONNX Runtime on the CPU."""
    options = session_options(onnxruntime, None)
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def probe_images(card_input: InputCard, seeds: Iterable[int]) -> np.ndarray:
    """(B, H, W, 3) uint8 BGR, one probe image per seed."""
    return np.stack([probe_image(card_input.height, card_input.width, seed) for seed in seeds])


def feed_of(frames: np.ndarray, card_input: InputCard, keep: Sequence[int] | None) -> dict[str, np.ndarray]:
    """The graph's inputs by name, in the layout it takes; without `keep` where the plan is fixed."""
    feed = {"image": frames if card_input.layout == "camera" else normalize(frames, card_input).numpy()}
    if keep is not None:
        feed["keep"] = np.array(keep, dtype=np.int64)
    return feed


def normalize(frames: np.ndarray, card_input: InputCard) -> Tensor:
    """(B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32 normalised RGB."""
    rgb = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    return (rgb - torch.tensor(card_input.mean).view(3, 1, 1)) / torch.tensor(card_input.std).view(3, 1, 1)


def _keep_runs(stages: Sequence[StageGeometry]) -> list[tuple[str, list[int], int]]:
    """Plans and batches to try: dense, uniform, unequal within a stage, and nothing at all."""
    depths = [s.depth for s in stages]
    ramp = Plan(tuple(tuple(0.1 + 0.7 * (j // 2) / max(1, -(-d // 2)) for j in range(d)) for d in depths))
    plans = [("dense", Plan.dense(depths), 1)]
    plans += [(f"{r:.0%} pruned", Plan.uniform(r, depths), b) for r, b in ((0.3, 1), (0.5, 2), (0.7, 1))]
    plans += [("rising", ramp, 2), ("all pruned", Plan.uniform(1.0, depths), 1)]
    return [(name, plan.keep(stages).tolist(), batch) for name, plan, batch in plans]


def _orders(outputs: dict[str, Tensor], stages: Sequence[StageGeometry]) -> list[dict[int, Tensor]]:
    """The graph's window orders, per stage by shift."""
    orders = []
    for i, stage in enumerate(stages):
        names = {0: f"windows{i}", stage.shift: f"shifted_windows{i}"}
        orders.append({shift: outputs[name].long() for shift, name in names.items() if name in outputs})
    return orders


class _ScoredMaps:
    """Records the maps whose windows are sorted: each stage's first, or with a fixed plan that of its first pruned
    block, if any."""

    def __init__(self, backbone: SparseViT, fixed: Plan | None) -> None:
        self._blocks = {}
        for i, stage in enumerate(backbone.stages):
            ratios = (1.0,) if fixed is None else fixed.ratios[i]
            first = next((j for j, ratio in enumerate(ratios) if ratio > 0), None)
            if first is not None:
                self._blocks[i] = stage.blocks[first]
        self.maps: dict[int, Tensor] = {}

    def __enter__(self) -> _ScoredMaps:
        def recorder(stage: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def record(_block: nn.Module, arguments: tuple[Tensor, ...]) -> None:
                self.maps[stage] = arguments[0]

            return record

        self._handles = [block.register_forward_pre_hook(recorder(i)) for i, block in self._blocks.items()]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _order_rows(
    maps: Mapping[int, Tensor],
    orders: list[dict[int, Tensor]],
    stages: Sequence[StageGeometry],
    run: ParityRun,
) -> list[ParityRow]:
    """Every order must descend in PyTorch's scores, and leave no window out that scores more than its last."""
    rows = []
    for i, x in maps.items():
        worst = 0.0
        for shift, order in orders[i].items():
            score = windows.window_score(x, stages[i].window_size, shift)  # (B, nW)
            times = torch.zeros_like(score).scatter_add(1, order, torch.ones_like(score[:, : order.shape[1]]))
            left_out = score.masked_fill(times > 0, 0.0).amax(1, keepdim=True)
            listed = torch.cat([score.gather(1, order), left_out], 1)  # (B, n + 1), should descend
            rise = listed.diff(dim=1).clamp(min=0).max() / score.max().clamp(min=1e-12)
            worst = max(worst, 1.0 if times.max() > 1 else float(rise))
        if orders[i]:
            rows.append(run.wrong(f"window order, stage {i}", worst, run.limits.difference))
    return rows


def record_keeps(stages: Sequence[StageGeometry]) -> list[tuple[int, ...]]:
    """`keep` vectors whose outputs are recorded in the card: dense, and two pruned."""
    depths = [s.depth for s in stages]
    pruned = [tuple(Plan.uniform(r, depths).keep(stages).tolist()) for r in (0.3, 0.6)]
    return [tuple(dense_keep(stages).tolist()), *pruned]
