"""Pictures of results: a new image each time, the frame itself is left alone.

Everything but the boxes is plain OpenCV, cheap enough to draw every frame of a 1280x720 stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .dependencies import require
from .errors import FrameError, PlanError
from .images.frames import check_frame
from .results import Detections, Result, Segmentation
from .windows.activity import WindowActivity

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)
_OUTLINE = (80, 220, 255)  # BGR
#: Classes covering less of the picture than this are not in the legend.
_LEGEND_SHARE = 0.002
#: Brightness left to what was not computed.
_DIMMED = 0.35


def draw_result(
    image: np.ndarray, result: Result, *, legend: bool = True, hud: bool = True, stage: int | None = None
) -> np.ndarray:
    """Draws whatever the result holds: its answer, its window activity when it has one, and its figures.

    Args:
        image: (H, W, 3) uint8 BGR, the frame of the result.
        result: of that frame.
        legend: name the classes of a segmentation, in the lower left corner.
        hud: windows computed and milliseconds, in the upper left corner.
        stage: whose windows are shown; None for all blocks together.

    Returns:
        A new image of the same shape.

    Raises:
        FrameError: not a frame, or not of the result's size.
        MissingDependencyError: detections need supervision.
    """
    image = _checked(image, result.image_wh)
    # The answer goes over the dimmed picture, so that it stays readable where nothing was computed.
    canvas = image if result.activity is None else _dimmed(image, result.activity, stage, None)
    if isinstance(result, Segmentation):
        canvas = draw_segmentation(canvas, result, legend=False)
    elif isinstance(result, Detections):
        canvas = draw_detections(canvas, result)
    elif canvas is image:
        canvas = image.copy()
    if result.activity is not None:
        _outline(canvas, result.activity, stage, None)
    if legend and isinstance(result, Segmentation):
        _write_legend(canvas, result)
    if hud:
        _write_panel(canvas, _figures(result), top=True)
    return canvas


def draw_segmentation(
    image: np.ndarray, result: Segmentation, *, opacity: float = 0.5, legend: bool = True
) -> np.ndarray:
    """Tints every pixel with the colour of its class.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: of that frame.
        opacity: of the tint, 0 to 1.
        legend: name the classes present, in the lower left corner.

    Returns:
        A new image. Labels beyond the palette (void) are left untinted.

    Raises:
        FrameError: not a frame, or not of the result's size.
    """
    image = _checked(image, result.image_wh)
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(result.palette), 0] = result.palette[:, ::-1]
    tint = cv2.applyColorMap(result.label_map, table)
    canvas = cv2.addWeighted(image, 1.0 - opacity, tint, opacity, 0.0, dst=tint)
    if cv2.minMaxLoc(result.label_map)[1] >= len(result.palette):
        cv2.copyTo(image, (result.label_map >= len(result.palette)).view(np.uint8), canvas)
    if legend:
        _write_legend(canvas, result)
    return canvas


def draw_detections(image: np.ndarray, result: Detections) -> np.ndarray:
    """Draws boxes with name and confidence, by supervision's annotators.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: of that frame.

    Returns:
        A new image.

    Raises:
        FrameError: not a frame, or not of the result's size.
        MissingDependencyError: supervision is not installed.
    """
    canvas = _checked(image, result.image_wh).copy()
    supervision = require("supervision")
    detections = result.to_supervision()
    labels = [f"{result.names[c]} {score:.2f}" for c, score in zip(result.class_id, result.confidence)]
    thickness = max(1, round(max(canvas.shape) / 640))
    canvas = supervision.BoxAnnotator(thickness=thickness).annotate(canvas, detections)
    annotator = supervision.LabelAnnotator(text_scale=_text_scale(canvas), text_thickness=1, text_padding=3)
    return annotator.annotate(canvas, detections, labels=labels)


def draw_activity(
    image: np.ndarray, activity: WindowActivity, *, stage: int | None = None, block: int | None = None
) -> np.ndarray:
    """Shows which windows were computed.

    Args:
        image: (H, W, 3) uint8 BGR.
        activity: of that frame.
        stage, block: a block whose computed windows are outlined, the rest grey and dim; a block of None is the last
            of the stage (it computes the fewest). With no stage, all blocks together: the fewer computed a place, the
            greyer and dimmer it is, and the outlines are those of the first stage's last block.

    Returns:
        A new image.

    Raises:
        FrameError: not a frame, or not of the activity's size.
        PlanError: no such stage or block.
    """
    image = _checked(image, activity.letterbox.frame_wh)
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
        return cv2.copyTo(image, activity.frame_mask(*_shown(activity, stage, block)).view(np.uint8), dim)
    heat = np.rint(activity.token_heat() * 255).astype(np.uint8)
    heat = activity.letterbox.cells_to_frame(heat, activity.stages[0].cell_size)
    weights = cv2.cvtColor(heat, cv2.COLOR_GRAY2BGR)
    bright = cv2.multiply(image, weights, scale=1 / 255)
    return cv2.add(bright, cv2.multiply(dim, cv2.bitwise_not(weights), dst=dim, scale=1 / 255), dst=bright)


def _outline(canvas: np.ndarray, activity: WindowActivity, stage: int | None, block: int | None) -> None:
    """Draws the borders of the computed windows, one pixel wide, in place; neighbours share theirs."""
    height, width = canvas.shape[:2]
    corners = np.rint(activity.frame_boxes(*_shown(activity, stage, block))).astype(np.int32)
    corners = corners.clip(0, (width - 1, height - 1) * 2)
    rectangles = corners[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    cv2.polylines(canvas, list(rectangles), True, _OUTLINE, 1)


def _checked(image: np.ndarray, image_wh: tuple[int, int]) -> np.ndarray:
    image = check_frame(image)
    if (image.shape[1], image.shape[0]) != tuple(image_wh):
        raise FrameError(
            f"the image is {image.shape[1]}x{image.shape[0]}, the result is of a frame of {image_wh[0]}x{image_wh[1]}; "
            "draw on that frame"
        )
    return image


def _figures(result: Result) -> list[str]:
    share = result.window_share
    lines = [
        "all windows computed" if share == 1.0 else f"{share:.0%} of windows computed",
        f"inference {result.timings.inference_ms:.1f} ms",
    ]
    if result.dropped:
        lines.append(f"{result.dropped} frames dropped")
    return lines


def _write_legend(canvas: np.ndarray, result: Segmentation) -> None:
    sample = result.label_map[::4, ::4]
    pixels = np.bincount(sample.ravel(), minlength=len(result.names))[: len(result.names)]
    present = np.flatnonzero(pixels >= max(1, _LEGEND_SHARE * sample.size))
    colors = [result.palette[c, ::-1].tolist() for c in present]
    _write_panel(canvas, [result.names[c] for c in present], top=False, colors=colors)


def _text_scale(canvas: np.ndarray) -> float:
    return float(np.clip(max(canvas.shape[:2]) / 1600, 0.35, 1.2))


def _write_panel(
    canvas: np.ndarray, lines: Sequence[str], *, top: bool, colors: Sequence[Sequence[int]] | None = None
) -> None:
    """Writes lines on a darkened left corner, each behind a square of its colour; in place."""
    if not lines:
        return
    scale = _text_scale(canvas)
    step = round(32 * scale) + 2
    indent = step if colors else step // 3
    width = indent + max(cv2.getTextSize(line, _FONT, scale, 1)[0][0] for line in lines) + step // 3
    height = step * len(lines) + step // 3
    first = 0 if top else max(0, canvas.shape[0] - height)
    panel = canvas[first : first + height, :width]
    panel //= 3
    for i, line in enumerate(lines):
        y = first + step * i + step // 6
        if colors:
            corner = (step // 4, y + step // 4)
            cv2.rectangle(canvas, corner, (corner[0] + step // 2, corner[1] + step // 2), colors[i], -1)
        cv2.putText(canvas, line, (indent, y + round(step * 0.72)), _FONT, scale, _WHITE, 1, cv2.LINE_AA)
