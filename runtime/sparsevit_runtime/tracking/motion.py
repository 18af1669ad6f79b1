"""Where boxes are likely to be: a Kalman filter of constant velocity for many boxes at once, in seconds.

The model is that of SORT (Bewley et al., 2016) and ByteTrack (Zhang et al., 2022). Their deviations are shares of the
box's size per frame of a 30 Hz video; here they grow with the time that has passed, so that frames may be dropped.
"""

from __future__ import annotations

import numpy as np

#: Rate of the videos that the deviations below are told for, Hz.
_RATE = 30.0
#: Deviation of a box's place, and of its change in a frame, as shares of its size.
_PLACE, _CHANGE = 1 / 20, 1 / 160
_LEAST_SIDE_PX = 1.0


class Motion:
    """Boxes that move. All coordinates of a box are as uncertain as one another, so they share one covariance.

    Threads: one.

    Attributes:
        place: (N, 4) float64 centre x, centre y, width and height in pixels.
        speed: (N, 4) float64 the same per second.
        covariance: (N, 2, 2) float64 of place and speed.
    """

    def __init__(self) -> None:
        self.place = np.zeros((0, 4))
        self.speed = np.zeros((0, 4))
        self.covariance = np.zeros((0, 2, 2))

    @property
    def xyxy(self) -> np.ndarray:
        """(N, 4) float64 corners in pixels."""
        half = np.maximum(self.place[:, 2:], _LEAST_SIDE_PX) / 2
        return np.concatenate([self.place[:, :2] - half, self.place[:, :2] + half], axis=1)

    def add(self, xyxy: np.ndarray) -> None:
        """Begins boxes (N, 4) that may move in any direction."""
        place = _centred(xyxy)
        size = _size(place)
        covariance = np.zeros((len(place), 2, 2))
        covariance[:, 0, 0] = (2 * _PLACE * size) ** 2
        covariance[:, 1, 1] = (10 * _CHANGE * _RATE * size) ** 2
        self.place = np.concatenate([self.place, place])
        self.speed = np.concatenate([self.speed, np.zeros_like(place)])
        self.covariance = np.concatenate([self.covariance, covariance])

    def keep(self, mask: np.ndarray) -> None:
        """Forgets all boxes but those of a mask (N,) bool."""
        self.place, self.speed, self.covariance = self.place[mask], self.speed[mask], self.covariance[mask]

    def predict(self, seconds: float, unseen: np.ndarray) -> None:
        """Moves all boxes on; those of the mask `unseen` (N,) bool keep their size, which nobody has measured."""
        self.speed[unseen, 2:] = 0.0
        self.place += self.speed * seconds
        size, frames = _size(self.place), seconds * _RATE
        step = np.array([[1.0, seconds], [0.0, 1.0]])
        self.covariance = step @ self.covariance @ step.T
        self.covariance[:, 0, 0] += (_PLACE * size) ** 2 * frames
        self.covariance[:, 1, 1] += (_CHANGE * _RATE * size) ** 2 * frames

    def correct(self, rows: np.ndarray, xyxy: np.ndarray) -> None:
        """Boxes `rows` (M,) were seen at (M, 4)."""
        covariance = self.covariance[rows]
        noise = (_PLACE * _size(self.place[rows])) ** 2
        gain = covariance[:, :, 0] / (covariance[:, 0, 0] + noise)[:, None]  # (M, 2)
        error = _centred(xyxy) - self.place[rows]  # (M, 4)
        self.place[rows] += gain[:, :1] * error
        self.speed[rows] += gain[:, 1:] * error
        self.covariance[rows] = covariance - gain[:, :, None] * covariance[:, :1, :]


def overlaps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) and (M, 4), corners in pixels: (N, M) float64."""
    upper = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    lower = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = np.clip(lower - upper, 0.0, None).prod(-1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(-1) for boxes in (ours, theirs)]
    union = areas[0][:, None] + areas[1][None] - common
    share: np.ndarray = common / np.maximum(union, 1e-9)
    return share


def _centred(xyxy: np.ndarray) -> np.ndarray:
    boxes = xyxy.astype(np.float64)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _size(place: np.ndarray) -> np.ndarray:
    """One length for each box, pixels."""
    size: np.ndarray = np.maximum(place[:, 2:], _LEAST_SIDE_PX).mean(axis=1)
    return size
