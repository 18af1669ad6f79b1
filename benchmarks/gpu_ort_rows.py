"""ONNX Runtime on CUDA: with the custom ops, with the portable bodies, and a dense export without window nodes.

A time is a whole run of the session, which ends when the GPU is done: the image lies in the GPU's memory, and so does
the answer. TF32 is off, as the runtime has it. Before anything is timed, each session is held against the CPU.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from rich.console import Console

from gpu_kernel_rows import missing_gpu, reason_of
from gpu_latency_rows import BASELINE, Contender, export_network, keep_of, mac_ratio, maps_of, row_of, time_in_turn
from sparsevit_exporter import SparseViT
from sparsevit_runtime.backends import Backend, LoadOptions, open_backend
from sparsevit_runtime.backends.onnxruntime_session import SessionSettings, open_session
from sparsevit_runtime.contract import IMAGE, KEEP, feeds_of
from sparsevit_runtime.diagnostics import optimised_nodes
from sparsevit_runtime.diagnostics.optimised import FROM_HOST, TO_HOST
from sparsevit_runtime.errors import BackendError
from sparsevit_runtime.images.probe import probe_image

#: Session -> (which export, whether the portable bodies stay in).
SESSIONS = {"custom ops": ("sparse", False), "bodies": ("sparse", True), BASELINE: ("dense", True)}
#: Largest difference over a map's scale, and least cosine, by precision of the graph.
LIMITS = {"fp32": (1e-3, 0.9999), "fp16": (0.1, 0.999)}
#: Runs of one session with changing `keep`, each held against the CPU's answer to the same.
CHANGING_FRAMES = 1000


@dataclass
class SessionUnderTest:
    """A session on its way: opened, or the reason why not."""

    name: str
    session: Any = None
    backend: Backend | None = None
    not_run: str | None = None
    facts: dict = field(default_factory=dict)


def ort_rows(settings: Any, console: Console) -> Iterator[dict]:
    """One row per session, ratio, size, precision and batch; with `not_run` where it was not measured."""
    torch.manual_seed(0)
    network = SparseViT(settings.embed_dim, settings.depths, settings.num_heads).eval()
    for size, precision in itertools.product(settings.sizes, settings.precisions):
        with tempfile.TemporaryDirectory() as folder:
            sessions = [_opened(network, size, precision, name, settings, Path(folder), console) for name in SESSIONS]
            try:
                for batch in settings.batches:
                    console.print(f"timing ONNX Runtime {size[0]}x{size[1]} {precision}, batch {batch}")
                    contenders = _contenders(sessions, size, batch, settings)
                    time_in_turn(contenders, settings.rounds)
                    where = {"size": f"{size[0]}x{size[1]}", "precision": precision, "batch": batch}
                    for each in contenders:
                        yield row_of(each, contenders, where, mac_ratio(settings, size, each.pruned))
            finally:
                for session in sessions:
                    if session.backend is not None:
                        session.backend.close()


def _opened(
    network: SparseViT, size: tuple[int, int], precision: str, name: str, settings: Any, folder: Path, console: Console
) -> SessionUnderTest:
    """Exports, opens and checks."""
    kind, portable = SESSIONS[name]
    model, found = folder / f"{kind}.onnx", SessionUnderTest(name)
    try:
        if not model.exists():
            console.print(f"exporting {kind} {size[0]}x{size[1]} {precision}")
            export_network(network, size, precision, kind, model)
        device = None if settings.dry_run else "cuda"
        nodes = optimised_nodes(model, device=device, portable=portable)
        found.facts = {"nodes": nodes.total()}
        if device == "cuda":
            found.facts |= {"to_host": nodes[TO_HOST], "from_host": nodes[FROM_HOST]}
        reason = missing_gpu() or ("a dry run" if settings.dry_run else None)
        if reason is not None:
            found.not_run = reason
            return found
        found.backend = open_backend(model, options=LoadOptions(device="cuda", portable=portable))
        found.facts |= found.backend.details
        if name == "custom ops" and found.backend.ops.library is None:
            found.not_run = found.backend.ops.reason
            return found
        console.print(f"checking {name} {size[0]}x{size[1]} {precision}")
        frames = CHANGING_FRAMES if name == "custom ops" and precision == "fp32" and size == settings.sizes[0] else 0
        found.facts |= agreement_with_cpu(found.backend, model, precision, settings, frames)
        settled = SessionSettings(device="cuda", portable=portable)
        found.session = open_session(onnxruntime, model, settled).session
    except Exception as error:  # ONNX Runtime and the driver raise what they like; the other sessions go on
        found.not_run = reason_of(error)
    return found


def agreement_with_cpu(backend: Backend, model: Path, precision: str, settings: Any, frames: int) -> dict:
    """The feature maps against the CPU's at every ratio and batches 1 to 4, and of so many single frames with a `keep`
    that changes from one to the next: entries of its rows."""
    card = backend.card
    largest, cosine = 0.0, 1.0
    reference = open_backend(model, options=LoadOptions(device="cpu"))
    try:
        names = maps_of(backend)
        runs = [(batch, ratio, 1) for batch in (1, 2, 3, 4) for ratio in settings.ratios]
        runs += [(1, ratio, frames // 4) for ratio in (0.1, 0.35, 0.55, 0.7)] if frames else []
        if card.windows.fixed is not None:
            runs = [(batch, 0.0, 1) for batch in (1, 4)]
        wanted: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
        for batch, ratio, _ in runs:
            seeds = range(batch)
            images = np.stack([probe_image(card.input.height, card.input.width, seed) for seed in seeds])
            feeds = feeds_of(images, keep_of(card, ratio))
            wanted.append((feeds, reference.run(feeds, names)))
        turns = [i for i, (_, _, times) in enumerate(runs) for _ in range(times)]
        for i in np.random.default_rng(0).permutation(turns):
            feeds, answers = wanted[i]
            for name, found in backend.run(feeds, names).items():
                difference, similarity = _distance(found, answers[name])
                largest, cosine = max(largest, difference), min(cosine, similarity)
    finally:
        reference.close()
    most, least = LIMITS[precision]
    return {
        "correct": bool(largest <= most and cosine >= least),
        "runs_checked": len(turns),
        "largest_difference": largest if np.isfinite(largest) else None,
        "least_cosine": cosine,
    }


def _distance(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Largest difference over the scale, and the cosine; infinite and 0 where something is no number."""
    a, b = np.float64(found).ravel(), np.float64(wanted).ravel()
    if not np.isfinite(a).all():
        return float("inf"), 0.0
    scale = max(1e-6, float(np.abs(b).max()))
    return float(np.abs(a - b).max() / scale), float(a @ b / max(1e-12, np.linalg.norm(a) * np.linalg.norm(b)))


def _contenders(sessions: list[SessionUnderTest], size: tuple[int, int], batch: int, settings: Any) -> list[Contender]:
    contenders = []
    for each in sessions:
        for ratio in settings.ratios if each.name != BASELINE else (0.0,):
            contender = Contender(each.name, ratio, not_run=each.not_run, facts=each.facts)
            contenders.append(contender)
            if each.not_run is None and each.backend is not None:
                contender.milliseconds = _run(each, size, batch, ratio)
    return contenders


def _run(each: SessionUnderTest, size: tuple[int, int], batch: int, ratio: float) -> Callable[[], float]:
    """A run with everything in the GPU's memory but `keep`."""
    if each.backend is None:
        raise BackendError(f"{each.name} is not open")
    images = torch.from_numpy(np.stack([probe_image(*size, seed) for seed in range(batch)])).cuda()
    torch.cuda.synchronize()
    session, keep = each.session, keep_of(each.backend.card, ratio)
    binding = session.io_binding()
    binding.bind_input(IMAGE, "cuda", 0, np.uint8, tuple(images.shape), images.data_ptr())
    if keep is not None:
        binding.bind_cpu_input(KEEP, keep)
    for name in maps_of(each.backend)[-1:]:
        binding.bind_output(name, "cuda", 0)

    def milliseconds(held: Any = images) -> float:
        start = time.perf_counter()
        session.run_with_iobinding(binding)
        return (time.perf_counter() - start) * 1e3

    return milliseconds
