"""`sparsevit build`: from a model file to a TensorRT engine."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options

if TYPE_CHECKING:
    from sparsevit_runtime.tensorrt import BuildReport

_TENSORRT = "TensorRT"


class Flavour(str, Enum):
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt_rtx"


def build(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An exported .onnx file, or a bundled model's name.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The engine to write, .engine; its card goes beside.")
    ],
    portable: Annotated[
        bool, typer.Option("--portable", help="Compile the nodes' portable bodies: needs no plugin library.")
    ] = False,
    batch: Annotated[
        str, typer.Option(metavar="MIN,OPT,MAX", help="Batch sizes, or one number: smallest, typical, largest.")
    ] = "1",
    levels: Annotated[
        str | None,
        typer.Option(
            metavar="SPARSITIES",
            help="Sparsities to tune for, numbers or plan files by commas; each takes as long as a build. Else 0.6.",
        ),
    ] = None,
    plugins: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plugin library; $SPARSEVIT_PLUGINS or the installed one unless given."),
    ] = None,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let fp32 products round their factors to TF32: faster, less exact.")
    ] = False,
    fp32: Annotated[
        bool,
        typer.Option("--fp32", help="Leave a bundled model in float32; those that can are built in half precision."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build even what is up to date.")] = False,
    workspace: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MiB",
            help="Scratch memory to plan with; half of the device's free memory unless given.",
            rich_help_panel=_TENSORRT,
        ),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Measured kernel times, kept from build to build; in ~/.cache/sparsevit unless given.",
            rich_help_panel=_TENSORRT,
        ),
    ] = None,
    flavour: Annotated[
        Flavour | None, typer.Option(help="The first that is installed unless given.", rich_help_panel=_TENSORRT)
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Compile a model into a TensorRT engine for this machine's GPU.

    What was built from the same model, plugins, TensorRT, GPU, precision and profile is up to date and left alone.
    """
    sizes = _parse_batch(batch)
    if output.suffix.lower() not in (".engine", ".plan", ".trt"):
        raise typer.BadParameter(f"{str(output)!r}: an engine is an .engine file", param_hint="--output")
    if portable and plugins is not None:
        raise typer.BadParameter("a portable engine has no plugins; leave one of both out", param_hint="--plugins")

    from sparsevit_runtime.bundled import bundled_models
    from sparsevit_runtime.half_twin import half_twin
    from sparsevit_runtime.model import find_model
    from sparsevit_runtime.sinks.paths import check_target
    from sparsevit_runtime.tensorrt import BuildOptions, build_engine
    from sparsevit_runtime.tensorrt.engine_card import sidecar_path

    from ..console import progress_bar, say, stdout

    if not sidecar_path(output).is_file():  # an engine of ours has one
        check_target(output, overwrite)
    wanted = BuildOptions(
        portable=portable,
        batch=sizes,
        levels=() if levels is None else tuple(options.split_plans(levels)),
        workspace_mib=workspace,
        timing_cache=timing_cache,
        plugins=plugins,
        tf32=tf32,
        flavour=None if flavour is None else flavour.value,
        force=force,
    )
    with progress_bar() as progress:
        progress.start("building")
        exported = find_model(model)
        source = exported if fp32 or tf32 else half_twin(exported)
        report = build_engine(source, output, wanted, progress)
    if not report.reasons:
        say(f"{output} is up to date: same model, plugins, TensorRT, GPU, precision and profile")
        return
    stdout().print(_table(report))
    say(f"wrote {output} and {output.name}.json; built because {'; '.join(report.reasons)}")
    if source != exported:
        say(f"{model} is built in half precision; --fp32 leaves it in float32")
    elif exported in bundled_models().values() and not (fp32 or tf32):
        say(f"{model} stays in float32, without tensor cores: its answers in half precision differ too much")
    elif report.card.inputs.precision == "fp32" and not (fp32 or tf32):
        say(f"it computes in float32, without tensor cores; `sparsevit half {model}` makes the model of half precision")


def _parse_batch(text: str) -> tuple[int, int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) in (1, 3) and all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        low, typical, high = (int(part) for part in (parts * 3 if len(parts) == 1 else parts))
        if 1 <= low <= typical <= high:
            return low, typical, high
    raise typer.BadParameter(f"{text!r}: give one size, or MIN,OPT,MAX ascending from 1", param_hint="--batch")


def _table(report: BuildReport) -> object:
    from ..console import facts, file_size

    card = report.card
    products = ", ".join(f"{count} {kind.lower()}" for kind, count in card.arithmetic.items()) or "none"
    read = {"engine": "read back from the engine", "network": "of the strongly typed network; not read back: no GPU"}
    rows = [
        ("engine", file_size(card.engine_bytes)),
        ("TensorRT", card.inputs.tensorrt),
        ("GPU", card.inputs.gpu),
        ("precision", f"{card.inputs.precision} ({read[card.precision_checked]})"),
        ("products", products),
        ("plugins", f"{card.plugin_layers} layers" + (f", {card.plugins_built_for}" if card.plugins_built_for else "")),
        ("workspace", f"{card.workspace_mib} MiB"),
    ]
    if card.in_place_scatters:
        rows.append(("scatters", f"{card.in_place_scatters} work in place"))
    rows += [
        (name, " | ".join(" ".join(map(str, bound)) for bound in (span.min, span.opt, span.max)))
        for name, span in card.inputs.profile.items()
    ]
    if card.inputs.levels:
        rows.append(("tuned for", " | ".join(" ".join(map(str, level)) for level in card.inputs.levels)))
    return facts(rows)
