"""Does the exported graph compute what the network computes? ONNX Runtime against PyTorch, at several plans.

The network under its training names is the yardstick, so everything the export folds is covered. Windows are compared
first: the graph's order must be one by descending PyTorch score, up to rounding. PyTorch then computes with the graph's
own order, because two windows of equal score may legitimately change places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from sparsevit_runtime.agreement import PARITY
from sparsevit_runtime.card import InputCard
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.progress import SILENT, Progress
from sparsevit_runtime.windows.geometry import StageGeometry
from sparsevit_runtime.windows.plan import Plan, dense_keep

from . import windows
from .heads.detection import RawDetections, decode_detections
from .heads.segmentation import decode_labels

#: Largest accepted difference per precision, relative to the largest magnitude of the tensor (at least 1).
TOLERANCES: dict[str, float] = {precision: limits.difference for precision, limits in PARITY.items()}
#: Least accepted cosine similarity.
COSINES: dict[str, float] = {precision: limits.cosine for precision, limits in PARITY.items()}


@dataclass(frozen=True)
class ParityRow:
    """One tensor of one run.

    Attributes:
        plan: name of the plan.
        batch: images in the run.
        tensor: what was compared.
        difference: largest absolute difference over the scale of the tensor, or the share of wrong entries.
        limit: largest accepted difference.
        cosine: similarity of the flattened tensors; None for integers.
        holds: within the limits.
    """

    plan: str
    batch: int
    tensor: str
    difference: float
    limit: float
    cosine: float | None
    holds: bool


@dataclass(frozen=True)
class ParityReport:
    precision: str
    rows: tuple[ParityRow, ...]

    @property
    def holds(self) -> bool:
        return all(row.holds for row in self.rows)

    @property
    def worst(self) -> ParityRow:
        """The row closest to, or furthest beyond, its limit."""
        return max(self.rows, key=lambda row: (not row.holds, row.difference / row.limit if row.limit else 0.0))


def compare(
    proto: onnx.ModelProto,
    network: nn.Module,
    card_input: InputCard,
    stages: Sequence[StageGeometry],
    precision: str,
    fixed: Plan | None = None,
    progress: Progress = SILENT,
) -> ParityReport:
    """Runs both on probe images.

    Args:
        proto: traced model with all outputs (`trace.trace`).
        network: the same network in PyTorch, float32, eval mode.
        card_input: input geometry.
        stages: window geometry.
        precision: of the graph, a key of `TOLERANCES`.
        fixed: the frozen plan; None to try several through `keep`.
        progress: told the runs.
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
        with torch.inference_mode():
            with _StageInputs(network) as inputs:
                if keep is not None:
                    expected = network(images, keep=keep, orders=orders)
                else:
                    expected = network(images, ratios=fixed.ratios)
            if keep is not None:
                rows += _order_rows(inputs.maps, orders, stages, name, batch, precision)
            rows += _answer_rows(expected, outputs, network, card_input, name, batch, precision)
    return ParityReport(precision, tuple(rows))


def open_session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The graph in ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
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
        orders.append({shift: outputs[name] for shift, name in names.items() if name in outputs})
    return orders


class _StageInputs:
    """Records the map each stage of a network receives."""

    def __init__(self, network: nn.Module) -> None:
        self.backbone = getattr(network, "backbone", network)
        self.maps: list[Tensor] = []

    def __enter__(self) -> _StageInputs:
        self._handles = [
            stage.blocks[0].register_forward_pre_hook(lambda _module, args: self.maps.append(args[0]))
            for stage in self.backbone.stages
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _order_rows(
    maps: list[Tensor],
    orders: list[dict[int, Tensor]],
    stages: Sequence[StageGeometry],
    plan: str,
    batch: int,
    precision: str,
) -> list[ParityRow]:
    """Every stage's order must be a permutation that descends in PyTorch's scores."""
    rows = []
    limit = TOLERANCES[precision]
    for i, (x, by_shift, stage) in enumerate(zip(maps, orders, stages, strict=True)):
        worst = 0.0
        for shift, order in by_shift.items():
            score = windows.window_score(x, stage.window_size, shift)
            permutation = torch.equal(order.sort(dim=1).values, torch.arange(score.shape[1]).expand_as(order))
            rise = score.gather(1, order).diff(dim=1).clamp(min=0).max() if score.shape[1] > 1 else torch.tensor(0.0)
            worst = max(worst, float(rise / score.max().clamp(min=1e-12)) if permutation else 1.0)
        rows.append(ParityRow(plan, batch, f"window order, stage {i}", worst, limit, None, worst <= limit))
    return rows


def _answer_rows(
    expected: object,
    outputs: dict[str, Tensor],
    network: nn.Module,
    card_input: InputCard,
    plan: str,
    batch: int,
    precision: str,
) -> list[ParityRow]:
    limit = TOLERANCES[precision]

    def close(tensor: str, a: Tensor, b: Tensor) -> ParityRow:
        a, b = a.double().flatten(), b.double().flatten()
        difference = float((a - b).abs().max() / b.abs().max().clamp(min=1.0))
        cosine = float(torch.nn.functional.cosine_similarity(a, b, dim=0)) if bool(b.any()) else 1.0
        holds = difference <= limit and cosine >= COSINES[precision]  # false for NaN too
        return ParityRow(plan, batch, tensor, difference, limit, cosine, holds)

    task = getattr(network, "task", "backbone")
    if task == "backbone":
        return [close(f"stage{i}", outputs[f"stage{i}"], m) for i, m in enumerate(expected)]
    if task == "segmentation":
        labels = outputs["labels"]
        scale = round(4 * labels.shape[1] / card_input.height)  # labels per logit
        wrong = float((labels != decode_labels(outputs["logits"], scale, *labels.shape[1:])).float().mean())
        # The decoding is the same function of the same logits; only exact ties may fall differently.
        row = ParityRow(plan, batch, "labels", wrong, 1e-3, None, wrong <= 1e-3)
        return [close("logits", outputs["logits"], expected), row]
    raw = RawDetections(outputs["raw_logits"], outputs["raw_boxes"])
    count = outputs["scores"].shape[1]
    boxes, scores, _ = decode_detections(raw, count, card_input.height, card_input.width)
    return [
        close("raw_logits", raw.logits, expected.logits),
        close("raw_boxes", raw.boxes, expected.boxes),
        close("scores", outputs["scores"], scores),
        _box_row(outputs, boxes, scores, plan, batch),
    ]


def _box_row(outputs: dict[str, Tensor], boxes: Tensor, scores: Tensor, plan: str, batch: int) -> ParityRow:
    """Boxes of equal score may change places: each of ours must be among the expected ones of that score."""
    same_box = (outputs["boxes"][:, :, None] - boxes[:, None]).abs().amax(-1) < 1e-2  # (B, N, N) pixels
    same_score = (outputs["scores"][:, :, None] - scores[:, None]).abs() < 1e-6
    tied_at_cut = (outputs["scores"] - scores[:, -1:]).abs() < 1e-6  # any of the tied locations may be returned
    wrong = float((~((same_box & same_score).any(-1) | tied_at_cut)).float().mean())
    return ParityRow(plan, batch, "boxes", wrong, 1e-3, None, wrong <= 1e-3)


def record_keeps(stages: Sequence[StageGeometry]) -> list[tuple[int, ...]]:
    """`keep` vectors whose outputs are recorded in the card: dense, and two pruned."""
    depths = [s.depth for s in stages]
    pruned = [tuple(Plan.uniform(r, depths).keep(stages).tolist()) for r in (0.3, 0.6)]
    return [tuple(dense_keep(stages).tolist()), *pruned]
