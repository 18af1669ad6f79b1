"""Pictures of results: a new image each time, the frame itself is left alone.

Everything but the boxes is plain OpenCV, cheap enough to draw every frame of a 1280x720 stream.
"""

from __future__ import annotations

import cv2
import numpy as np

from .errors import PlanError
from .images.annotate import check_picture, write_legend, write_panel
from .tasks.detection import draw_detections
from .tasks.results import Result
from .tasks.segmentation import draw_segmentation
from .windows.activity import WindowActivity

__all__ = ["draw_activity", "draw_detections", "draw_result", "draw_segmentation"]

_OUTLINE = (80, 220, 255)  # BGR
#: Brightness left to what was not computed.
_DIMMED = 0.35


def draw_result(
    image: np.ndarray | None, result: Result, *, legend: bool = True, hud: bool = True, stage: int | None = None
) -> np.ndarray:
    """Draws whatever the result holds: its answer, its window activity when it has one, and its figures.

    Args:
        image: (H, W, 3) uint8 BGR, the frame of the result; None, of a frame on the GPU, is refused.
        result: result of that frame.
        legend: name the classes of a segmentation, in the lower left corner.
        hud: windows computed and milliseconds, in the upper left corner.
        stage: stage whose windows are shown; None for all blocks together.

    Returns:
        A new image of the same shape.

    Raises:
        FrameError: not a frame, or not of the result's size.
        MissingDependencyError: detections need supervision.
    """
    picture = check_picture(image, result.image_wh)
    # The answer goes over the dimmed picture, so that it stays readable where nothing was computed.
    canvas = picture if result.activity is None else _dimmed(picture, result.activity, stage, None)
    canvas = result.draw_answer(canvas)
    if result.activity is not None:
        _outline(canvas, result.activity, stage, None)
    if legend:
        write_legend(canvas, result.legend())
    if hud:
        write_panel(canvas, _figures(result), top=True)
    return canvas


def draw_activity(
    image: np.ndarray, activity: WindowActivity, *, stage: int | None = None, block: int | None = None
) -> np.ndarray:
    """Shows which windows were computed.

    Args:
        image: (H, W, 3) uint8 BGR.
        activity: activity of that frame.
        stage, block: a block whose computed windows are outlined, the rest grey and dim; a block of None is the last
            of the stage (it computes the fewest). With no stage, all blocks together: the fewer computed a place, the
            greyer and dimmer it is, and the outlines are those of the first stage's last block.

    Returns:
        A new image.

    Raises:
        FrameError: not a frame, or not of the activity's size.
        PlanError: no such stage or block.
    """
    image = check_picture(image, activity.letterbox.frame_wh)
    canvas = _dimmed(image, activity, stage, block)
    _outline(canvas, activity, stage, block)
    return canvas


def _shown(activity: WindowActivity, stage: int | None, block: int | None) -> tuple[int, int]:
    """The stage and block whose windows are outlined."""
    stage = 0 if stage is None else stage
    if not 0 <= stage < len(activity.stages):
        raise PlanError(f"no stage {stage}; the model has stages 0 to {len(activity.stages) - 1}")
    depth = activity.stages[stage].geometry.depth
    block = depth - 1 if block is None else block
    if not 0 <= block < depth:
        raise PlanError(f"no block {block} in stage {stage}; it has blocks 0 to {depth - 1}")
    return stage, block


def _dimmed(image: np.ndarray, activity: WindowActivity, stage: int | None, block: int | None) -> np.ndarray:
    dim = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    dim = cv2.convertScaleAbs(dim, dst=dim, alpha=_DIMMED)
    if stage is not None or block is not None:
        return np.asarray(cv2.copyTo(image, activity.frame_mask(*_shown(activity, stage, block)).view(np.uint8), dim))
    heat = np.rint(activity.token_heat() * 255).astype(np.uint8)
    heat = activity.letterbox.cells_to_frame(heat, activity.stages[0].cell_size)
    weights = cv2.cvtColor(heat, cv2.COLOR_GRAY2BGR)
    bright = cv2.multiply(image, weights, scale=1 / 255)
    return np.asarray(cv2.add(bright, cv2.multiply(dim, cv2.bitwise_not(weights), dst=dim, scale=1 / 255), dst=bright))


def _outline(canvas: np.ndarray, activity: WindowActivity, stage: int | None, block: int | None) -> None:
    """Draws the borders of the computed windows, one pixel wide, in place; neighbours share theirs."""
    height, width = canvas.shape[:2]
    corners = np.rint(activity.frame_boxes(*_shown(activity, stage, block))).astype(np.int32)
    corners = corners.clip(0, (width - 1, height - 1) * 2)
    rectangles = corners[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    cv2.polylines(canvas, list(rectangles), True, _OUTLINE, 1)


def _figures(result: Result) -> list[str]:
    share = result.window_share
    lines = [
        "all windows computed" if share == 1.0 else f"{share:.0%} of windows computed",
        f"inference {result.timings.inference_ms:.1f} ms",
    ]
    if result.dropped:
        lines.append(f"{result.dropped} frames dropped")
    return lines
