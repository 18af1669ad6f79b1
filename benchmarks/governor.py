"""Does the governor hold its target when other programs take half of the machine? A load that comes and goes.

    python benchmarks/governor.py --out governor.json --plot governor.png

The camera is the rendered street at a constant rate. The target is a multiple of the dense latency measured first; the
load is a busy process on every core.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sparsevit_runtime import Frame, Result, Session, Source, load
from sparsevit_runtime.diagnostics import read_machine
from sparsevit_runtime.live.governor import Target
from sparsevit_runtime.live.levels import govern
from sparsevit_runtime.live.outlet import Outlet
from sparsevit_runtime.sources import open_source

#: Seconds of the first measurement, and those that do not count at its beginning.
_MEASURED_S, _SETTLING_S = 6.0, 2.0


class Camera(Source):
    """A loop of a few frames, at a constant rate until it is closed."""

    name, live = "street camera", True

    def __init__(self, fps: float) -> None:
        with open_source("synthetic://street?size=960x540&frames=8") as street:
            self._images = [frame.image for frame in street]
        self._period_s, self._next_s, self._index, self._open = 1 / fps, time.monotonic(), 0, True

    def read(self) -> Frame | None:
        self._next_s += self._period_s
        time.sleep(max(0.0, self._next_s - time.monotonic()))
        self._index += 1
        if not self._open:
            return None
        return Frame(self._images[self._index % len(self._images)], self._index - 1, time.time_ns())

    def close(self) -> None:
        self._open = False


@dataclass(frozen=True)
class Row:
    """A frame: when its result came, seconds from the start; its latency; its share of windows; why."""

    at_s: float
    latency_ms: float
    window_share: float
    reason: str


def collector(rows: list[Row], start_s: float) -> Outlet:
    def take(result: Result, picture: np.ndarray | None) -> None:
        latency_ms = (time.time_ns() - result.timestamp_ns) / 1e6
        rows.append(Row(time.monotonic() - start_s, latency_ms, result.window_share, result.level_reason))

    return Outlet(take, may_block=True, pictures=False)


def burn() -> None:
    while True:
        sum(range(10_000))


def ninetieth(rows: list[Row], since_s: float, until_s: float) -> float:
    return float(np.percentile([row.latency_ms for row in rows if since_s <= row.at_s < until_s], 90))


def main(
    model: str = "road-users",
    fps: float = 10.0,
    times: Annotated[float, typer.Option(help="Target, in dense latencies.")] = 1.2,
    load_s: Annotated[float, typer.Option(help="Seconds of the load, between two as long without.")] = 20.0,
    out: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measures, and prints p90 of the latency, the sparsity and the changes before, under and after the load."""
    with load(model) as loaded:
        dense: list[Row] = []
        start = time.monotonic()
        with Session(loaded.runner, Camera(fps), [collector(dense, start)]):
            time.sleep(_MEASURED_S)
        dense_ms = ninetieth(dense, _SETTLING_S, _MEASURED_S)
        target_ms = times * dense_ms
        governor = govern(loaded.runner, Target(latency_ms=target_ms))
        rows: list[Row] = []
        start = time.monotonic()
        spawn = multiprocessing.get_context("spawn")
        burners = [spawn.Process(target=burn, daemon=True) for _ in range(os.cpu_count() or 1)]
        with Session(loaded.runner, Camera(fps), [collector(rows, start)], governor=governor):
            time.sleep(load_s)
            for burner in burners:
                burner.start()
            loaded_s = time.monotonic() - start
            time.sleep(load_s)
            for burner in burners:
                burner.kill()
            free_s = time.monotonic() - start
            time.sleep(load_s)
    phases = {
        "before": (_SETTLING_S, loaded_s),
        "first 3 s of the load": (loaded_s, loaded_s + 3),
        "under load": (loaded_s + 3, free_s),
        "after": (free_s + 3, free_s + load_s),
    }
    table = {}
    for name, (since, until) in phases.items():
        inside = [row for row in rows if since <= row.at_s < until]
        shares = [row.window_share for row in inside]
        table[name] = {
            "p90_ms": round(ninetieth(rows, since, until), 1),
            "frames": len(inside),
            "pruned": round(1 - float(np.mean(shares)), 3),
            "pruned_last": round(1 - shares[-1], 3),
            "changes": sum(a != b for a, b in pairwise(shares)),
        }
    report = {
        "model": model,
        "fps": fps,
        "dense_p90_ms": round(dense_ms, 1),
        "target_ms": round(target_ms, 1),
        "phases": table,
        "machine": read_machine().model_dump(mode="json"),
    }
    print(json.dumps({key: value for key, value in report.items() if key != "machine"}, indent=1))
    if out is not None:
        out.write_text(json.dumps(report, indent=1) + "\n")
    if plot is not None:
        draw(rows, target_ms, (loaded_s, free_s), plot)


def draw(rows: list[Row], target_ms: float, load: tuple[float, float], path: Path) -> None:
    """Latency with its running p90, and the sparsity, over time."""
    import matplotlib.pyplot as plt

    times = [row.at_s for row in rows]
    running = [ninetieth(rows, at - 1, at + 1e-9) for at in times]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(9, 4.6), height_ratios=(2, 1))
    above.plot(times, [row.latency_ms for row in rows], ".", color="0.7", markersize=3, label="frames")
    above.plot(times, running, color="tab:blue", label="p90 of a second")
    above.axhline(target_ms, color="tab:red", label="target")
    above.set(ylabel="latency, ms", ylim=(0, 2.2 * target_ms))
    above.legend(loc="upper right", ncols=3, fontsize=8)
    below.step(times, [100 * (1 - row.window_share) for row in rows], where="post", color="tab:green")
    below.set(ylabel="pruned, %", xlabel="s", ylim=(-5, 90))
    for axes in (above, below):
        for at in load:
            axes.axvline(at, color="0.3", linestyle="--", linewidth=1)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(main)
