"""Makes the README's picture: one frame, with the answer at the left and the windows computed at the right.

SOURCE is a recording, as store-aisle-detection.gif of the Intel sample videos, frame 61.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from sparsevit_runtime import Timings, draw_result, load
from sparsevit_runtime.sources import open_source

PICTURE = Path(__file__).parents[1] / "docs" / "store.jpg"


def main(
    source: Annotated[str, typer.Argument(help="Recording, or anything else that `sparsevit run` takes.")],
    frame: Annotated[int, typer.Option(help="Number of the frame, from 0.")] = 0,
    model: Annotated[str, typer.Option(help="Bundled model, or a file.")] = "road-users",
    sparsity: Annotated[float, typer.Option(help="Share of the windows that is pruned.")] = 0.5,
    output: Annotated[Path, typer.Option("-o", help="Picture to write.")] = PICTURE,
) -> None:
    image = _frame_of(source, frame)
    with load(model) as network:
        results = [network(image, sparsity=sparsity, activity=activity) for activity in (False, True)]
    # Times stand in the README's tables, with the machine that they were measured on.
    plain, activity = (draw_result(image, replace(result, timings=Timings())) for result in results)
    gap = np.full((image.shape[0], 8, 3), 255, np.uint8)
    cv2.imwrite(str(output), np.hstack([plain, gap, activity]), [cv2.IMWRITE_JPEG_QUALITY, 90])
    print(f"{output}: {results[0]}")


def _frame_of(source: str, number: int) -> np.ndarray:
    with open_source(source) as opened:
        while (found := opened.read()) is not None:
            if found.index == number:
                return found.image
    raise SystemExit(f"{source} has no frame {number}")


if __name__ == "__main__":
    typer.run(main)
