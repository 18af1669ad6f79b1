"""What the answers of a task are as columns of a table: one row a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What a cell holds: boxes are a list of (x1, y1, x2, y2) in frame pixels; floats, integers and texts a list of them;
#: masks a list of COCO's compressed run lengths, each with its area in pixels; a label map one PNG, 8-bit grey.
ColumnKind = Literal["boxes", "floats", "integers", "texts", "masks", "label_map"]


@dataclass(frozen=True)
class Column:
    """One column of a task's answers.

    Attributes:
        name: name of the column.
        kind: kind of its cells.
    """

    name: str
    kind: ColumnKind
