"""Makes the README's picture: one street frame, with the answer at the left and the windows computed at the right."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sparsevit_runtime import draw_result, load
from sparsevit_street import StreetScene

PICTURE = Path(__file__).parents[1] / "docs" / "street.jpg"


def main() -> None:
    frame, _ = StreetScene((800, 450), seed=0).render(40)
    with load("street-scenes") as model:
        plain = draw_result(frame, model(frame, sparsity=0.5))
        activity = draw_result(frame, model(frame, sparsity=0.5, activity=True), legend=False)
    gap = np.full((frame.shape[0], 8, 3), 255, np.uint8)
    cv2.imwrite(str(PICTURE), np.hstack([plain, gap, activity]), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
