"""Swin-T at 672x672 in ONNX Runtime on the CPU: what does pruning buy, and what does being prunable cost?

Exports one network three times: as `torch.onnx.export` writes the PyTorch module, dense; as a plain dense graph folded
like the product's own file, without window nodes; and as the product's file, with `keep` as an input. They then run in
turn, round by round; the ratios are pair by pair, so they hold on a noisy machine. Random weights: time does not depend
on them.

    python benchmarks/backbone_onnx.py --threads 2 --rounds 15 -o benchmarks/results/backbone_onnx.json

`--earlier FILE` runs an export of the same network by an earlier version in turn with them, at each sparsity, and every
row says its ratio to that file's. `git archive COMMIT | tar -x -C FOLDER` and the folder's packages on PYTHONPATH make
one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.progress import track

from sparsevit_exporter import ExportOptions, SparseViT, export
from sparsevit_exporter.trace import quiet
from sparsevit_runtime.backends import LoadOptions, open_backend
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.diagnostics import read_machine
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.windows.macs import card_macs
from sparsevit_runtime.windows.plan import Plan

SIZE = 672
RATIOS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8)
NAMES = {"torch": "dense, by torch.onnx.export", "plain": "dense, folded, no window nodes"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--earlier", type=Path, help="the same network, exported by an earlier version")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    net = SparseViT()
    with tempfile.TemporaryDirectory() as folder:
        backends = {}
        for name, fixed in (("plain", Plan.dense(net.depths)), ("sparse", None)):
            path = Path(folder) / f"{name}.onnx"
            report = export(net, path, ExportOptions(SIZE, SIZE, name=f"swin-t-{name}", fixed=fixed))
            if not report.holds:
                raise SystemExit(f"the {name} export does not match PyTorch: {report.worst}")
            backends[name] = open_backend(path, options=LoadOptions(threads=arguments.threads))
        if arguments.earlier is not None:
            backends["earlier"] = open_backend(arguments.earlier, options=LoadOptions(threads=arguments.threads))
        torch_session = torch_export(net.eval(), Path(folder) / "torch.onnx", arguments.threads)
    card = backends["sparse"].card
    images = probe_image(SIZE, SIZE, 0)[None]
    outputs = [f"stage{i}" for i in range(4)]
    keeps = {ratio: Plan.uniform(ratio, net.depths).keep(card.stages) for ratio in RATIOS}
    normalized = np.random.RandomState(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    samples: dict[str, list[float]] = {"torch": [], "plain": [], **{str(r): [] for r in RATIOS}}
    if arguments.earlier is not None:
        samples |= {f"earlier {ratio}": [] for ratio in RATIOS}

    def run(name: str) -> None:
        if name == "torch":
            torch_session.run(None, {torch_session.get_inputs()[0].name: normalized})
        elif name == "plain":
            backends["plain"].run(feeds_of(images), outputs)
        else:
            graph = "earlier" if name.startswith("earlier") else "sparse"
            backends[graph].run(feeds_of(images, keeps[float(name.split()[-1])]), outputs)

    random = np.random.RandomState(0)
    for round_number in track(range(arguments.rounds + 2), "measuring"):
        for name in random.permutation(list(samples)):
            start = time.perf_counter()
            run(name)
            if round_number >= 2:  # the first rounds warm up
                samples[name].append((time.perf_counter() - start) * 1e3)

    by_torch, plain = np.array(samples["torch"]), np.array(samples["plain"])
    dense_macs = card_macs(card, 0)
    rows = []
    for name, values in samples.items():
        if name.startswith("earlier"):
            continue
        macs = dense_macs if name in NAMES else card_macs(card, float(name))
        rows.append(
            {
                "graph": NAMES.get(name, "sparsevit"),
                "pruned": None if name in NAMES else float(name),
                "median_ms": round(float(np.median(values)), 1),
                "min_ms": round(min(values), 1),
                "ratio_to_torch": round(float(np.median(np.array(values) / by_torch)), 3),
                "ratio_to_plain": round(float(np.median(np.array(values) / plain)), 3),
                "mac_ratio": round(macs / dense_macs, 3),
            }
        )
        earlier = samples.get(f"earlier {name}")
        if earlier is not None:
            rows[-1]["ratio_to_earlier"] = round(float(np.median(np.array(values) / np.array(earlier))), 3)
        print(rows[-1])
    document = {
        "schema": 1,
        "what": "Swin-T backbone, 672x672, batch 1, fp32, ONNX Runtime CPU; ratios are medians of pairs in one run",
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "machine": read_machine().model_dump(),
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def torch_export(net: SparseViT, path: Path, threads: int) -> onnxruntime.InferenceSession:
    """The module as `torch.onnx.export` writes it: (1, 3, H, W) float32 in, four maps out."""
    with torch.no_grad(), quiet():
        image = torch.zeros(1, 3, SIZE, SIZE)
        torch.onnx.export(net, (image,), str(path), dynamo=True, opset_version=18, verbose=False, external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
