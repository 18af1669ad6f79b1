"""ONNX Runtime on CUDA: with the custom ops, as CUDA graphs and not, with the portable bodies, and a dense export
without window nodes; beside them PyTorch, eager and compiled, as CUDA graphs.

A time is a whole run on the host's clock, which ends when the GPU is done: the image lies in the GPU's memory, and so
does the answer. TF32 is off, as the runtime has it. Before anything is timed, each session is held against the CPU.
"""

from __future__ import annotations

import copy
import itertools
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
from gpu_latency_rows import (
    BASELINE,
    Contender,
    export_network,
    exports_folder,
    keep_of,
    mac_ratio,
    maps_of,
    row_of,
    time_in_turn,
)
from sparsevit_exporter import SparseViT
from sparsevit_runtime.agreement import windows_apart
from sparsevit_runtime.backends import Backend, LoadOptions, open_backend
from sparsevit_runtime.backends.onnxruntime_session import SessionSettings, open_session
from sparsevit_runtime.contract import IMAGE, KEEP, feeds_of
from sparsevit_runtime.diagnostics import optimised_nodes
from sparsevit_runtime.diagnostics.comparing import kept_by_order
from sparsevit_runtime.diagnostics.optimised import FROM_HOST, TO_HOST
from sparsevit_runtime.errors import BackendError
from sparsevit_runtime.images.probe import probe_image

#: Session -> (which export, whether the portable bodies stay in, whether its runs are CUDA graphs).
SESSIONS = {
    "graphs": ("sparse", False, True),
    "custom ops": ("sparse", False, False),
    "bodies": ("sparse", True, False),
    "dense graphs": ("dense", False, True),
    BASELINE: ("dense", True, False),
}
#: Largest difference over a map's scale, and least cosine, by precision of the graph.
LIMITS = {"fp32": (1e-3, 0.9999), "fp16": (0.05, 0.999)}
#: Runs of one session with changing `keep`, each held against the CPU's answer to the same.
CHANGING_FRAMES = 1000
#: Pixels of a frame above which fewer runs are compared: the CPU takes seconds for each.
_LARGE = 10**6
#: Graphs of a session: more than it has kinds of runs.
_ROOM = 64


@dataclass
class SessionUnderTest:
    """A session on its way: opened, or the reason why not."""

    name: str
    session: Any = None
    backend: Backend | None = None
    graphs: bool = False
    not_run: str | None = None
    facts: dict = field(default_factory=dict)


def ort_rows(settings: Any, console: Console) -> Iterator[dict]:
    """One row per session, ratio, size, precision and batch; with `not_run` where it was not measured."""
    torch.manual_seed(0)
    network = SparseViT(settings.embed_dim, settings.depths, settings.num_heads).eval()
    for size, precision in itertools.product(settings.sizes, settings.precisions):
        with exports_folder(settings) as folder:
            answers: dict[str, list[tuple[dict, dict]]] = {}
            sessions = [
                _opened(network, size, precision, name, settings, folder, answers, console) for name in SESSIONS
            ]
            try:
                for batch in settings.batches:
                    console.print(f"timing ONNX Runtime {size[0]}x{size[1]} {precision}, batch {batch}")
                    contenders = _contenders(sessions, size, batch, settings)
                    contenders += graphed_contenders(network, size, precision, batch, settings)
                    time_in_turn(contenders, settings.rounds)
                    where = {"size": f"{size[0]}x{size[1]}", "precision": precision, "batch": batch}
                    for each in contenders:
                        yield row_of(each, contenders, where, mac_ratio(settings, size, each.pruned))
            finally:
                for session in sessions:
                    if session.backend is not None:
                        session.backend.close()


def _opened(
    network: SparseViT,
    size: tuple[int, int],
    precision: str,
    name: str,
    settings: Any,
    folder: Path,
    answers: dict[str, list[tuple[dict, dict]]],
    console: Console,
) -> SessionUnderTest:
    """Exports, opens and checks.

    Args:
        answers: feeds and the CPU's answers by kind of export, filled in.
    """
    kind, portable, graphs = SESSIONS[name]
    model, found = folder / f"{kind}-{size[0]}x{size[1]}-{precision}.onnx", SessionUnderTest(name)
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
        options = LoadOptions(device="cuda", portable=portable, graphs=_ROOM if graphs else 0)
        found.backend = open_backend(model, options=options)
        found.facts |= found.backend.details
        if not portable and found.backend.ops.library is None:
            found.not_run = found.backend.ops.reason
            return found
        console.print(f"checking {name} {size[0]}x{size[1]} {precision}")
        frames = CHANGING_FRAMES if name == "graphs" and precision == "fp32" and size == settings.sizes[0] else 0
        if kind not in answers:
            answers[kind] = cpu_answers(model, settings)
        found.facts |= agreement_with_cpu(found.backend, answers[kind], precision, frames)
        settled = SessionSettings(device="cuda", portable=portable, graphs=graphs)
        opened = open_session(onnxruntime, model, settled)
        found.session, found.graphs = opened.session, opened.graphs
        if graphs and not opened.graphs:
            found.not_run = "ONNX Runtime records no graphs of this file"
    except Exception as error:  # ONNX Runtime and the driver raise what they like; the other sessions go on
        found.not_run = reason_of(error)
    return found


def cpu_answers(model: Path, settings: Any) -> list[tuple[dict, dict]]:
    """Feeds, and the CPU's answers to them: at every ratio and batches 1 to 4, or of a large frame at the ends of both;
    with images of their own each."""
    reference = open_backend(model, options=LoadOptions(device="cpu"))
    try:
        card = reference.card
        large = card.input.height * card.input.width > _LARGE
        ratios = settings.ratios if card.windows.fixed is None else (0.0,)
        batches: tuple[int, ...] = (1, 2, 3, 4)
        if large:
            ratios, batches = tuple(dict.fromkeys((ratios[0], settings.pruned))), (1, 2)
        answers = []
        for batch, ratio in itertools.product(batches, ratios):
            seeds = range(10 * batch, 11 * batch)
            images = np.stack([probe_image(card.input.height, card.input.width, seed) for seed in seeds])
            feeds = feeds_of(images, keep_of(card, ratio))
            answers.append((feeds, reference.run(feeds, reference.output_names)))
        return answers
    finally:
        reference.close()


def agreement_with_cpu(backend: Backend, answers: list[tuple[dict, dict]], precision: str, frames: int) -> dict:
    """The feature maps against the CPU's, each three times (as it runs, recorded as a graph, and replayed), and of so
    many single frames with a `keep` that changes from one to the next: entries of its rows.

    Windows that score about the same may be ranked otherwise on another device, and what is computed differs with good
    reason. Such runs are counted, and the others decide; a run of all windows has none.
    """
    single = [i for i, (feeds, _) in enumerate(answers) if len(feeds[IMAGE]) == 1]
    turns = 3 * list(range(len(answers))) + single * (frames // len(single))
    distances: dict[bool, list[tuple[float, float]]] = {False: [(0.0, 1.0)], True: [(0.0, 1.0)]}
    runs_apart = 0
    for i in np.random.default_rng(0).permutation(turns):
        feeds, wanted = answers[i]
        found = backend.run(feeds, tuple(wanted))
        apart = windows_apart(found, wanted, kept_by_order(backend.card, feeds.get(KEEP))) > 0
        runs_apart += apart
        distances[apart] += [_distance(found[name], wanted[name]) for name in maps_of(backend)]
    largest, cosine = (choose(column) for choose, column in zip((max, min), zip(*distances[False])))
    most, least = LIMITS[precision]
    finite = all(np.isfinite(distance) for distance, _ in distances[True])
    return {
        "correct": bool(largest <= most and cosine >= least and finite),
        "runs_checked": len(turns),
        "runs_with_other_windows": int(runs_apart),
        "largest_difference": largest if np.isfinite(largest) else None,
        "least_cosine": cosine,
        "least_cosine_with_other_windows": min(cosine for _, cosine in distances[True]),
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
        for ratio in settings.ratios if SESSIONS[each.name][0] == "sparse" else (0.0,):
            contender = Contender(each.name, ratio, not_run=each.not_run, facts=each.facts)
            contenders.append(contender)
            if each.not_run is None and each.backend is not None:
                contender.milliseconds = _run(each, size, batch, ratio, len(contenders))
    return contenders


def _run(each: SessionUnderTest, size: tuple[int, int], batch: int, ratio: float, number: int) -> Callable[[], float]:
    """A run with everything in the GPU's memory but `keep`: the graph of that number, where the session has any."""
    if each.backend is None:
        raise BackendError(f"{each.name} is not open")
    session, keep = each.session, keep_of(each.backend.card, ratio)
    images = torch.from_numpy(np.stack([probe_image(*size, seed) for seed in range(batch)])).cuda()
    name = maps_of(each.backend)[-1]
    shape, kind = next((out.shape, out.type) for out in session.get_outputs() if out.name == name)
    answer = torch.empty((batch, *shape[1:]), dtype=torch.float16 if "16" in kind else torch.float32, device="cuda")
    torch.cuda.synchronize()
    binding = session.io_binding()
    binding.bind_input(IMAGE, "cuda", 0, np.uint8, tuple(images.shape), images.data_ptr())
    if keep is not None:
        binding.bind_cpu_input(KEEP, keep)
    element = np.float16 if "16" in kind else np.float32
    binding.bind_output(name, "cuda", 0, element, tuple(answer.shape), answer.data_ptr())
    options = onnxruntime.RunOptions()
    if each.graphs:
        options.add_run_config_entry("gpu_graph_id", str(batch * _ROOM + number))

    def milliseconds(held: Any = (images, answer)) -> float:
        start = time.perf_counter()
        session.run_with_iobinding(binding, options)
        return (time.perf_counter() - start) * 1e3

    return milliseconds


def graphed_contenders(
    network: SparseViT, size: tuple[int, int], precision: str, batch: int, settings: Any
) -> list[Contender]:
    """The dense network in PyTorch, eager and compiled: what a user would run instead."""
    contenders = [Contender("eager", 0.0), Contender("compiled", 0.0)]
    reason = missing_gpu() or ("a dry run" if settings.dry_run else None)
    for contender in contenders:
        contender.not_run = reason
        if reason is None:
            try:
                contender.milliseconds = _replayed(network, size, precision, batch, contender.what == "compiled")
            except Exception as error:  # of a compiler or a driver
                contender.not_run = reason_of(error)
    return contenders


def _replayed(
    network: SparseViT, size: tuple[int, int], precision: str, batch: int, is_compiled: bool
) -> Callable[[], float]:
    dtype = torch.float32 if precision == "fp32" else torch.float16
    placed = copy.deepcopy(network).to("cuda", dtype)
    images = torch.randn(batch, 3, *size, device="cuda", dtype=dtype)
    plan = [[0.0] * depth for depth in network.depths]
    torch.compiler.reset()  # another batch size would be compiled for any
    module = torch.compile(placed) if is_compiled else placed
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.inference_mode():
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                module(images, plan)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            answer = module(images, plan)

    def milliseconds(held: Any = (placed, images, answer)) -> float:
        start = time.perf_counter()
        graph.replay()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3

    return milliseconds
