"""Tables from the files of `benchmarks/gpu.py`; what was not run says so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

Markdown = Callable[[list[str], list[list[str]]], str]

NOT_RUN = "Not run on a GPU."
#: Why nothing of a section was run that was not asked for.
LEFT_OUT = "left out with --only"
_MISSING = "not run"


def gpu_kernels(documents: Sequence[dict], markdown: Markdown) -> str:
    """Kernels in half precision at batch 1, and frames letterboxed, one table per machine."""
    tables = []
    for document in documents:
        if all(row.get("not_run") == LEFT_OUT for row in document["kernels"]):
            continue
        rows = [
            [
                row["kernel"].replace("_", " "),
                _where(row),
                "" if row.get("pruned") is None else f"{row['pruned']:.0%}",
                f"{row['bytes'] / 1e6:.1f} MB",
                _figure(row, "gb_per_s", ".0f"),
                _figure(row, "share_of_copy", ".0%"),
            ]
            for row in document["kernels"]
            if "kernel" in row and row.get("precision", "fp16") == "fp16" and row.get("batch", 1) == 1
        ]
        header = ["kernel", "where", "pruned", "moved", "GB/s", "of a copy"]
        tables.append(_table(document, "kernels", header, rows, markdown))
    return "\n\n".join(tables) or NOT_RUN


def gpu_latency(documents: Sequence[dict], markdown: Markdown) -> str:
    """A line per size, precision and batch, one table per machine; times are ratios to the dense engine's."""
    tables = []
    for document in documents:
        settings, measured = document["settings"], document["latency"]
        if all(row.get("not_run") == LEFT_OUT for row in measured):
            continue
        pruned = settings.get("pruned", settings["ratios"][-1])
        columns = [("plugins", 0.0), ("plugins", pruned), ("portable", pruned), ("eager", 0.0), ("compiled", 0.0)]
        rows = []
        for size, precision, batch in itertools.product(settings["sizes"], settings["precisions"], settings["batches"]):
            cells = {
                (row["what"], row["pruned"]): row
                for row in measured
                if (row.get("size"), row.get("precision"), row.get("batch"))
                == (f"{size[0]}x{size[1]}", precision, batch)
            }
            rows.append(
                [
                    f"{size[0]}x{size[1]} {precision}, batch {batch}",
                    _figure(cells.get(("dense", 0.0), {}), "median_ms", ".2f", " ms"),
                    *(_figure(cells.get(column, {}), "ratio_to_dense", ".2f") for column in columns),
                ]
            )
        header = [
            "input",
            "dense engine",
            "plugins, nothing pruned",
            f"plugins, {pruned:.0%} pruned",
            f"portable, {pruned:.0%} pruned",
            "PyTorch",
            "PyTorch compiled",
        ]
        tables.append(_table(document, "latency", header, rows, markdown))
    return "\n\n".join(tables) or NOT_RUN


def gpu_onnxruntime(documents: Sequence[dict], markdown: Markdown) -> str:
    """A line per size, precision and batch, one table per machine: milliseconds, and shares of what PyTorch compiles of
    the dense network."""
    tables = []
    for document in documents:
        settings, measured = document["settings"], document.get("onnxruntime", ())
        if not any("median_ms" in row for row in measured):
            continue
        ratios = [ratio for ratio in settings["ratios"] if ratio != 0.3]
        rows = []
        for size, precision, batch in itertools.product(settings["sizes"], settings["precisions"], settings["batches"]):
            where = f"{size[0]}x{size[1]}", precision, batch
            cells = {
                (row["what"], row["pruned"]): row
                for row in measured
                if (row.get("size"), row.get("precision"), row.get("batch")) == where
            }
            compiled = _figure(cells.get(("compiled", 0.0), {}), "median_ms", ".2f", " ms")
            dense = _share(cells.get(("dense graphs", 0.0), {}))
            own = [_share(cells.get(("graphs", ratio), {})) for ratio in ratios]
            rows.append([f"{where[0]} {precision}, batch {batch}", compiled, dense, *own])
        header = ["input", "PyTorch compiled", "dense export", *(f"{ratio:.0%} pruned" for ratio in ratios)]
        tables.append(f"{_table(document, 'onnxruntime', header, rows, markdown)} {_agreement(measured)}")
    return "\n\n".join(tables) or NOT_RUN


def _agreement(rows: Sequence[dict]) -> str:
    """What the sessions' answers came to beside the CPU's."""
    cosines = {
        what: min(row["least_cosine"] for row in rows if row["what"] == what and "least_cosine" in row)
        for what in ("graphs", "bodies", "dense graphs")
    }
    return (
        f"Least cosine of a map with the CPU's, windows ranked otherwise included: {cosines['graphs']:.4f}, with the "
        f"portable bodies {cosines['bodies']:.4f}, where all windows are computed {cosines['dense graphs']:.6f}."
    )


def _share(row: dict) -> str:
    """Milliseconds, and the share of the compiled network's."""
    milliseconds = format(row["median_ms"], ".2f") + " ms" if "median_ms" in row else _MISSING
    return f"{milliseconds} ({row['ratio_to_compiled']:.2f})" if "ratio_to_compiled" in row else milliseconds


def _where(row: dict) -> str:
    if "frame" in row:
        return f"{row['frame']} to {row['size']}"
    if "where" in row:
        return ", ".join([row[name] for name in ("size", "where") if name in row])
    return f"{row['size']}, stage {row['stage']}"


def _figure(row: dict, name: str, spec: str, unit: str = "") -> str:
    if row.get("correct") is False:
        return "wrong result"
    return format(row[name], spec) + unit if name in row else _MISSING


def _table(document: dict, section: str, header: list[str], rows: list[list[str]], markdown: Markdown) -> str:
    device = document["device"]
    versions = ", ".join(f"{name} {version}" for name, version in device.get("versions", {}).items())
    where = f"{device.get('name', 'no GPU')}, driver {device.get('driver', 'unknown')}, {versions}"
    reasons = sorted({row["not_run"] for row in document[section] if "not_run" in row})
    notes = [f"{where}; medians of {document['settings']['rounds']} rounds in one run."]
    notes += [f"Not run: {reason}." for reason in reasons]
    return markdown(header, rows) + "\n\n" + " ".join(notes)
