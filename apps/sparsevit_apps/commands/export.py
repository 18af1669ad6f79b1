"""`sparsevit export`: from a checkpoint to one ONNX file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .. import options


def _known_task(name: str | None) -> str | None:
    if name is None:
        return None
    from sparsevit_runtime.tasks import known_tasks

    if name not in known_tasks():
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(known_tasks())}")
    return name


class Precision(str, Enum):
    fp32 = "fp32"
    fp16 = "fp16"


class Resize(str, Enum):
    stretch = "stretch"
    letterbox = "letterbox"


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help=".pth, .pt, .bin, .safetensors, a HuggingFace folder, an exported .onnx file, or a bundled name.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The model file to write, .onnx.")],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW", help="Input size in pixels; the checkpoint's own, when it records one, unless given."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            callback=_known_task,
            help="What to export; the checkpoint's task unless given. backbone leaves the head out.",
        ),
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Of weights and arithmetic.")] = Precision.fp32,
    plan: Annotated[str | None, typer.Option(help=f"With --fixed. {options.SPARSITY_HELP}")] = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Freeze --plan into the graph: static shapes, no keep input.")
    ] = False,
    half_weights: Annotated[
        bool, typer.Option("--half-weights", help="Store fp32 weights in half precision: half the file.")
    ] = False,
    label_stride: Annotated[
        int | None, typer.Option(help="Pixels per label, 1, 2 or 4 (segmentation); 2 unless given.")
    ] = None,
    post_processing: Annotated[
        str | None,
        typer.Option(
            metavar="WAY",
            help="From Mask2Former's masks to labels: detectron2 (masks resized to the input) unless given, or "
            "huggingface (to 384x384 first).",
        ),
    ] = None,
    detections: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Boxes returned per image (detection, instances); 100 unless given, 300 before NMS.",
        ),
    ] = None,
    nms_iou: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Overlap from which the runtime leaves out the poorer of two boxes of a class (detection); unless "
            "given 0.65 for heads that need NMS, none for others.",
        ),
    ] = None,
    proposals: Annotated[
        int | None,
        typer.Option(min=1, help="Regions looked at per image (instances); 1000 unless given."),
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Least score of an object (instances); 0.05 unless given."),
    ] = None,
    resize: Annotated[
        Resize | None,
        typer.Option(help="How frames come to the input's size (instances); stretch unless given."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the model, in its card; the file's name unless given.")] = None,
    format: Annotated[
        str,
        typer.Option(
            help="Of the checkpoint: native, reference, mmdet, timm, microsoft, huggingface, mask2former or exported; "
            "auto tells from it."
        ),
    ] = "auto",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every row of the parity report.")] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a checkpoint as one ONNX file that runs at every sparsity, once it computes what PyTorch computes.

    ONNX Runtime is compared with PyTorch at several plans. Where they differ the exit code is 1 and nothing is written.
    """
    if fixed != (plan is not None):
        raise typer.BadParameter(
            "--plan and --fixed go together: without them the file takes its sparsity as an input, at any value",
            param_hint="--fixed" if fixed else "--plan",
        )
    if output.suffix.lower() != ".onnx":
        raise typer.BadParameter(f"{str(output)!r}: the model file is an .onnx file", param_hint="--output")
    input_hw = None if size is None else options.parse_size(size)

    from ..console import file_size, progress_bar, say, stdout
    from ..exporting import ExportRequest, export_checkpoint, failure, parity_table

    own = {
        "label_stride": label_stride,
        "post_processing": post_processing,
        "detections": detections,
        "nms_iou": nms_iou,
        "proposals": proposals,
        "score_threshold": score_threshold,
        "resize": None if resize is None else resize.value,
    }
    request = ExportRequest(
        checkpoint=checkpoint,
        output=output,
        input_hw=input_hw,
        task=task,
        precision=precision.value,
        plan=plan,
        half_weights=half_weights,
        name=name or output.stem,
        format=format,
        overwrite=overwrite,
        task_options={key: value for key, value in own.items() if value is not None},
    )
    with progress_bar() as progress:
        report = export_checkpoint(request, progress)
    stdout().print(parity_table(report, every_row=verbose))
    if not report.holds:
        raise failure(report, output)
    say(f"wrote {output} ({file_size(output.stat().st_size)}); look at it with: sparsevit inspect {output}")
