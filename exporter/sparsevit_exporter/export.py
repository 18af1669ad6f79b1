"""One network in, one ONNX file out: traced, compared with PyTorch, described by its card, written whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from pydantic import ValidationError
from torch import nn

import sparsevit_runtime
from sparsevit_runtime.agreement import RECORDED, Precision
from sparsevit_runtime.card import (
    CARD_KEY,
    ArchitectureCard,
    CheckCard,
    ClassCard,
    FrontCard,
    InputCard,
    MetricCard,
    ModelCard,
    TrainingCard,
    WindowCard,
    first_problem,
)
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.files import write_atomic
from sparsevit_runtime.progress import SILENT, Progress
from sparsevit_runtime.sinks.paths import check_folder
from sparsevit_runtime.windows.geometry import StageGeometry
from sparsevit_runtime.windows.plan import Plan

from . import parity
from .deploy import DeployedModel
from .head_macs import count_front_macs, count_head_macs
from .options import ExportOptions
from .tasks import Task, task_of
from .trace import store_weights_in_half, trace, without_outputs

#: Sampled positions per output recorded in the card.
_RECORDED = 256


def export(
    network: nn.Module,
    path: str | Path,
    options: ExportOptions,
    classes: Sequence[ClassCard] = (),
    training: TrainingCard | None = None,
    metrics: Sequence[MetricCard] = (),
    progress: Progress = SILENT,
) -> parity.ParityReport:
    """Writes the ONNX file, if it computes what the network computes.

    Args:
        network: network of a known task (`tasks`), such as `SparseViT` or `SegmentationModel`; left untouched.
        path: the file; written whole or not at all.
        options: geometry, precision and plan.
        classes, training, metrics: entries of the card.
        progress: listener, told the steps.

    Returns:
        The parity report. Where it does not hold nothing is written.

    Raises:
        ExportError: the options do not fit the network, or it cannot be traced.
        PlanError: the fixed plan does not fit the network.
        SinkError: the file cannot be written.
    """
    task = task_of(network)
    network = copy.deepcopy(network).eval().float().cpu()
    backbone = task.backbone_of(network)
    stages = task.stages(network, options.height, options.width)
    fixed = None if options.fixed is None else Plan.parse(options.fixed, backbone.depths)
    options = replace(options, fixed=fixed, task=task.check_options(options.task))
    expected = task.class_count(network)
    if len(classes) != expected:
        raise ExportError(f"the head has {expected} classes, {len(classes)} are named; name each class once")
    try:
        card = _card(network, task, options, classes, training, metrics)
    except ValidationError as error:
        raise ExportError(f"the model card does not take this: {first_problem(error)}; change the options") from error
    check_folder(Path(path).absolute().parent)
    input_card = card.input
    progress.start("tracing")
    deployed = DeployedModel(network, task, options)
    proto = trace(deployed, stages)
    report = parity.compare(proto, network, task, input_card, stages, options.precision, fixed, progress)
    if options.half_weights and report.holds:
        store_weights_in_half(proto)
        rounded = parity.compare(proto, network, task, input_card, stages, "fp16", fixed, progress)
        report = parity.ParityReport(options.precision, report.rows + rounded.rows)
    if not report.holds:
        return report
    progress.start("recording")
    proto = without_outputs(proto, [o.name for o in proto.graph.output if o.name not in task.compared_only])
    checks = _record(proto, input_card, stages, fixed, options.precision)
    head_macs = count_head_macs(deployed.answers, stages, backbone.channels, deployed.dtype)
    front = None
    if backbone.front is not None:
        macs = count_front_macs(backbone.front, options.height, options.width)
        front = FrontCard(width=backbone.front.width, macs=macs)
    architecture = {**dict(card.architecture), "head_macs": head_macs, "front": front}
    card = ModelCard.model_validate({**dict(card), "checks": checks, "architecture": architecture})
    entry = proto.metadata_props.add()
    entry.key, entry.value = CARD_KEY, card.to_json()
    onnx.checker.check_model(proto)
    progress.start("writing")
    write_atomic(path, proto.SerializeToString())
    return report


def _card(
    network: nn.Module,
    task: Task[Any],
    options: ExportOptions,
    classes: Sequence[ClassCard],
    training: TrainingCard | None,
    metrics: Sequence[MetricCard],
) -> ModelCard:
    """The card, before anything is recorded."""
    backbone = task.backbone_of(network)
    fixed = options.fixed
    assert fixed is None or isinstance(fixed, Plan)
    remark = task.remark(network, task.check_options(options.task))
    return ModelCard(
        name=options.name,
        task=task.name,
        precision=options.precision,
        input=InputCard(
            height=options.height,
            width=options.width,
            layout=options.layout,
            resize=task.resize(task.check_options(options.task)),
            pad_multiple=task.pad_multiple,
            mean=_channels("mean", options.mean),
            std=_channels("std", options.std),
        ),
        windows=WindowCard(
            window_size=backbone.window_size,
            depths=backbone.depths,
            fixed=None if fixed is None else fixed.ratios,
        ),
        architecture=ArchitectureCard(
            embed_dim=backbone.embed_dim,
            num_heads=backbone.num_heads,
            parameters=sum(p.numel() for p in network.parameters()),
        ),
        classes=tuple(classes),
        objects=task.objects(network, task.check_options(options.task)),
        metrics=tuple(metrics),
        training=training,
        producer=f"sparsevit-edge {sparsevit_runtime.__version__}, torch {torch.__version__.split('+')[0]}"
        + (f", {remark}" if remark else ""),
    )


def _record(
    proto: onnx.ModelProto,
    input_card: InputCard,
    stages: Sequence[StageGeometry],
    fixed: Plan | None,
    precision: Precision,
) -> tuple[CheckCard, ...]:
    """Runs the file on a probe image and samples its outputs, for `sparsevit check`."""
    session = parity.open_session(proto)
    names = [o.name for o in session.get_outputs()]
    checks = []
    for seed, keep in enumerate([None] if fixed is not None else parity.record_keeps(stages)):
        feed = parity.feed_of(parity.probe_images(input_card, [seed]), input_card, keep)
        values = dict(zip(names, session.run(names, feed), strict=True))
        outputs = tuple(_record_output(name, value, seed, precision) for name, value in values.items())
        checks.append(CheckCard(seed=seed, keep=keep, outputs=outputs))
    return tuple(checks)


def _record_output(name: str, value: np.ndarray, seed: int, precision: Precision) -> CheckCard.Output:
    """Samples one output.

    Another processor rounds differently, which may move a label at a class border or swap two windows of nearly equal
    score; hence the share that must agree. The window orders are the most telling part: they depend on every activation
    of the stages before.
    """
    positions = np.sort(np.random.RandomState(seed).permutation(value.size)[:_RECORDED])
    exact = value.dtype.kind in "iu"
    limits = RECORDED[precision]
    return CheckCard.Output(
        name=name,
        shape=value.shape,
        positions=tuple(positions.tolist()),
        values=tuple(float(f"{v:.6g}") for v in value.flatten()[positions].tolist()),
        atol=0.0 if exact else limits.difference,
        rtol=0.0 if exact else limits.difference,
        min_agreement=limits.order if "windows" in name else limits.labels if exact else limits.within,
    )


def _channels(name: str, values: Sequence[float]) -> tuple[float, float, float]:
    """Red, green and blue."""
    if len(values) != 3:
        raise ExportError(f"{name} has {len(values)} numbers; give one each for red, green and blue")
    return (values[0], values[1], values[2])
