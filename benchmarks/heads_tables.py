"""Tables from the files of `benchmarks/heads.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sparsevit_runtime.graph.parts import BACKBONE, WHOLE, sums_of

Markdown = Callable[[list[str], list[list[str]]], str]

NOT_MEASURED = "Not measured yet: `benchmarks/heads.py`."
_PLANS = {"0": "dense"}
#: Rows of Mask R-CNN, and the parts in each.
_MASK_RCNN = {
    "pyramid": ("neck",),
    "search for proposals": ("rpn_head", "proposals"),
    "box head": ("bbox_head", "detections"),
    "mask head": ("mask_head",),
}


#: Rows of Mask2Former.
_MASK2FORMER = {
    "pixel decoder": ("pixel_decoder",),
    "transformer decoder, classes and masks": ("transformer_decoder", "head"),
    "from masks to labels": ("labels",),
}


def mask_rcnn(document: dict, markdown: Markdown) -> str:
    """Parts by setting and plan: multiply-accumulates and milliseconds."""
    names = [f"{c['proposals']}, {c['detections']}: {_plan(c['plan'])}" for c in document["rows"]]
    return _by_part(document["rows"], names, _MASK_RCNN, markdown)


def mask2former(document: dict, markdown: Markdown) -> str:
    """Parts by plan: multiply-accumulates and milliseconds."""
    return _by_part(document["rows"], [_plan(c["plan"]) for c in document["rows"]], _MASK2FORMER, markdown)


def _by_part(
    columns: Sequence[dict], names: Sequence[str], heads: Mapping[str, Sequence[str]], markdown: Markdown
) -> str:
    """A row for the backbone, one for each of the heads' parts, and the whole."""
    header = ["10^9 MACs, ms", *names]
    rows = [[BACKBONE, *(_cell(sums_of(c["part_macs"])[BACKBONE], sums_of(c["part_ms"])[BACKBONE]) for c in columns)]]
    rows += [
        [name, *(_cell(_sum(c["part_macs"], parts), _sum(c["part_ms"], parts)) for c in columns)]
        for name, parts in heads.items()
    ]
    rows += [[WHOLE, *(_cell(sums_of(c["part_macs"])[WHOLE], c["median_ms"]) for c in columns)]]
    rows += [["of dense", *(_of_dense(c, columns) for c in columns)]]
    return markdown(header, rows)


def high_resolution(document: dict, markdown: Markdown) -> str:
    """Networks by plan: the backbone and the whole."""
    columns = document["rows"]
    header = ["network", "plan", "backbone", "behind it", "whole network", "MACs, of dense", "time, of dense"]
    rows = []
    for row in columns:
        macs, times = sums_of(row["part_macs"]), sums_of(row["part_ms"])
        cells = [_cell(macs[side], times[side]) for side in list(macs)[:2]]
        dense = sums_of(_dense(row, columns)["part_macs"])[WHOLE]
        whole = _cell(macs[WHOLE], row["median_ms"])
        name = row["network"] if row["plan"] == "0" else ""
        rows.append([name, _plan(row["plan"]), *cells, whole, f"{macs[WHOLE] / dense:.2f}", f"{row['time_ratio']:.2f}"])
    return markdown(header, rows)


def _plan(plan: str) -> str:
    return _PLANS.get(plan, f"{float(plan):.0%}" if plan[0].isdigit() else f"`{plan}`")


def _cell(macs: float, ms: float) -> str:
    return f"{macs / 1e9:.1f}, {ms:.0f}"


def _sum(values: dict[str, float], parts: Sequence[str]) -> float:
    return sum(values.get(part, 0) for part in parts)


def _dense(row: dict, rows: Sequence[dict]) -> dict:
    return next(r for r in rows if r["network"] == row["network"] and r["plan"] == "0")


def _of_dense(row: dict, rows: Sequence[dict]) -> str:
    macs = sums_of(row["part_macs"])[WHOLE] / sums_of(_dense(row, rows)["part_macs"])[WHOLE]
    return f"{macs:.2f}, {row['time_ratio']:.2f}"
