"""What another program found, as COCO's results format says it, measured as a model is
(https://cocodataset.org/#format-results)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.tasks.segmentation import COCO_MASK

from .datasets import CocoBoxes, Dataset
from .datasets.coco_fields import id_key, is_number
from .tasks import measured_task
from .tasks.evaluation import Evaluation, RecordTally

_FORMAT = "expected COCO results: a list of {image_id, category_id, bbox, score}, for instances with segmentation"


def evaluate_results(path: str | Path, dataset: Dataset, task: str, name: str | None = None) -> Evaluation:
    """Measures results in a file, such as ``tools/test.py --format-only`` of mmdet writes.

    Args:
        path: the file, whose ids are those of the data's own file.
        dataset: data that they are of.
        task: task that they answer, as model cards name it.
        name: name of the data in the report; the dataset's own when None.

    Returns:
        The evaluation, named after the file; its times are NaN.

    Raises:
        DatasetError: not readable, other content, or a task or data that has no such results.
    """
    path = Path(path)
    tally = measured_task(task).tally(path.stem, dataset)
    if not isinstance(tally, RecordTally) or not isinstance(dataset, CocoBoxes):
        raise DatasetError(f"{path.name} holds objects, which a model for {task} does not find; leave it out")
    tally.records += dataset.own_records(_read(path, masks=tally.masked))
    return tally.evaluation(
        model=path.stem,
        dataset=name or dataset.name,
        plan="own",
        ratio=0.0,
        uniform=True,
        images=len(dataset),
        classes=tuple(c.name for c in dataset.classes),
        inference_ms=math.nan,
        total_ms=math.nan,
    )


def _read(path: Path, *, masks: bool) -> list[dict[str, Any]]:
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not readable JSON ({str(error)[:200]}); {_FORMAT}") from error
    if not isinstance(records, list):
        raise DatasetError(f"{path} holds a {type(records).__name__}; {_FORMAT}")
    for record in records:
        if not _is_result(record, masks=masks):
            raise DatasetError(f"{path} has the entry {str(record)[:120]}; {_FORMAT}")
    return records


def _is_result(record: Any, *, masks: bool) -> bool:
    if not isinstance(record, dict) or any(id_key(record.get(key)) is None for key in ("image_id", "category_id")):
        return False
    box = record.get("bbox")
    numbers = [record.get("score"), *(box if isinstance(box, list) else ())]
    return len(numbers) == 5 and all(map(is_number, numbers)) and (not masks or bool(record.get(COCO_MASK)))
