"""What detectors cost on this machine: multiply-accumulates and milliseconds of the graph, all in turn, round by round.

    python benchmarks/detectors.py road-users --peer yolox_nano_416.onnx --peer nanodet_m_416.onnx -o detectors.json

Ratios are to the first peer, pair by pair.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rich.progress import track

from sparsevit_runtime import Result, load
from sparsevit_runtime.diagnostics import read_machine
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.windows.macs import card_parts
from sparsevit_training.peers import open_peer

PLANS = (0.0, 0.3, 0.5, 0.6, 1.0)
_WARM_UP = 3


def peer_macs(path: Path) -> int:
    """Multiply-accumulates of the convolutions of an ONNX file with static shapes."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)}
    weights = {t.name: t.dims for t in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    return sum(int(np.prod(shapes[n.output[0]][2:]) * np.prod(weights[n.input[1]])) for n in convolutions)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="bundled models, or files")
    parser.add_argument("--peer", action="append", type=Path, required=True, help="an ONNX detector; repeatable")
    parser.add_argument("--rounds", type=int, default=20, help="[20]")
    parser.add_argument("--threads", type=int, default=None, help="of each")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    frame = probe_image(480, 640, 0)
    rows: list[dict[str, Any]] = []
    runs: list[Callable[[], Result]] = []
    for name in options.models:
        model = load(name, threads=options.threads)
        for plan in PLANS:
            macs = sum(card_parts(model.card, model.level(plan).plan).values())
            rows.append({"model": model.card.name, "file": Path(name).name, "pruned": plan, "macs": macs})
            runs.append(lambda model=model, plan=plan: model(frame, plan))  # type: ignore[misc]
    for path in options.peer:
        peer = open_peer(path, options.threads)
        rows.append({"model": peer.name, "file": path.name, "pruned": None, "macs": peer_macs(path)})
        runs.append(lambda peer=peer: peer(frame))  # type: ignore[misc]
    spent = np.zeros((options.rounds, len(runs)))
    for number in track(range(-_WARM_UP, options.rounds), "rounds"):
        times = [run().timings.inference_ms for run in runs]
        if number >= 0:
            spent[number] = times
    base = spent[:, len(rows) - len(options.peer)]
    for row, column in zip(rows, spent.T, strict=True):
        row["median_ms"] = round(float(np.median(column)), 2)
        row["ratio"] = round(float(np.median(column / base)), 3)
        pruned = "" if row["pruned"] is None else f"{row['pruned']:.0%}"
        print(f"{row['file']:28} {pruned:>5} {row['macs'] / 1e6:8.0f} M {row['median_ms']:8.1f} ms {row['ratio']:6.2f}")
    document = {
        "schema": 1,
        "machine": read_machine().model_dump(),
        "rounds": options.rounds,
        "threads": options.threads,
        "rows": rows,
    }
    if options.output is not None:
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
