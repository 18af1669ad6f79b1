"""Labels frames of clips and folders with a detector, as COCO JSON.

    python -m sparsevit_apps.pseudo_label CLIP... --model yolox_nano_416.onnx --threshold 0.4 -o DIR

writes ``DIR/annotations.json`` and ``DIR/images/``, and says how many frames and objects there are. Needs the train
extra.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sparsevit_runtime.errors import SparseViTError
from sparsevit_training.peers import open_peer
from sparsevit_training.pseudo_label import ROAD_USERS, pseudo_label

from .console import print_error, progress_bar, stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="pseudo_label", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+", metavar="CLIP", help="clips, images, or folders of either")
    parser.add_argument("--model", required=True, help="an ONNX detector: YOLOX, NanoDet or FastestDet")
    parser.add_argument("--threshold", type=_share, default=0.4, help="least score, 0 to 1 [0.4]")
    parser.add_argument("--classes", default=",".join(ROAD_USERS), help="names, by commas")
    parser.add_argument("--frames", type=_count, default=48, help="per clip [48]")
    parser.add_argument("-o", "--output", required=True, help="folder to write")
    options = parser.parse_args(arguments)
    try:
        with progress_bar() as progress:
            made = pseudo_label(
                options.paths,
                open_peer(options.model),
                options.output,
                options.threshold,
                tuple(c.strip() for c in options.classes.split(",")),
                options.frames,
                progress,
            )
    except SparseViTError as error:
        print_error(str(error))
        return 1
    console = stdout()
    console.print(f"{made.frames} frames, {made.empty} of them without an object; threshold {options.threshold}")
    for name, count in made.objects.items():
        console.print(f"  {name}: {count}")
    console.print(f"wrote {made.annotations}", soft_wrap=True)
    return 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
