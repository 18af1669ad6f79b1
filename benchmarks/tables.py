"""Rewrites the tables of README and docs from the measured files, so that no figure is typed by hand.

    make figures            rewrite
    python benchmarks/tables.py --check     exit 1 where a page does not say what the files say

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from gpu_tables import gpu_kernels, gpu_latency, gpu_onnxruntime
from heads_tables import NOT_MEASURED, high_resolution, mask2former, mask_rcnn
from sparsevit_runtime import load

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
#: Pages with tables.
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("checkpoints", "kernels", "onnxruntime-cuda", "search")),
    ROOT / "training" / "README.md",
)


def read(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def markdown(header: list[str], rows: list[list[str]]) -> str:
    align = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, align, *rows])


def machine(document: dict) -> str:
    info = document["machine"]
    runtime = info["versions"].get("onnxruntime", "?")
    return f"{info['cpu']}, {info['usable_cores']:g} cores, onnxruntime {runtime}, {info['distribution']}"


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def accuracy() -> str:
    """The bundled model: accuracy from its card, time from its profile."""
    with load("street-scenes") as model:
        metrics = [m for m in model.card.metrics if m.name == "mIoU" and m.dataset.lower() == "camvid test"]
    profile = read("profile_street_scenes")
    times = {("0" if e["sparsity"] == "dense" else e["sparsity"]): e for e in profile["entries"]}
    rows = []
    for metric in sorted(metrics, key=lambda m: m.ratio):
        entry = times[f"{metric.ratio:g}"]
        stats = entry["stages"]["inference"]
        rows.append(
            [
                percent(metric.ratio) if metric.ratio else "0 (dense)",
                f"{metric.value:.1f}",
                f"{entry['mac_ratio']:.2f}",
                f"{entry['time_ratio']:.2f}",
                f"{stats['p50']:.0f} ms",
                f"{stats['p95']:.0f} ms",
            ]
        )
    header = ["windows pruned", "mIoU, CamVid test", "MACs left", "time, of dense", "p50", "p95"]
    return markdown(header, rows) + f"\n\n{machine(profile)}; {profile['settings']['iterations']} rounds in one run."


def backbone() -> str:
    """Swin-T in ONNX Runtime."""
    document = read("backbone_onnx")
    rows = [
        [
            row["graph"] if row["pruned"] is None else f"sparsevit, {percent(row['pruned'])} pruned",
            f"{row['mac_ratio']:.2f}",
            f"{row['ratio_to_torch']:.2f}",
            f"{row['ratio_to_plain']:.2f}",
            f"{row['median_ms']:.0f} ms",
        ]
        for row in document["rows"]
    ]
    note = f"{machine(document)}; {document['threads']} threads, {document['rounds']} rounds in one run."
    return (
        markdown(["graph", "MACs left", "time, of torch's export", "time, of folded dense", "median"], rows)
        + f"\n\n{note}"
    )


def pipeline() -> str:
    """`sparsevit run` against the bare session."""
    document = read("pipeline")
    names = {"null": "null:// (nothing drawn)", "mp4": "annotated mp4"}
    rows = [
        [
            names[row["sink"]],
            percent(row["sparsity"]),
            f"{row['bare_fps']:.1f}",
            f"{row['fps']:.1f}",
            f"{100 * row['loss']:.1f}%",
        ]
        for row in document["rows"]
    ]
    width, height = document["frame_wh"]
    note = f"{document['clip']}, {width}x{height}; {machine(document)}; median of {document['pairs']} pairs in one run."
    return (
        markdown(["sink", "pruned", "bare session, frames/s", "sparsevit run, frames/s", "loss"], rows) + f"\n\n{note}"
    )


def adaptation() -> str:
    """An adapted model against one trained the same way without plans, both pruned alike."""
    adapted, control = (
        {row["ratio"]: 100 * row["miou"] for row in read(name)} for name in ("eval_adapted", "eval_dense_control")
    )
    rows = [
        [percent(ratio), *(f"{v[ratio]:.1f} ({v[ratio] - v[0.0]:+.1f})" for v in (adapted, control))]
        for ratio in sorted(adapted.keys() & control.keys())
    ]
    return markdown(["windows pruned", "adapted", "control, trained dense"], rows)


def detection(name: str) -> str:
    """What `sparsevit eval` reported for the bundled detector and its peers, on one data set."""
    rows = []
    for row in read(name):
        pruned = "-" if row["plan"] == "own" else percent(row["ratio"])
        figures = [f"{100 * row[key]:.1f}" for key in ("ap", "ap50")]
        rows.append([row["model"], pruned, *figures])
    return markdown(["model", "windows pruned", "AP", "AP50"], rows)


def detectors() -> str:
    """What the bundled detector costs beside others, as `benchmarks/detectors.py` measured."""
    document = read("detectors")
    rows = [
        [
            row["model"],
            "-" if row["pruned"] is None else percent(row["pruned"]),
            f"{row['macs'] / 1e6:.0f} M",
            f"{row['ratio']:.2f}",
        ]
        for row in document["rows"]
    ]
    first = next(row["model"] for row in document["rows"] if row["pruned"] is None)
    threads = "as many threads as cores" if document["threads"] is None else f"{document['threads']} thread"
    note = f"{machine(document)}; {threads}, {document['rounds']} rounds in one run."
    return markdown(["model", "windows pruned", "MACs", f"time, of {first}"], rows) + f"\n\n{note}"


def watched() -> str:
    """The bundled detector on clips and folders, as `benchmarks/watched_objects.py` measured."""
    document = read("watched_road_users")
    by_clip: dict[str, dict[float, dict]] = {}
    for row in document["rows"]:
        by_clip.setdefault(row["clip"], {})[row["sparsity"]] = row
    rows = []
    for clip, found in by_clip.items():
        dense, pruned = found[0.0], found[0.6]
        if not dense["objects"]:
            continue
        figures = [f"{100 * part[key]:.0f}" for part in (dense, pruned) for key in ("ap50", "recall")]
        computed = ", ".join(f"{100 * c['objects']:.0f} / {100 * c['frame']:.0f}" for c in pruned["computed"])
        rows.append([clip, str(dense["objects"]), *figures, f"{100 * pruned['agreement']:.0f}", computed])
    header = ["clip", "objects", "AP50", "recall", "AP50, 60%", "recall, 60%", "agreement", "computed, objects / frame"]
    note = f"{document['teacher']} at {document['teacher_score']:g}; recall at the card's threshold"
    return markdown(header, rows) + f"\n\n{note}, {document['threshold']:.2f}."


def watched_street() -> str:
    """The bundled segmenter, and the one bundled before it, off CamVid, as `benchmarks/watched.py` measured."""
    documents = [read("watched_street_scenes"), read("watched_street_scenes_before")]
    clips = [{(row["clip"], row["sparsity"]): row for row in document["clips"]} for document in documents]
    shown = (("agreement", 0.6), ("flicker", 0.0), ("flicker", 0.6))
    rows = [
        [clip, *(f"{found[clip, pruned][key]:.1f}" for key, pruned in shown for found in clips)]
        for clip in dict.fromkeys(clip for clip, _ in clips[0])
    ]
    header = ["clip", "agreement", "before", "flicker, dense", "before", "flicker, 60%", "before"]
    coarse = [{row["sparsity"]: row for row in document["coarse"]} for document in documents]
    now, then = (f"{c[0.0]['coarse mIoU']:.1f}, at 60% {c[0.6]['coarse mIoU']:.1f}" for c in coarse)
    images = coarse[0][0.0]["images"]
    return markdown(header, rows) + f"\n\nCoarse mIoU of {images} watched images of IDD-Lite: {now}; before: {then}."


def search() -> str:
    """What `sparsevit search` reported for a segmenter without a front."""
    rows = []
    for row in read("search_segmenter")["rows"]:
        # Blocks come in pairs of one ratio.
        plan = " / ".join(",".join(f"{ratio:g}" for ratio in stage[::2]) for stage in row["plan"])
        accuracies = [f"{100 * row[split]:.2f}" for split in ("validation", "test")]
        rows.append([row["name"], plan, *accuracies, f"{row['ratio']:.2f}"])
    return markdown(["found by", "ratios of the pairs, by stage", "mIoU, val", "mIoU, test", "time, of dense"], rows)


def heads(name: str, table: Callable[[dict, Callable[..., str]], str]) -> str:
    """What `benchmarks/heads.py` measured, if it has."""
    if not (RESULTS / f"{name}.json").exists():
        return NOT_MEASURED
    document = read(name)
    threads = f"{document['threads']} thread{'s' if document['threads'] > 1 else ''}"
    note = f"{machine(document)}; {threads}, {document['rounds']} rounds in one run."
    return f"{table(document, markdown)}\n\n{note}"


def gpu_documents() -> list[dict]:
    """Every machine's file of `benchmarks/gpu.py`."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("gpu-*.json"))]


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "backbone": backbone,
    "pipeline": pipeline,
    "adaptation": adaptation,
    "search": search,
    "detection": lambda: detection("eval_road_users"),
    "detection_street": lambda: detection("eval_road_users_street"),
    "detectors": detectors,
    "watched": watched,
    "watched_street": watched_street,
    "mask_rcnn": lambda: heads("heads_mask_rcnn", mask_rcnn),
    "mask2former": lambda: heads("heads_mask2former", mask2former),
    "high_resolution": lambda: heads("heads_high_resolution", high_resolution),
    "gpu_kernels": lambda: gpu_kernels(gpu_documents(), markdown),
    "gpu_latency": lambda: gpu_latency(gpu_documents(), markdown),
    "gpu_onnxruntime": lambda: gpu_onnxruntime(gpu_documents(), markdown),
}


def rewrite(text: str) -> str:
    """The document with every table made anew."""

    def table(match: re.Match) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    arguments = parser.parse_args()
    stale = [page for page in PAGES if rewrite(page.read_text()) != page.read_text()]
    if arguments.check:
        return int(bool(stale))
    for page in stale:
        page.write_text(rewrite(page.read_text()))
    print("rewrote the tables of " + ", ".join(page.name for page in stale) if stale else "the tables are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
