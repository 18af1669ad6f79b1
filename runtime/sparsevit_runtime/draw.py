"""Pictures of results: a new image each time, the frame itself is left alone.

Everything but the boxes is plain OpenCV, cheap enough to draw every frame of a 1280x720 stream.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from .arguments import as_kind, as_whole
from .errors import PlanError
from .images.annotate import Entry, check_picture, line_height, write_panel
from .tasks.detection import draw_detections
from .tasks.results import Result, expect_result
from .tasks.segmentation import draw_segmentation
from .windows.activity import WindowActivity
from .windows.level import say_pruned

__all__ = ["draw_activity", "draw_detections", "draw_result", "draw_segmentation"]

_OUTLINE = (80, 220, 255)  # BGR
#: Brightness left to what was not computed.
_DIMMED = 0.35
_GREY_AND_DIM = np.tile(np.array([0.114, 0.587, 0.299], np.float32) * _DIMMED, (3, 1))
#: Bytes of a strip of the picture that is worked on at a time.
_STRIP = 1 << 17
#: Share of the picture's width that the figures may use.
_HUD_SHARE = 0.45


def draw_result(
    image: np.ndarray | None, result: Result, *, legend: bool = True, hud: bool = True, stage: int | None = None
) -> np.ndarray:
    """Draws whatever the result holds: its answer, its window activity when it has one, and its figures.

    Args:
        image: (H, W, 3) uint8 BGR, the frame of the result; None, of a frame on the GPU, is refused.
        result: result of that frame.
        legend: name the classes of a segmentation and what the shading means, in the lower left corner.
        hud: sparsity, milliseconds of inference and, in a stream, frames per second, in the upper left corner.
        stage: stage whose windows are shown; None for all blocks together.

    Returns:
        A new image of the same shape.

    Raises:
        FrameError: not a frame, or not of the result's size.
        ArgumentError: not a result.
        PlanError: no such stage.
        MissingDependencyError: detections and instances need supervision.
    """
    expect_result(result, Result)
    canvas = check_picture(image, result.image_wh)
    if result.activity is not None:  # under the answer, which stays readable where nothing was computed
        canvas = draw_activity(canvas, result.activity, stage=stage)
    canvas = result.draw_answer(canvas)
    if legend:
        entries = [Entry(name, color[::-1]) for name, color in result.legend()]
        write_panel(canvas, entries + _activity_legend(result, stage), top=False)
    if hud:
        write_panel(canvas, [Entry(figure) for figure in _figures(result)], top=True, share=_HUD_SHARE)
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
        ArgumentError: no activity.
    """
    activity = as_kind(activity, WindowActivity, "activity is the WindowActivity of a frame (activity=True)")
    image = check_picture(image, activity.letterbox.frame_wh)
    canvas = _dimmed(image, activity, stage, block)
    _outline(canvas, activity, stage, block)
    return canvas


def _shown(activity: WindowActivity, stage: int | None, block: int | None) -> tuple[int, int]:
    """The stage and block whose windows are outlined."""
    stage = 0 if stage is None else as_whole(stage, "stage", -sys.maxsize, sys.maxsize)
    if not 0 <= stage < len(activity.stages):
        raise PlanError(f"no stage {stage}; the model has stages 0 to {len(activity.stages) - 1}")
    depth = activity.stages[stage].geometry.depth
    block = depth - 1 if block is None else as_whole(block, "block", -sys.maxsize, sys.maxsize)
    if not 0 <= block < depth:
        raise PlanError(f"no block {block} in stage {stage}; it has blocks 0 to {depth - 1}")
    return stage, block


def _dimmed(image: np.ndarray, activity: WindowActivity, stage: int | None, block: int | None) -> np.ndarray:
    """The picture, grey and dim as far as it was not computed."""
    weights = None
    if stage is None and block is None:
        heat = np.rint(activity.token_heat() * 255).astype(np.uint8)
        weights = activity.letterbox.cells_to_frame(heat, activity.stages[0].cell_size)  # (H, W)
    else:
        computed = activity.frame_mask(*_shown(activity, stage, block)).view(np.uint8)
    out = np.empty_like(image)
    rows = max(1, _STRIP // (3 * image.shape[1]))
    for y in range(0, image.shape[0], rows):  # strips stay in the CPU's cache
        strip = image[y : y + rows]
        dim = cv2.transform(strip, _GREY_AND_DIM)
        if weights is None:
            cv2.copyTo(strip, computed[y : y + rows], dim)
            out[y : y + rows] = dim
            continue
        share = cv2.cvtColor(weights[y : y + rows], cv2.COLOR_GRAY2BGR)
        bright = cv2.multiply(strip, share, scale=1 / 255)
        dim = cv2.multiply(dim, cv2.bitwise_not(share, dst=share), dst=dim, scale=1 / 255)
        cv2.add(bright, dim, dst=out[y : y + rows])
    return out


def _outline(canvas: np.ndarray, activity: WindowActivity, stage: int | None, block: int | None) -> None:
    """Draws the borders of the computed windows in place; neighbours share theirs."""
    height, width = canvas.shape[:2]
    corners = np.rint(activity.frame_boxes(*_shown(activity, stage, block))).astype(np.int32)
    corners = corners.clip(0, (width - 1, height - 1) * 2)
    rectangles = corners[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    cv2.polylines(canvas, list(rectangles), True, _OUTLINE, max(1, line_height(canvas) // 16))


def _activity_legend(result: Result, stage: int | None) -> list[Entry]:
    """What the shading and the lines of `draw_activity` mean."""
    if result.activity is None:
        return []
    shown, _ = _shown(result.activity, stage, None)
    ramp = np.linspace(255 * _DIMMED, 255, 32).astype(np.uint8)[None, :, None].repeat(3, axis=2)
    box = np.zeros((32, 64, 3), np.uint8)
    cv2.rectangle(box, (0, 0), (63, 31), _OUTLINE, 6)
    return [Entry("dim: pruned", ramp), Entry(f"computed in stage {shown}", box)]


def _figures(result: Result) -> list[str]:
    figures = [say_pruned(result.window_share)]
    if result.timings.inference_ms:
        figures.append(f"inference {result.timings.inference_ms:.1f} ms")
    if result.fps is not None:
        figures.append(f"{result.fps:.1f} fps")
    if result.dropped:
        figures.append(f"{result.dropped} dropped")
    return figures
