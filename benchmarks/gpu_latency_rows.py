"""Dense against pruned, plugins against portable bodies, engines against PyTorch: one network, timed in turn.

A time is what lies between two events on the stream, input and outputs in the device's memory: the engine as the
backend launches it, or PyTorch's forward pass.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from gpu_kernel_rows import elapsed_us, missing_gpu, reason_of
from sparsevit_exporter import ExportOptions, SparseViT, export
from sparsevit_runtime.backends import Backend, open_backend
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.diagnostics import compare
from sparsevit_runtime.errors import SparseViTError
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.model import Model
from sparsevit_runtime.tensorrt import BuildOptions, build_engine
from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.macs import backbone_macs
from sparsevit_runtime.windows.plan import Plan

#: Engine -> (which export, whether the portable bodies stay in).
ENGINES = {"plugins": ("sparse", False), "portable": ("sparse", True), "dense": ("dense", True)}
#: Everything is compared with it: a graph without window nodes, exported dense.
BASELINE = "dense"
_WARM_UP = 5


@dataclass
class Contender:
    """One thing to time at one size, precision and batch.

    Attributes:
        what: name of the engine, ``eager`` or ``compiled``.
        pruned: ratio of every block.
        milliseconds: runs once; None where it cannot run.
        not_run: why.
        facts: further entries of its row.
        samples: milliseconds by round.
    """

    what: str
    pruned: float
    milliseconds: Callable[[], float] | None = None
    not_run: str | None = None
    facts: dict = field(default_factory=dict)
    samples: list[float] = field(default_factory=list)


@dataclass
class EngineUnderTest:
    """An engine on its way: opened, or the reason why not."""

    name: str
    backend: Backend | None = None
    not_run: str | None = None
    facts: dict = field(default_factory=dict)


def latency_rows(settings: Any, console: Console) -> Iterator[dict]:
    """One row per contender, size, precision and batch; with `not_run` where it was not measured."""
    torch.manual_seed(0)
    network = SparseViT(settings.embed_dim, settings.depths, settings.num_heads).eval()
    for size, precision in itertools.product(settings.sizes, settings.precisions):
        with exports_folder(settings) as folder:
            for batch in settings.batches:
                yield from _rows_of(network, size, precision, batch, settings, folder, console)


@contextmanager
def exports_folder(settings: Any) -> Iterator[Path]:
    """Where exports go: the folder of the settings, or one for now."""
    if settings.exports is not None:
        settings.exports.mkdir(parents=True, exist_ok=True)
        yield settings.exports
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _rows_of(
    network: SparseViT,
    size: tuple[int, int],
    precision: str,
    batch: int,
    settings: Any,
    folder: Path,
    console: Console,
) -> list[dict]:
    """The rows of everything at one size, precision and batch."""
    torch.cuda.empty_cache()  # TensorRT cannot have what PyTorch keeps for later
    engines = _engines(network, size, precision, batch, settings, folder, console)
    try:
        console.print(f"timing {size[0]}x{size[1]} {precision}, batch {batch}")
        contenders = [
            *_engine_contenders(engines, size, batch, settings),
            *_torch_contenders(network, size, precision, batch, settings),
        ]
        time_in_turn(contenders, settings.rounds)
        where = {"size": f"{size[0]}x{size[1]}", "precision": precision, "batch": batch}
        return [row_of(c, contenders, where, mac_ratio(settings, size, c.pruned)) for c in contenders]
    finally:
        for engine in engines:
            if engine.backend is not None:
                engine.backend.close()
        torch.compiler.reset()  # the compiled networks would stay in the GPU's memory


def _engines(
    network: SparseViT,
    size: tuple[int, int],
    precision: str,
    batch: int,
    settings: Any,
    folder: Path,
    console: Console,
) -> list[EngineUnderTest]:
    """Exports, builds, opens and checks every engine of one size, precision and batch, which each is tuned for."""
    engines = []
    for name, (kind, portable) in ENGINES.items():
        title = f"{name} {size[0]}x{size[1]} {precision}"
        model = folder / f"{kind}-{size[0]}x{size[1]}-{precision}.onnx"
        path = folder / f"{name}-{size[0]}x{size[1]}-{precision}.engine"
        engine = EngineUnderTest(name)
        engines.append(engine)
        try:
            if not model.exists():
                console.print(f"exporting {title}")
                export_network(network, size, precision, kind, model)
            console.print(f"building {title}, batch {batch}")
            report = build_engine(model, path, BuildOptions(portable, (batch, batch, batch)))
            engine.facts = {"tensorrt": report.card.inputs.tensorrt, "engine_bytes": report.card.engine_bytes}
            if settings.dry_run:
                engine.not_run = "a dry run"
                continue
            engine.backend = open_backend(path)
            engine.facts |= engine.backend.details
            if not engine.backend.capabilities.measure:
                engine.not_run = f"the backend {engine.backend.name} does not measure its own times"
                continue
            console.print(f"checking {title}, batch {batch}")
            engine.facts |= agreement(engine.backend, model, batch, settings)
        except Exception as error:  # TensorRT and the driver raise what they like; the other engines go on
            engine.not_run = reason_of(error)
    return engines


def export_network(network: SparseViT, size: tuple[int, int], precision: str, kind: str, path: Path) -> None:
    fixed = Plan.dense(network.depths) if kind == "dense" else None
    report = export(network, path, ExportOptions(*size, name=f"benchmark-{kind}", precision=precision, fixed=fixed))
    if not report.holds:
        raise SparseViTError(f"the {kind} export of {size[0]}x{size[1]} does not match PyTorch: {report.worst}")


def keep_of(card: ModelCard, ratio: float) -> np.ndarray | None:
    if card.windows.fixed is not None:
        return None
    return Plan.uniform(ratio, card.windows.depths).keep(card.stages)


def maps_of(backend: Backend) -> list[str]:
    """The feature maps among the outputs."""
    return [name for name in backend.output_names if "windows" not in name]


def agreement(backend: Backend, model: Path, batch: int, settings: Any) -> dict:
    """The feature maps of an engine against ONNX Runtime on the same file, dense and pruned: entries of its rows."""
    ratios = settings.ratios[0], settings.pruned
    report = compare(Model(backend), model, ratios=ratios, batches=(batch, batch), outputs=maps_of(backend))
    worst = report.worst
    facts = {
        "correct": report.agrees,
        "worst_tensor": f"{worst.tensor} ({worst.run})",
        "largest_difference": worst.difference,
        "least_cosine": worst.cosine,
    }
    return facts if worst.problem is None else {**facts, "error": worst.problem}


def _engine_contenders(
    engines: list[EngineUnderTest], size: tuple[int, int], batch: int, settings: Any
) -> list[Contender]:
    images = np.stack([probe_image(*size, seed) for seed in range(batch)])
    contenders = []
    for engine in engines:
        for ratio in settings.ratios if engine.name != BASELINE else (0.0,):
            contender = Contender(engine.name, ratio, not_run=engine.not_run, facts=engine.facts)
            contenders.append(contender)
            if engine.not_run is None:
                keep, names = keep_of(engine.backend.card, ratio), maps_of(engine.backend)[-1:]

                def milliseconds(backend=engine.backend, keep=keep, names=names) -> float:
                    return backend.measure(feeds_of(images, keep), names).compute_ms

                contender.milliseconds = milliseconds
    return contenders


def _torch_contenders(
    network: SparseViT, size: tuple[int, int], precision: str, batch: int, settings: Any
) -> list[Contender]:
    ratios = (settings.ratios[0], settings.pruned)
    contenders = [Contender(what, ratio) for what in ("eager", "compiled") for ratio in ratios]
    reason = missing_gpu() or ("a dry run" if settings.dry_run else None)
    if reason is not None:
        for contender in contenders:
            contender.not_run = reason
        return contenders
    try:
        dtype = torch.float32 if precision == "fp32" else torch.float16
        placed = SparseViT(settings.embed_dim, settings.depths, settings.num_heads).eval()
        placed.load_state_dict(network.state_dict())
        placed = placed.to("cuda", dtype)
        images = torch.randn(batch, 3, *size, device="cuda", dtype=dtype)
        compiled = torch.compile(placed)
    except Exception as error:  # such as too little memory beside the engines
        for contender in contenders:
            contender.not_run = reason_of(error)
        return contenders
    for contender in contenders:
        module = placed if contender.what == "eager" else compiled
        plan = [[contender.pruned] * depth for depth in settings.depths]

        def milliseconds(module=module, plan=plan) -> float:
            with torch.inference_mode():
                return elapsed_us(lambda: module(images, plan), 1) / 1e3

        contender.milliseconds = milliseconds
    return contenders


def time_in_turn(contenders: list[Contender], rounds: int) -> None:
    """Fills in the samples. What fails, while it warms up or later, gets its reason instead, and the others go on."""
    for contender in contenders:
        for _ in range(_WARM_UP):
            _take(contender)
    random = np.random.default_rng(0)
    for contender in contenders:
        contender.samples.clear()
    for _ in range(rounds):
        for number in random.permutation(len(contenders)):
            _take(contenders[number])


def _take(contender: Contender) -> None:
    """One sample, while it can run."""
    if contender.milliseconds is None:
        return
    try:
        contender.samples.append(contender.milliseconds())
    except Exception as error:  # of a compiler or a driver: any of them must not cost the other figures
        contender.milliseconds, contender.not_run = None, reason_of(error)
        contender.samples.clear()  # ratios are taken round by round


def mac_ratio(settings: Any, size: tuple[int, int], ratio: float) -> float:
    """Multiply-accumulates left, the floor of the time."""
    stages = stage_geometries(*size, settings.depths, 7)
    pruned, dense = (backbone_macs(stages, settings.embed_dim, Plan.uniform(r, settings.depths)) for r in (ratio, 0.0))
    return pruned / dense


def row_of(contender: Contender, contenders: list[Contender], where: dict, mac_ratio: float) -> dict:
    row = {
        "what": contender.what,
        **where,
        "pruned": contender.pruned,
        "mac_ratio": round(mac_ratio, 3),
        **contender.facts,
    }
    if contender.not_run is not None:
        return {**row, "not_run": contender.not_run}
    samples = np.array(contender.samples)
    row |= {"median_ms": round(float(np.median(samples)), 3), "min_ms": round(float(samples.min()), 3)}
    for name in (BASELINE, "eager", "compiled"):
        other = next((c for c in contenders if c.what == name and c.pruned == 0.0), None)
        if other is not None and other.samples:
            row[f"ratio_to_{name}"] = round(float(np.median(samples / np.array(other.samples))), 3)
    return row
