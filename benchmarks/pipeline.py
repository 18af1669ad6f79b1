"""What does everything around inference cost? What `sparsevit run` does with a 1280x720 clip, against the bare session.

The bare session runs the same letterboxed frames, already in memory, one after the other. Both are measured in turn,
several times; the loss is the median over the pairs. The pipeline decodes the clip, letterboxes, infers, decodes the
answer, draws it and writes an annotated mp4. Everything that it does beside inference takes CPU time from it, where all
cores are the model's: the floor of the loss is what the CPU time of both says, if no core ever waited.

    python benchmarks/pipeline.py CLIP -o benchmarks/results/pipeline.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.progress import Progress

from sparsevit_runtime import Outlet, Session, load, open_sink, open_source
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.diagnostics import read_machine
from sparsevit_runtime.images.placing import place_frame
from sparsevit_runtime.windows.plan import Plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", help="any source; a 1280x720 video for the published figure")
    parser.add_argument("--model", default="street-scenes")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()

    with load(arguments.model) as model, tempfile.TemporaryDirectory() as folder:
        with open_source(arguments.clip) as source:
            frames = [frame.image for _, frame in zip(range(arguments.frames), source)]
            name, size_wh = Path(source.name).name, (frames[0].shape[1], frames[0].shape[0])
        placement = place_frame(size_wh, model.card.input)
        images = [placement.apply(frame, pad_value=model.card.input.pad_value)[None] for frame in frames]
        outputs = [n for n in model.backend.output_names if "windows" not in n]

        def bare(sparsity: float) -> np.ndarray:
            keep = Plan.parse(sparsity, model.card.windows.depths).keep(model.card.stages)
            start = _clocks()
            for image in images:
                model.backend.run(feeds_of(image, keep), outputs)
            return (_clocks() - start) / len(images)

        def pipeline(sparsity: float, sink_uri: str) -> np.ndarray:
            with open_source(arguments.clip) as source, open_sink(sink_uri, fps=source.fps) as sink:
                outlet = Outlet(sink, essential=True)
                session = Session(model.runner, source, [outlet], level=sparsity, limit=len(images))
                start = _clocks()
                with session:
                    session.wait()
                return (_clocks() - start) / len(images)

        model.warm_up()
        sinks = {"null": "null://", "mp4": f"{folder}/annotated.mp4"}
        rows = []
        with Progress() as progress:
            task = progress.add_task("measuring", total=len(arguments.sparsity) * arguments.pairs)
            for sparsity in arguments.sparsity:
                spent: dict[str, list[np.ndarray]] = {"bare": [], **{s: [] for s in sinks}}
                for _ in range(arguments.pairs):
                    before = bare(sparsity)
                    for sink, uri in sinks.items():
                        spent[sink].append(pipeline(sparsity, uri))
                    spent["bare"].append((before + bare(sparsity)) / 2)  # on both sides, against drift
                    progress.advance(task)
                rows += [_row(sink, sparsity, np.array(spent["bare"]), np.array(spent[sink])) for sink in sinks]
        details = model.backend.details
    for row in rows:
        print(row)
    document = {
        "schema": 3,
        "what": "sparsevit run against the bare session on the same frames; loss is the median over pairs in one run",
        "clip": name,
        "frame_wh": size_wh,
        "frames": len(images),
        "pairs": arguments.pairs,
        "model": arguments.model,
        "backend": details,
        "machine": read_machine().model_dump(),
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def _clocks() -> np.ndarray:
    """Wall clock and CPU time of the process, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def _row(sink: str, sparsity: float, bare: np.ndarray, pipeline: np.ndarray) -> dict:
    """
    Args:
        sink: what the pipeline wrote to.
        sparsity: share pruned.
        bare, pipeline: (pairs, 2) seconds a frame, wall clock and CPU time.
    """
    cores = read_machine().usable_cores
    least = np.maximum(bare[:, 0], pipeline[:, 1] / cores)  # all cores always busy, or as long as inference alone takes
    return {
        "sink": sink,
        "sparsity": sparsity,
        "fps": round(float(np.median(1 / pipeline[:, 0])), 2),
        "bare_fps": round(float(np.median(1 / bare[:, 0])), 2),
        "loss": round(float(np.median(1 - bare[:, 0] / pipeline[:, 0])), 4),
        "cpu_ms": round(float(np.median(pipeline[:, 1])) * 1e3, 2),
        "bare_cpu_ms": round(float(np.median(bare[:, 1])) * 1e3, 2),
        "loss_floor": round(float(np.median(1 - bare[:, 0] / least)), 4),
    }


if __name__ == "__main__":
    main()
