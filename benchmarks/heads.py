"""What stands behind the backbone, in ONNX Runtime on the CPU: multiply-accumulates and milliseconds of each part.

Networks at full size with random weights, whose scores are spread so that every row of the answer is an object: Mask
R-CNN at 672x672 with 1000 proposals and 100 detections and with 100 and 20, Mask2Former, and the light heads at
1024x2048. All files and plans run in turn, round by round; ratios to a file's own dense run are pair by pair. Then the
layers of each are timed, one by one.

    python benchmarks/heads.py --models out/heads --prepare     # exports, minutes each; what is there stays
    python benchmarks/heads.py --models out/heads --rounds 5 -o benchmarks/results/heads_mask_rcnn.json
    python benchmarks/heads.py --models out/heads --only mask2former -o benchmarks/results/heads_mask2former.json
    python benchmarks/heads.py --models out/heads --only pyramid mlp -o benchmarks/results/heads_high_resolution.json
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import nn

from sparsevit_exporter import (
    ExportOptions,
    InstanceModel,
    InstanceOptions,
    SegmentationModel,
    SparseViT,
    export,
)
from sparsevit_exporter.options import TaskOptions
from sparsevit_exporter.tasks.segmentation import Mask2FormerModel
from sparsevit_exporter.tasks.segmentation.dense import MlpSegmentationModel
from sparsevit_runtime import load
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.diagnostics import read_machine
from sparsevit_runtime.diagnostics.layers import time_parts
from sparsevit_runtime.diagnostics.profile_report import PartTime
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.windows.macs import card_parts

PLANS = ("0", "cfg2", "0.6")
#: Factor of the last layer's weights by which scores of a random network spread over the classes.
_SPREAD = 12.0


class Case(NamedTuple):
    """A network, and how it is exported."""

    network: Callable[[], nn.Module]
    size: tuple[int, int]
    classes: int
    options: TaskOptions | None = None


def mask_rcnn() -> nn.Module:
    """Swin-T under Mask R-CNN, of 80 classes."""
    network = InstanceModel(SparseViT(), 80)
    with torch.no_grad():
        network.roi_head.bbox_head.fc_cls.weight.mul_(_SPREAD)
        network.rpn_head.rpn_cls.weight.mul_(_SPREAD)
    return network


CASES = {
    "mask_rcnn-1000-100": Case(mask_rcnn, (672, 672), 80, InstanceOptions(1000, 100)),
    "mask_rcnn-100-20": Case(mask_rcnn, (672, 672), 80, InstanceOptions(100, 20)),
    "pyramid": Case(lambda: SegmentationModel(SparseViT(), 19, 64), (1024, 2048), 19),
    "mlp": Case(lambda: MlpSegmentationModel(SparseViT(), 19, 256), (1024, 2048), 19),
    "mask2former": Case(lambda: Mask2FormerModel(SparseViT(), 19, 256), (512, 1024), 19),
}


def prepare(name: str, folder: Path) -> Path:
    """The exported file of a case, made where it is missing."""
    path = folder / f"{name}.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    case = CASES[name]
    torch.manual_seed(0)
    start = time.perf_counter()
    classes = [ClassCard(name=f"class {i}") for i in range(case.classes)]
    report = export(case.network(), path, ExportOptions(*case.size, name=name, task=case.options), classes)
    if not report.holds:
        raise SystemExit(f"the export of {name} does not match PyTorch: {report.worst}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB in {time.perf_counter() - start:.0f} s, {peak:.1f} GB at most")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of the exported files")
    parser.add_argument("--only", nargs="+", choices=CASES, default=["mask_rcnn-1000-100", "mask_rcnn-100-20"])
    parser.add_argument("--prepare", action="store_true", help="only export what is missing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layer-runs", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    paths = {name: prepare(name, arguments.models) for name in arguments.only}
    if not arguments.prepare:
        document = measure(paths, arguments.threads, arguments.rounds, arguments.layer_runs)
        if arguments.output is not None:
            arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def measure(paths: dict[str, Path], threads: int, rounds: int, layer_runs: int) -> dict:
    """Times of all files at all plans."""
    models = {name: load(path, threads=threads) for name, path in paths.items()}
    frames = {name: probe_image(*model.input_hw, 0) for name, model in models.items()}
    samples: dict[tuple[str, str], list[float]] = {(name, plan): [] for name in models for plan in PLANS}
    found = dict.fromkeys(samples, 0)
    random = np.random.RandomState(0)
    keys = list(samples)
    for number in track(range(rounds + 1), "measuring"):
        for position in random.permutation(len(keys)):
            name, plan = keys[position]
            result = models[name](frames[name], sparsity=plan, threshold=0.0)
            found[name, plan] = len(result) if hasattr(result, "confidence") else 0
            if number:  # the first round warms up
                samples[name, plan].append(result.timings.inference_ms)
    rows = []
    for (name, plan), values in track(samples.items(), "timing layers"):
        model, dense = models[name], np.array(samples[name, PLANS[0]])
        request = model.runner.request(model.level(plan))
        parts = time_parts(model.runner, request, frames[name][None], layer_runs)
        rows.append(row(name, plan, values, dense, parts) | {"found": found[name, plan]})
        rows[-1]["part_macs"] = card_parts(model.card, model.level(plan).plan)
        print(rows[-1]["network"], plan, f"{rows[-1]['median_ms']:.0f} ms, {rows[-1]['time_ratio']:.2f} of dense")
    return {
        "schema": 1,
        "what": "whole networks at batch 1, fp32, ONNX Runtime CPU, random weights; all files and plans in turn",
        "threads": threads,
        "rounds": rounds,
        "layer_runs": layer_runs,
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "machine": read_machine().model_dump(),
        "rows": rows,
    }


def row(name: str, plan: str, values: list[float], dense: np.ndarray, parts: tuple[PartTime, ...]) -> dict:
    """One file at one plan."""
    case = CASES[name]
    options = case.options if isinstance(case.options, InstanceOptions) else None
    return {
        "network": name,
        "input_hw": list(case.size),
        "proposals": None if options is None else options.proposals,
        "detections": None if options is None else options.detections,
        "plan": plan,
        "median_ms": round(float(np.median(values)), 1),
        "min_ms": round(min(values), 1),
        "time_ratio": round(float(np.median(np.array(values) / dense)), 3),
        "part_ms": {part.part: round(part.ms, 1) for part in parts},
    }


if __name__ == "__main__":
    main()
