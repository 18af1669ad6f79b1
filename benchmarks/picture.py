"""Makes the README's picture: one street frame, with the answer at the left and the windows computed at the right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from sparsevit_runtime import Timings, draw_result, load
from sparsevit_street import StreetScene

PICTURE = Path(__file__).parents[1] / "docs" / "street.jpg"


def main() -> None:
    frame, _ = StreetScene((800, 450), seed=0).render(40)
    with load("street-scenes") as model:
        results = [model(frame, sparsity=0.5, activity=activity) for activity in (False, True)]
    # Times stand in the README's tables, with the machine that they were measured on.
    plain, activity = (draw_result(frame, replace(result, timings=Timings())) for result in results)
    gap = np.full((frame.shape[0], 8, 3), 255, np.uint8)
    cv2.imwrite(str(PICTURE), np.hstack([plain, gap, activity]), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
