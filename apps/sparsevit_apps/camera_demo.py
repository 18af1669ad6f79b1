"""A complete live-camera demo on the public interface alone.

    python -m sparsevit_apps.camera_demo 0 display:// --sparsity 0.6
    python -m sparsevit_apps.camera_demo csi://0 drive.mp4 --activity
    python -m sparsevit_apps.camera_demo synthetic://street out.mp4 --model my.onnx

Any source and any sink of `sparsevit run` will do. Stop with Ctrl-C, or with q in the window.
"""

from __future__ import annotations

import argparse
import logging
import sys

import sparsevit_runtime as sparsevit
from sparsevit_runtime.sinks import StopStream

log = logging.getLogger("camera-demo")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "source", nargs="?", default="0", help="camera index, csi://N, rtsp://..., video, image or folder"
    )
    parser.add_argument("sink", nargs="?", default="display://", help="display://, .mp4, folder or .jsonl")
    parser.add_argument("--model", default="street-scenes", help="an exported .onnx file, or a bundled model")
    parser.add_argument("--sparsity", default="0.6", help="share of windows not computed, a list or a plan file")
    parser.add_argument("--activity", action="store_true", help="show which windows were computed")
    return parser.parse_args()


def demo(options: argparse.Namespace) -> None:
    model = sparsevit.load(options.model)
    stream = model.stream(options.source, sparsity=options.sparsity, activity=options.activity)
    source = stream.source
    with stream, sparsevit.open_sink(options.sink, fps=source.fps, live=source.live) as sink:
        log.info("%s on %s to %s; Ctrl-C to stop", model.card.name, source.name, sink.name)
        try:
            for result in stream:
                sink.write(result, sparsevit.draw_result(result.image, result))
                if result.frame_index % 30 == 0:
                    spent = result.timings
                    log.info("%s, capture %.1f ms, %d dropped", result, spent.capture_ms, result.dropped)
        except (KeyboardInterrupt, StopStream):
            log.info("stopped")  # the sink is completed all the same


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        demo(arguments())
    except sparsevit.SparseViTError as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
