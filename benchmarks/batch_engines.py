"""A batch job in one process, in several and on a local Ray cluster, in one run: equal rows, and wall times as ratios.

python benchmarks/batch_engines.py recordings/ --model street-scenes road-users -o benchmarks/results/batch_engines.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from batch_kills import rows
from sparsevit_runtime import load
from sparsevit_runtime.batch import Engine, Processes, RayCluster, ThisProcess, Work, list_inputs, run_batch


def streamed(model: str, sparsity: str, sources: list[str]) -> list[dict]:
    """What `sparsevit run` says of every source, in the columns that a job has of it."""
    said = []
    with load(model, threads=1) as opened:
        for source in sources:
            for result in opened.stream(source, sparsity):
                said.append(
                    {
                        "source": source,
                        "frame_index": result.frame_index,
                        "timestamp_ns": result.timestamp_ns,
                        "width": result.image_wh[0],
                        "height": result.image_wh[1],
                        **result.columns(),
                        "keep": list(result.keep),
                    }
                )
    return sorted(said, key=lambda row: (row["source"], row["frame_index"]))


def same(ours: list[dict], theirs: list[dict]) -> bool:
    """Whether rows say the same, in the columns that both have."""
    return len(ours) == len(theirs) and all(
        a[name] == b[name] for a, b in zip(ours, theirs, strict=True) for name in set(a) & set(b)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("--model", nargs="+", default=["street-scenes"])
    parser.add_argument("--sparsity", default="0.7")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--segment-frames", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    engines: dict[str, tuple[Engine, int]] = {
        "one process, one thread": (ThisProcess(), 1),
        f"one process, {cores} threads": (ThisProcess(), cores),
        f"{given.workers} processes, one thread each": (Processes(given.workers), 1),
    }
    try:
        import ray

        version = ray.__version__
        engines[f"Ray, {given.workers} workers, one thread each"] = (RayCluster(given.workers, 1.0), 1)
    except ImportError:
        version = ""
    report = {"cores": cores, "ray": version, "models": []}
    for model in given.model:
        load_before, runs = os.getloadavg()[0], {}
        with tempfile.TemporaryDirectory() as folder:
            said = {}
            for name, (engine, threads) in engines.items():
                out = Path(folder, str(len(said)))
                start = time.perf_counter()
                work = Work(model, sparsity=given.sparsity, threads=threads)
                run_batch(given.input, out, work, engine, segment_frames=given.segment_frames, segment_images=10)
                runs[name] = {"seconds": round(time.perf_counter() - start, 2)}
                said[name] = rows(out)
                print(model, name, runs[name], flush=True)
            first = next(iter(said))
            wanted = streamed(model, given.sparsity, list_inputs(given.input))
            for name, run in runs.items():
                run["time_ratio"] = round(run["seconds"] / runs[first]["seconds"], 3)
                run["rows"] = len(said[name])
                run["equal_to_run"] = same(said[name], wanted)
        load_average = [round(each, 2) for each in (load_before, os.getloadavg()[0])]
        report["models"].append({"model": model, "runs": runs, "load_average": load_average, "frames": len(wanted)})
    print(json.dumps(report, indent=2))
    if given.output is not None:
        given.output.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(0 if all(run["equal_to_run"] for each in report["models"] for run in each["runs"].values()) else 1)


if __name__ == "__main__":
    main()
