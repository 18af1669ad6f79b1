"""The kernels of the plugins: right against NumPy and OpenCV, and as fast as copying as many bytes?

A copy on the device is the yardstick: it moves the bytes that the kernel has to move, and does nothing else. Both are
recorded in CUDA graphs over several sets of buffers, together four times the second-level cache, so that neither
launches nor cached data count.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from gpu_block_rows import block_works
from gpu_box_rows import box_works
from gpu_end_rows import end_works
from gpu_kernels import DeviceBuffer, compile_kernels, missing_compiler, missing_gpu
from gpu_norm_rows import norm_works
from gpu_work import Work
from letterbox_kernel import LetterboxCase, bind_letterbox, check_letterbox
from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.plan import kept_windows
from window_kernels import Case, Kernels, check, random_inputs

#: Stages whose maps are the largest, and the deepest.
STAGES = (0, 2)
#: Cameras' sizes.
FRAMES_WH = ((1280, 720), (1920, 1080), (3840, 2160))
KERNELS = ("score", "gather", "scatter", "scatter_in_place")
_MOST_SETS = 64
_DRY_ARCHITECTURE = "sm_80"


def kernel_rows(settings: Any, console: Console) -> Iterator[dict]:
    """One row per kernel, size, type, batch and share of windows; with `not_run` where it was not measured."""
    reason = missing_compiler()
    with tempfile.TemporaryDirectory() as folder:
        kernels = None
        if reason is None:
            console.print("compiling the kernels")
            try:
                architecture = "native" if missing_gpu() is None else _DRY_ARCHITECTURE
                kernels = Kernels(compile_kernels(Path(folder) / "libsparsevit_kernels.so", architecture))
            except subprocess.CalledProcessError as error:
                reason = f"the kernels do not compile: nvcc ended with {error.returncode}"
        reason = reason or missing_gpu() or ("a dry run" if settings.dry_run else None)
        works = [
            *_window_works(settings, kernels),
            *block_works(settings, kernels, STAGES),
            *norm_works(settings, kernels),
            *end_works(settings, kernels),
            *box_works(settings, kernels),
            *_letterbox_works(settings, kernels),
        ]
        if reason is not None:
            yield from ({**work.row, "bytes": work.nbytes, "not_run": reason} for work in works)
        else:
            yield from (measure(work, settings.rounds) for work in track(works, "kernels", console=console))


def moved_bytes(kernel: str, case: Case) -> int:
    """Bytes that a kernel of `KERNELS` cannot avoid reading and writing.

    Padding is written by the gather and read by nobody; the windows listed are taken to have an average share of it.
    """
    token = case.channels * (4 if case.element == "float32" else 2)
    area = case.height * case.width
    if kernel == "score":
        return case.batch * (area * token + case.windows * 4)
    real = case.batch * case.keep * area // case.windows
    listed = case.batch * case.keep * np.dtype(case.index).itemsize
    if kernel == "gather":
        return (real + case.batch * case.keep * case.tokens) * token + listed
    copied = case.batch * area if kernel == "scatter" and case.keep != case.windows else 0
    return 2 * (real + copied) * token + listed


def _window_works(settings: Any, kernels: Kernels | None) -> list[Work]:
    works = []
    for height, width in settings.sizes:
        stages = stage_geometries(height, width, settings.depths, 7)
        for number in STAGES:
            stage = stages[number]
            for precision in settings.precisions:
                element = {"fp32": "float32", "fp16": "float16"}[precision]
                for batch in settings.batches:
                    dense = Case(batch, stage.height, stage.width, settings.embed_dim << number, 7, 3, 0, element)
                    where = {"size": f"{height}x{width}", "stage": number, "precision": precision, "batch": batch}
                    works.append(_window_work("score", dense, {**where, "pruned": None}, kernels))
                    for ratio in (settings.ratios[0], settings.pruned):
                        case = replace(dense, keep=max(1, kept_windows(stage.windows, ratio)))
                        for kernel in KERNELS[1:]:
                            if not (kernel == "scatter_in_place" and case.keep == case.windows):
                                works.append(_window_work(kernel, case, {**where, "pruned": ratio}, kernels))
    return works


def _window_work(kernel: str, case: Case, where: dict, kernels: Kernels | None) -> Work:
    name, in_place = kernel.removesuffix("_in_place"), kernel.endswith("in_place")

    def one_set(inputs: dict[str, np.ndarray]) -> Callable[[int], int]:
        buffers = {key: DeviceBuffer(array.reshape(-1).view(np.uint8)) for key, array in inputs.items()}
        output = {"score": case.batch * case.windows * 4, "gather": inputs["windows"].nbytes}
        nbytes = output.get(name, inputs["x"].nbytes)
        buffers["output"] = buffers["x"] if in_place else DeviceBuffer(np.zeros(nbytes, np.uint8))

        def launch(stream: int, buffers=buffers) -> int:
            addresses = {key: buffer.address for key, buffer in buffers.items()}
            return kernels.launch(name, case.call(**addresses, stream=stream))

        return launch

    def prepare(sets: int) -> list[Callable[[int], int]]:
        inputs = random_inputs(case, 0)  # gone when this returns: those of all works together are gigabytes
        return [one_set(inputs) for _ in range(sets)]

    return Work(
        {"kernel": kernel, **where, "shape": asdict(case) | {"index": np.dtype(case.index).name}},
        moved_bytes(kernel, case),
        lambda: check(kernels, DeviceBuffer, name, case, 0, in_place),
        prepare,
    )


def _letterbox_works(settings: Any, kernels: Kernels | None) -> list[Work]:
    letterbox = None if kernels is None else bind_letterbox(kernels.library)

    def work(frame_wh: tuple[int, int], input_hw: tuple[int, int]) -> Work:
        case = LetterboxCase(frame_wh, input_hw)

        def one_set() -> Callable[[int], int]:
            frame = DeviceBuffer(np.zeros(3 * frame_wh[0] * frame_wh[1], np.uint8))
            target = DeviceBuffer(np.zeros(3 * input_hw[0] * input_hw[1], np.uint8))

            def launch(stream: int, buffers=(frame, target)) -> int:
                return letterbox(case.call(*(buffer.address for buffer in buffers)), stream)

            return launch

        where = {"size": f"{input_hw[0]}x{input_hw[1]}", "frame": f"{frame_wh[0]}x{frame_wh[1]}"}
        return Work(
            {"kernel": "letterbox", **where},
            3 * (frame_wh[0] * frame_wh[1] + input_hw[0] * input_hw[1]),
            lambda: check_letterbox(letterbox, DeviceBuffer, case, 0),
            lambda sets: [one_set() for _ in range(sets)],
        )

    return [work(frame_wh, input_hw) for input_hw in settings.sizes for frame_wh in FRAMES_WH]


def measure(work: Work, rounds: int) -> dict:
    """The row of one thing: what it took, that it is wrong, or why it was not run."""
    import torch

    torch.cuda.empty_cache()  # of what was measured before; does nothing without a GPU
    row = {**work.row, "bytes": work.nbytes}
    try:
        work.check()
        row["correct"] = True
        kernel_us, copy_us = _time_beside_copy(work, rounds)
    except AssertionError as error:
        return {**row, "correct": False, "error": str(error).strip()[:400]}
    except Exception as error:  # such as too little memory, here or on the GPU: it must not cost the other rows
        return {**row, "not_run": reason_of(error)}
    if "macs" in row:
        row["tmac_per_s"] = round(row["macs"] / float(np.median(kernel_us)) / 1e6, 3)
    return {
        **row,
        "microseconds": round(float(np.median(kernel_us)), 2),
        "gb_per_s": round(work.nbytes / float(np.median(kernel_us)) / 1e3, 1),
        "copy_gb_per_s": round(work.nbytes / float(np.median(copy_us)) / 1e3, 1),
        "share_of_copy": round(float(np.median(np.array(copy_us) / np.array(kernel_us))), 3),
    }


def _time_beside_copy(work: Work, rounds: int) -> tuple[list[float], list[float]]:
    """Microseconds per launch of the kernel, and of a copy that reads and writes as many bytes, in turn."""
    import torch

    cache = torch.cuda.get_device_properties(0).L2_cache_size
    sets = int(np.clip(-(-4 * cache // work.nbytes), 2, _MOST_SETS))
    launches = work.prepare(sets)
    half = max(1, work.nbytes // 2)
    pairs = [[torch.empty(half, dtype=torch.uint8, device="cuda") for _ in range(2)] for _ in range(sets)]

    def run_kernels() -> None:
        stream = torch.cuda.current_stream().cuda_stream
        errors = {launch(stream) for launch in launches}
        if errors != {0}:
            raise RuntimeError(f"CUDA errors {sorted(errors)}")

    def run_copies() -> None:
        for target, source in pairs:
            target.copy_(source, non_blocking=True)

    graphs = [_recorded(run_kernels), _recorded(run_copies)]
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 3):  # the first rounds warm up
        for graph, kept in zip(graphs, times):
            elapsed = elapsed_us(graph.replay, 5) / sets
            if number >= 3:
                kept.append(elapsed)
    return times


def _recorded(work: Callable[[], None]) -> Any:
    import torch

    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def reason_of(error: BaseException) -> str:
    """Kind and first line of an error."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def elapsed_us(work: Callable[[], None], times: int) -> float:
    """Between two events on the stream, per turn."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e3 / times
