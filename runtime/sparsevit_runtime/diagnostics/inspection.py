"""The inspection document. Printed by `sparsevit inspect --json`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from ..card import ModelCard
from ..contract import KEEP
from ..custom_ops import OpsInUse, find_ops
from ..errors import BackendError, ModelError, PlanError
from ..graph.nodes import read_nodes
from ..graph.onnx_file import DOMAIN
from ..model import Model
from ..tasks import task_of
from ..tensorrt.engine_card import read_sidecar
from ..tensorrt.profile import Range
from ..windows.geometry import PATCH_SIZE
from ..windows.macs import card_macs
from ..windows.plan import Plan
from .measurement import ReportPart

INSPECT_SCHEMA: Literal[1] = 1
#: Uniform sparsities whose multiply-accumulates are told.
_RATIOS = (0.0, 0.3, 0.5, 0.6, 0.7)


class StageInfo(ReportPart):
    """One stage.

    Attributes:
        tokens_hw: token map before padding.
        windows_hw: rows and columns of windows on the padded map.
        windows: their number.
        blocks: number in the stage; every second one has shifted windows.
        pairs: entries of `keep` that belong to the stage.
        shift: tokens by which odd blocks are shifted.
        pixels: input pixels along a side of a window.
        channels: channels of the map.
    """

    tokens_hw: tuple[int, int]
    windows_hw: tuple[int, int]
    windows: int
    blocks: int
    pairs: int
    shift: int
    pixels: int
    channels: int


class PlanCost(ReportPart):
    """Backbone multiply-accumulates of one image under a plan.

    Attributes:
        sparsity: uniform ratio; None for the plan of a fixed export.
        keep: windows computed per block pair; None where a fixed plan's pairs hold two counts.
        macs: multiply-accumulates.
        share: share of the dense model's.
    """

    sparsity: float | None
    keep: tuple[int, ...] | None
    macs: int
    share: float


class EngineInfo(ReportPart):
    """What the side-car of an engine says.

    Attributes:
        tensorrt: flavour and version it was built with.
        gpu: name and compute capability it was built for; ``none`` when built where there was no GPU.
        plugin_layers: layers that are plugins.
        profile: smallest and largest shape by input, of ``keep`` its values, and the one that kernels were chosen for.
        source_sha256: digest of the model file it was built from.
    """

    tensorrt: str
    gpu: str
    plugin_layers: int
    profile: dict[str, str]
    source_sha256: str


class NodeInfo(ReportPart):
    """Nodes of a model file that have kernels of this project's beside their portable bodies.

    Attributes:
        counts: number of nodes by type.
        custom_ops: what ONNX Runtime runs on CUDA by custom ops, with the library that is found here, or why nothing.
    """

    counts: dict[str, int]
    custom_ops: str


class InspectReport(ReportPart):
    """Schema-versioned inspection; `engine` is None for a model file, `nodes` for an engine."""

    schema_version: Literal[1] = INSPECT_SCHEMA
    file: str
    file_bytes: int
    outputs: tuple[str, ...]
    stages: tuple[StageInfo, ...]
    costs: tuple[PlanCost, ...]
    card: ModelCard
    engine: EngineInfo | None = None
    nodes: NodeInfo | None = None


def inspect(model: Model, path: Path) -> InspectReport:
    """Describes a loaded model.

    Args:
        model: loaded.
        path: path of its file.
    """
    return _describe(model.card, model.backend.output_names, path, None, _nodes(path))


def _nodes(path: Path) -> NodeInfo:
    counts = Counter(node.kind for node in read_nodes(path.read_bytes()) if node.domain == DOMAIN)
    try:
        ops = OpsInUse.of(find_ops(), tuple(sorted(counts)))
    except BackendError as error:
        ops = OpsInUse(others=tuple(sorted(counts)), reason=str(error))
    return NodeInfo(counts=dict(sorted(counts.items())), custom_ops=str(ops))


def inspect_engine(path: Path) -> InspectReport:
    """Describes an engine by its side-car alone: nothing of it is loaded, so that neither TensorRT nor a GPU is needed.

    Raises:
        ModelError: there is no such file.
        CardError: its side-car is missing or wrong.
    """
    if not path.is_file():
        raise ModelError(f"no engine {path}; check the path, or make one with `sparsevit build`")
    card = read_sidecar(path)
    engine = EngineInfo(
        tensorrt=card.inputs.tensorrt,
        gpu=card.inputs.gpu,
        plugin_layers=card.plugin_layers,
        profile={
            name: _range(shapes, card.inputs.levels if name == KEEP else ())
            for name, shapes in card.inputs.profile.items()
        },
        source_sha256=card.inputs.onnx_sha256,
    )
    outputs = tuple(spec.name for spec in task_of(card.model).contract.outputs)
    return _describe(card.model, outputs, path, engine)


def _range(of: Range, levels: tuple[tuple[int, ...], ...] = ()) -> str:
    least, most, *best = ("x".join(map(str, values)) for values in (of.min, of.max, *(levels or (of.opt,))))
    return f"{least} to {most}, chosen for {' and '.join(best)}"


def _describe(
    card: ModelCard,
    outputs: tuple[str, ...],
    path: Path,
    engine: EngineInfo | None,
    nodes: NodeInfo | None = None,
) -> InspectReport:
    stages = tuple(
        StageInfo(
            tokens_hw=(stage.height, stage.width),
            windows_hw=stage.windows_hw,
            windows=stage.windows,
            blocks=stage.depth,
            pairs=stage.pairs,
            shift=stage.shift,
            pixels=stage.window_size * (PATCH_SIZE << i),
            channels=card.architecture.embed_dim << i,
        )
        for i, stage in enumerate(card.stages)
    )
    return InspectReport(
        file=str(path),
        file_bytes=path.stat().st_size,
        outputs=outputs,
        stages=stages,
        costs=_costs(card),
        card=card,
        engine=engine,
        nodes=nodes,
    )


def _costs(card: ModelCard) -> tuple[PlanCost, ...]:
    dense = card_macs(card, 0)
    plans: list[tuple[float | None, Plan]]
    if card.windows.fixed is None:
        plans = [(ratio, Plan.uniform(ratio, card.windows.depths)) for ratio in _RATIOS]
    else:
        plans = [(None, Plan(card.windows.fixed))]
    costs = []
    for ratio, plan in plans:
        macs = card_macs(card, plan)
        try:
            keep = tuple(plan.keep(card.stages).tolist())
        except PlanError:  # legal in a fixed export: the blocks of a pair keep different counts
            keep = None
        costs.append(PlanCost(sparsity=ratio, keep=keep, macs=macs, share=round(macs / dense, 4)))
    return tuple(costs)
