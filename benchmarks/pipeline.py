"""What does everything around inference cost? What `sparsevit run` does with a 1280x720 clip, against the bare session.

The bare session runs the same letterboxed frames, already in memory, one after the other. Both are measured in turn,
several times; the loss is the median over the pairs. The pipeline decodes the clip, letterboxes, infers, decodes the
answer, draws it and writes an annotated mp4.

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
from sparsevit_runtime.images.letterbox import Letterbox
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
        letterbox = Letterbox(size_wh, model.input_hw)
        images = [letterbox.apply(frame)[None] for frame in frames]
        outputs = [n for n in model.backend.output_names if "windows" not in n]

        def bare(sparsity: float) -> float:
            keep = Plan.parse(sparsity, model.card.windows.depths).keep(model.card.stages)
            start = time.perf_counter()
            for image in images:
                model.backend.run(feeds_of(image, keep), outputs)
            return len(images) / (time.perf_counter() - start)

        def pipeline(sparsity: float, sink_uri: str) -> float:
            with open_source(arguments.clip) as source, open_sink(sink_uri, fps=source.fps) as sink:
                outlet = Outlet(sink, essential=True)
                session = Session(model.runner, source, [outlet], level=sparsity, limit=len(images))
                start = time.perf_counter()
                with session:
                    session.wait()
                return len(images) / (time.perf_counter() - start)

        model.warm_up()
        sinks = {"null": "null://", "mp4": f"{folder}/annotated.mp4"}
        rows = []
        with Progress() as progress:
            task = progress.add_task("measuring", total=len(arguments.sparsity) * arguments.pairs)
            for sparsity in arguments.sparsity:
                rates: dict[str, list[float]] = {"bare": [], **{s: [] for s in sinks}}
                for _ in range(arguments.pairs):
                    before = bare(sparsity)
                    for sink, uri in sinks.items():
                        rates[sink].append(pipeline(sparsity, uri))
                    rates["bare"].append((before + bare(sparsity)) / 2)  # on both sides, against drift
                    progress.advance(task)
                rows += [_row(sink, sparsity, np.array(rates["bare"]), np.array(rates[sink])) for sink in sinks]
        details = model.backend.details
    for row in rows:
        print(row)
    document = {
        "schema": 2,
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


def _row(sink: str, sparsity: float, bare_fps: np.ndarray, fps: np.ndarray) -> dict:
    return {
        "sink": sink,
        "sparsity": sparsity,
        "fps": round(float(np.median(fps)), 2),
        "bare_fps": round(float(np.median(bare_fps)), 2),
        "loss": round(float(np.median(1 - fps / bare_fps)), 4),
    }


if __name__ == "__main__":
    main()
