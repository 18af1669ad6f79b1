"""The drawing surface: an image, an id per pixel, and the camera and light that place and colour things on both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike

Color = tuple[float, float, float]

_SHIFT = 3
_NEAR = 0.8
_FAR_PIXEL = 30000.0


@dataclass(frozen=True)
class View:
    """A level pinhole camera in a street that runs along z and may bend.

    World axes in metres: x to the right of the street's centre line, y up, z away from the camera.

    Attributes:
        width, height: image size in pixels.
        focal, center_x, horizon: focal length and principal point in pixels.
        x, y: position of the camera in metres.
        bend: sideways drift of the street, metres per square metre of distance.
    """

    width: int
    height: int
    focal: float
    center_x: float
    horizon: float
    x: float
    y: float
    bend: float

    def scaled(self, factor: float) -> View:
        return replace(
            self,
            width=int(self.width * factor),
            height=int(self.height * factor),
            focal=self.focal * factor,
            center_x=self.center_x * factor,
            horizon=self.horizon * factor,
        )

    def project(self, points: ArrayLike) -> np.ndarray:
        """(N, 3) metres to (N, 2) float pixels; points behind the near plane are moved onto it."""
        metres = np.asarray(points, np.float64)
        z = np.maximum(metres[:, 2], _NEAR)
        out = np.empty((len(metres), 2))
        out[:, 0] = self.center_x + self.focal * ((metres[:, 0] - self.x) / z + self.bend * z)
        out[:, 1] = self.horizon + self.focal * (self.y - metres[:, 1]) / z
        return np.clip(out, -_FAR_PIXEL, _FAR_PIXEL)

    def scale_at(self, z: float) -> float:
        """Pixels per metre at distance z."""
        return self.focal / max(z, _NEAR)


@dataclass(frozen=True)
class Light:
    """Illumination of a scene, applied to every colour drawn.

    Attributes:
        gain: factor per BGR channel.
        haze: BGR colour that far things fade into.
        haze_distance_m: distance at which a colour has faded by 63%.
        sun: 0 overcast to 1 hard sun; strength of shadows.
    """

    gain: Color
    haze: Color
    haze_distance_m: float
    sun: float

    def color(self, bgr: Color, z: float = 0.0, shade: float = 1.0) -> Color:
        """The BGR colour seen at distance z of a surface that receives `shade` of the light."""
        fade = float(np.exp(-z / self.haze_distance_m))
        blue, green, red = (
            min(255.0, max(0.0, c * g * shade * fade + h * (1.0 - fade))) for c, g, h in zip(bgr, self.gain, self.haze)
        )
        return blue, green, red

    def image(self, texture: np.ndarray, z: float, shade: float = 1.0) -> np.ndarray:
        """Same for a (H, W, 3) uint8 texture."""
        fade = float(np.exp(-z / self.haze_distance_m))
        gain = np.array(self.gain) * shade * fade
        return cv2.transform(
            texture, np.hstack([np.diag(gain), (np.array(self.haze) * (1.0 - fade))[:, None]]).astype(np.float32)
        )


class Canvas:
    """Draws the same shape in colour on `image` and as an id on `ids`.

    Args:
        image: (H, W, 3) uint8 BGR, drawn on in place.
        ids: (H, W) uint8, drawn on in place.
        smooth: anti-alias the image; the ids never are.
        depth: (H, W) float32 metres, drawn on in place with `z`, or None.

    Attributes:
        z: distance in metres written to `depth` by what is drawn next.
    """

    def __init__(self, image: np.ndarray, ids: np.ndarray, smooth: bool, depth: np.ndarray | None = None):
        self.image = image
        self.ids = ids
        self.depth = depth
        self.z = 0.0
        self._line = cv2.LINE_AA if smooth else cv2.LINE_8

    def polygon(self, points: np.ndarray, color: Color, label: int) -> None:
        """Fills a convex polygon of (N, 2) float pixels."""
        fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(self.image, fixed, color, self._line, _SHIFT)
        cv2.fillConvexPoly(self.ids, fixed, label, cv2.LINE_8, _SHIFT)
        if self.depth is not None:
            cv2.fillConvexPoly(self.depth, fixed, self.z, cv2.LINE_8, _SHIFT)

    def paint(self, points: np.ndarray, color: Color) -> None:
        """Fills a convex polygon on the image only: a detail inside something already labelled."""
        cv2.fillConvexPoly(self.image, np.rint(points * (1 << _SHIFT)).astype(np.int32), color, self._line, _SHIFT)

    def ellipse(self, center: tuple[float, float], axes: tuple[float, float], color: Color, label: int) -> None:
        """Fills an upright ellipse; centre and half axes in pixels."""
        at = (round(center[0] * 8), round(center[1] * 8))
        half = (max(4, round(axes[0] * 8)), max(4, round(axes[1] * 8)))
        cv2.ellipse(self.image, at, half, 0, 0, 360, color, -1, self._line, _SHIFT)
        cv2.ellipse(self.ids, at, half, 0, 0, 360, label, -1, cv2.LINE_8, _SHIFT)
        if self.depth is not None:
            cv2.ellipse(self.depth, at, half, 0, 0, 360, self.z, -1, cv2.LINE_8, _SHIFT)

    def line(self, a: tuple[float, float], b: tuple[float, float], width: float, color: Color, label: int) -> None:
        """Draws a bar from a to b, `width` pixels wide and at least one."""
        start, end = (round(a[0] * 8), round(a[1] * 8)), (round(b[0] * 8), round(b[1] * 8))
        thickness = max(1, round(width))
        cv2.line(self.image, start, end, color, thickness, self._line, _SHIFT)
        cv2.line(self.ids, start, end, label, thickness, cv2.LINE_8, _SHIFT)
        if self.depth is not None:
            cv2.line(self.depth, start, end, self.z, thickness, cv2.LINE_8, _SHIFT)

    def shade(self, points: np.ndarray, strength: float) -> None:
        """Darkens a convex polygon of the image by `strength` in [0, 1]; the ids stay."""
        height, width = self.ids.shape
        low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0)) + 1
        x0, y0 = max(0, int(low[0])), max(0, int(low[1]))
        x1, y1 = min(width, int(high[0])), min(height, int(high[1]))
        if x0 >= x1 or y0 >= y1:
            return
        roi = self.image[y0:y1, x0:x1]
        dark = roi.copy()
        fixed = np.rint((points - (x0, y0)) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(dark, fixed, (12, 12, 12), self._line, _SHIFT)
        cv2.addWeighted(dark, strength, roi, 1.0 - strength, 0.0, dst=roi)

    def warp(self, texture: np.ndarray, corners: np.ndarray, label: int) -> None:
        """Maps a (H, W, 3) texture onto a quadrilateral of (4, 2) pixels, clockwise from the top left."""
        height, width = self.ids.shape
        low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
        x0, y0 = max(0, int(low[0])), max(0, int(low[1]))
        x1, y1 = min(width, int(high[0])), min(height, int(high[1]))
        if x0 >= x1 or y0 >= y1:
            return
        rows, columns = texture.shape[:2]
        source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
        target = (corners - (x0, y0)).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(source, target)
        patch = cv2.warpPerspective(
            texture, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(target * (1 << _SHIFT)).astype(np.int32), 255, cv2.LINE_8, _SHIFT)
        cv2.copyTo(patch, mask, self.image[y0:y1, x0:x1])
        self.ids[y0:y1, x0:x1][mask > 0] = label
        if self.depth is not None:
            self.depth[y0:y1, x0:x1][mask > 0] = self.z
