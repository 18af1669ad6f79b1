"""An inspection as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sparsevit_runtime import ModelCard
from sparsevit_runtime.diagnostics.inspection import InspectReport
from sparsevit_runtime.texts import printable

from ..console import facts, file_size


def inspect_view(report: InspectReport) -> Iterator[RenderableType]:
    """What to print, top to bottom."""
    card = report.card
    yield facts(_header(report))
    yield Text()
    yield _stage_table(report)
    yield Text()
    yield _cost_table(report)
    if card.classes:
        yield Text()
        yield _classes(card)
    if card.metrics:
        yield Text()
        yield _metric_table(card)
    if card.training is not None:
        yield Text()
        rows = [("data", card.training.data), ("licence", card.training.licence), ("recipe", card.training.recipe)]
        yield facts([(name, value) for name, value in rows if value], title="Training")
    yield Text()
    yield Text(_checks(card), style="dim")


def bundled_view(bundled: Mapping[str, Path]) -> RenderableType:
    """The models that come with the package."""
    if not bundled:
        return Text("No models are bundled with this installation; name a file: sparsevit inspect model.onnx")
    rows = [(name, f"{file_size(path.stat().st_size)}, {path}") for name, path in bundled.items()]
    return facts(rows, title="Bundled models")


def _header(report: InspectReport) -> list[tuple[str, str]]:
    card = report.card
    size = f"{card.input.width} wide, {card.input.height} high"
    if card.input.layout == "camera":
        layout = f"{size}, image (batch, {card.input.height}, {card.input.width}, 3) uint8 BGR"
    else:
        layout = f"{size}, image (batch, 3, {card.input.height}, {card.input.width}) float32 RGB, normalised"
    if card.input.resize == "stretch":
        layout += ", frames stretched"
    pairs = sum(stage.pairs for stage in report.stages)
    plan = f"keep, {pairs} counts, one per block pair" if card.windows.fixed is None else "frozen into the graph"
    heads = ", ".join(map(str, card.architecture.num_heads))
    network = (
        f"{card.architecture.parameters / 1e6:.2f} M parameters, embedding {card.architecture.embed_dim}, heads {heads}"
    )
    engine = report.engine
    built = (
        []
        if engine is None
        else [
            ("built with", engine.tensorrt),
            ("built for", "any GPU of the architectures it allows" if engine.gpu == "none" else engine.gpu),
            ("plugins", f"{engine.plugin_layers} layers" if engine.plugin_layers else "none, portable bodies"),
            *((f"{name} takes", shapes) for name, shapes in engine.profile.items()),
        ]
    )
    nodes = []
    if report.nodes is not None and report.nodes.counts:
        counts = ", ".join(f"{count} {kind}" for kind, count in report.nodes.counts.items())
        nodes = [("nodes", counts), ("custom ops", report.nodes.custom_ops)]
    return [
        ("model", card.name),
        ("file", f"{report.file} ({file_size(report.file_bytes)})"),
        ("task", card.task),
        ("input", layout),
        ("plan", plan),
        ("outputs", ", ".join(name for name in report.outputs if "windows" not in name)),
        ("precision", card.precision),
        ("network", network),
        ("made by", card.producer or "not recorded"),
        *nodes,
        *built,
    ]


def _stage_table(report: InspectReport) -> Table:
    fixed = report.card.windows.fixed
    table = Table(title="Windows", title_justify="left")
    for column in ("stage", "tokens", "windows", "of px", "channels", "blocks", "pairs", "shift"):
        table.add_column(column, justify="right")
    if fixed is not None:
        table.add_column("pruned per block")
    for i, stage in enumerate(report.stages):
        rows, columns = stage.windows_hw
        row = [
            str(i),
            f"{stage.tokens_hw[1]}x{stage.tokens_hw[0]}",
            f"{columns}x{rows} = {stage.windows}",
            str(stage.pixels),
            str(stage.channels),
            str(stage.blocks),
            str(stage.pairs),
            str(stage.shift),
        ]
        table.add_row(*row, *([] if fixed is None else [" ".join(f"{r:.0%}" for r in fixed[i])]))
    return table


def _cost_table(report: InspectReport) -> Table:
    table = Table(title="Backbone multiply-accumulates per image", title_justify="left")
    for column in ("pruned", "GMACs", "of dense"):
        table.add_column(column, justify="right")
    table.add_column("keep")
    for cost in report.costs:
        label = {None: "fixed plan", 0.0: "dense"}.get(cost.sparsity) or f"{cost.sparsity:.0%}"
        keep = "" if cost.keep is None else " ".join(map(str, cost.keep))
        table.add_row(label, f"{cost.macs / 1e9:.3f}", f"{cost.share:.1%}", keep)
    return table


def _classes(card: ModelCard) -> RenderableType:
    """Numbers and names, each behind a square of its colour."""
    entries = []
    for i, entry in enumerate(card.classes):
        text = Text()
        if entry.color is not None:
            text.append("\u25a0 ", style=f"rgb({','.join(map(str, entry.color))})")
        entries.append(text.append(printable(f"{i} {entry.name}")))
    return Group(Text(f"Classes ({len(card.classes)})", style="bold"), Columns(entries, padding=(0, 3)))


def _metric_table(card: ModelCard) -> Table:
    """Metrics in rows, sparsities in columns."""
    ratios = sorted({m.ratio for m in card.metrics})
    table = Table(title="Measured quality, by share of windows pruned", title_justify="left")
    table.add_column("metric")
    table.add_column("on")
    for ratio in ratios:
        table.add_column(f"{ratio:.0%}" if ratio else "dense", justify="right")
    for name, dataset in dict.fromkeys((m.name, m.dataset) for m in card.metrics):
        values = {m.ratio: f"{m.value:.4g}{m.unit}" for m in card.metrics if (m.name, m.dataset) == (name, dataset)}
        table.add_row(name, dataset, *(values.get(ratio, "") for ratio in ratios))
    return table


def _checks(card: ModelCard) -> str:
    if not card.checks:
        return (
            "No outputs are recorded in the card; `sparsevit check` compares with the model file that it was made of."
        )
    count = len(card.checks)
    runs = f"{count} probe run{'s' * (count > 1)}"
    return f"Outputs of {runs} are recorded; compare this machine with: sparsevit check MODEL"
