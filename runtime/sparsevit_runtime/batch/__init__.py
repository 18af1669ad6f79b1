"""More frames than one machine can take: archives of images and videos into a Parquet data set, on processes of this
machine or on a Ray cluster.

    from sparsevit_runtime.batch import FramePredictor, Processes, Work, run_batch

    report = run_batch("recordings/", "out/", Work(model="street-scenes"), Processes(4))

`FramePredictor` is the callable class for pipelines of one's own, such as ``dataset.map_batches(FramePredictor, ...)``.
"""

from __future__ import annotations

from .engines import Engine, Processes, RayCluster, ThisProcess
from .inputs import list_inputs
from .job import Report, run_batch
from .predictor import FramePredictor
from .segments import Broken, Segment
from .work import Outcome, Work

__all__ = [
    "Broken",
    "Engine",
    "FramePredictor",
    "Outcome",
    "Processes",
    "RayCluster",
    "Report",
    "Segment",
    "ThisProcess",
    "Work",
    "list_inputs",
    "run_batch",
]
