"""ByteTrack: the same object keeps its number from frame to frame.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022: boxes of good scores are
matched to where the tracks should be, then the tracks left over to boxes of poor scores, which are often the same
objects half hidden. Differences: time is in seconds, so that frames may be dropped, and a box of the track's class goes
before one of another.
"""

from __future__ import annotations

import importlib

import numpy as np

from ..dependencies import require
from .motion import Motion, overlaps

#: What an overlap with a box of another class counts.
_OTHER_CLASS = 0.5
#: Least overlap of a track and its next box; boxes of poor scores have to lie where they should.
_LEAST_OVERLAP, _LEAST_OVERLAP_POOR = 0.1, 0.4
#: Of detections without a number.
NO_ID = -1


class ByteTracker:
    """The tracks of one source. An object has its number from the second frame on in which it is seen.

    Threads: one.

    Attributes:
        ids: (N,) int64 of the tracks; NO_ID before the second sight.
    """

    def __init__(self, good_score: float, lost_s: float) -> None:
        """
        Args:
            good_score: least score of a box that begins a track; all others only go on with one.
            lost_s: seconds for which an object that is not seen keeps its number.

        Raises:
            MissingDependencyError: SciPy is not installed.
        """
        require("scipy")
        self._assign = importlib.import_module("scipy.optimize").linear_sum_assignment
        self._good_score, self._lost_s = good_score, lost_s
        self._motion = Motion()
        self._next_id = 1
        self.ids = np.zeros(0, np.int64)
        self._classes = np.zeros(0, np.int64)
        self._unseen_s = np.zeros(0)  # since the track was last seen

    def update(
        self,
        xyxy: np.ndarray,
        confidence: np.ndarray,
        class_id: np.ndarray,
        seconds: float,
        period_s: float = 0.0,
    ) -> np.ndarray:
        """The boxes of the next frame.

        Args:
            xyxy: (N, 4) float corners in pixels.
            confidence: (N,) float scores.
            class_id: (N,) int classes.
            seconds: time since the frame before.
            period_s: usual time between two frames; nobody is lost before two of them have passed, however slow the
                source or the model.

        Returns:
            (N,) int64 number of each box's track, from 1; NO_ID for those of none yet.
        """
        seen_before = self._unseen_s == 0.0
        self._unseen_s += seconds
        alive = self._unseen_s <= max(self._lost_s, 2 * period_s)
        self._forget(alive)
        seen_before = seen_before[alive]
        self._motion.predict(seconds, ~seen_before)
        track_of = np.full(len(xyxy), -1)
        similar = overlaps(self._motion.xyxy, xyxy) * np.where(
            self._classes[:, None] == class_id[None], 1.0, _OTHER_CLASS
        )
        known, good = self.ids != NO_ID, confidence >= self._good_score
        self._match(similar, known, good, _LEAST_OVERLAP, track_of)
        self._match(similar, known & seen_before, ~good, _LEAST_OVERLAP_POOR, track_of)
        self._match(similar, ~known, good, _LEAST_OVERLAP, track_of)

        boxes = np.flatnonzero(track_of >= 0)
        rows = track_of[boxes]
        self._motion.correct(rows, xyxy[boxes])
        self._classes[rows] = class_id[boxes]
        self._unseen_s[rows] = 0.0
        for row in rows[self.ids[rows] == NO_ID]:
            self.ids[row] = self._next_id
            self._next_id += 1
        ids = np.full(len(xyxy), NO_ID, np.int64)
        ids[boxes] = self.ids[rows]
        self._forget((self.ids != NO_ID) | (self._unseen_s == 0.0))  # seen once, and not again
        self._begin(xyxy, class_id, good & (track_of < 0))
        return ids

    def reset(self) -> None:
        """Forgets all tracks; no number is given twice."""
        self._forget(np.zeros(len(self.ids), bool))

    def _match(
        self, similar: np.ndarray, tracks: np.ndarray, boxes: np.ndarray, least: float, track_of: np.ndarray
    ) -> None:
        """Pairs tracks and boxes of two masks, those that are free, and writes them into `track_of`."""
        rows = np.setdiff1d(np.flatnonzero(tracks), track_of)
        columns = np.flatnonzero(boxes & (track_of < 0))
        for i, j in zip(*self._assign(similar[np.ix_(rows, columns)], maximize=True)):
            if similar[rows[i], columns[j]] >= least:
                track_of[columns[j]] = rows[i]

    def _begin(self, xyxy: np.ndarray, class_id: np.ndarray, chosen: np.ndarray) -> None:
        count = int(chosen.sum())
        self._motion.add(xyxy[chosen])
        self.ids = np.concatenate([self.ids, np.full(count, NO_ID, np.int64)])
        self._classes = np.concatenate([self._classes, class_id[chosen]])
        self._unseen_s = np.concatenate([self._unseen_s, np.zeros(count)])

    def _forget(self, keep: np.ndarray) -> None:
        self._motion.keep(keep)
        self.ids, self._classes, self._unseen_s = self.ids[keep], self._classes[keep], self._unseen_s[keep]
