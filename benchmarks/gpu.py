"""The GPU from end to end: builds, checks and times the kernels and the engines, and writes one file.

    python benchmarks/gpu.py -o benchmarks/results/gpu-orin.json

Kernels are compiled for the GPU at hand and compared with NumPy and OpenCV, then timed against copies of as many bytes.
Swin-T backbones with random weights (time does not depend on them) are exported, built with the plugins and with the
portable bodies, compared with ONNX Runtime, and timed beside PyTorch, eager and compiled; and run by ONNX Runtime on
CUDA with and without the custom ops, compared with the CPU. What is compared is timed in turn, round by round, and the
ratios are pair by pair, so they hold where the milliseconds do not. A figure that could not be taken stands in the file
as `not_run`, with the reason. The file is written anew with every row, so that whatever ends the run costs only what
was not measured yet.

`--dry-run` goes through all of it on any machine, at a small size, up to the launch.

Not measured on a GPU yet, in the order of what it would tell:

- an engine of TensorRT (`--only latency`): every figure so far is of ONNX Runtime's CUDA provider; engines tuned for
  several levels (`sparsevit build --levels`) beside one tuned for 60%; a governor's changes of level.
- fp32 graphs, with TF32 and without (`--only onnxruntime --precisions fp32`).
- detectors in fp32 at 224x224 and segmenters and detectors in fp16 against the CPU (tests/gpu), where rows that compute
  other windows than the CPU are to be told from wrong ones (`runs_with_other_windows`).
- the kernels one by one under Nsight Compute: `--only kernels` times them, and says nothing of what holds them back.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from gpu_kernel_rows import kernel_rows, reason_of
from gpu_latency_rows import latency_rows
from gpu_ort_rows import ort_rows
from gpu_tables import LEFT_OUT
from sparsevit_runtime.custom_ops import VARIABLE as OPS
from sparsevit_runtime.custom_ops import find_ops
from sparsevit_runtime.diagnostics.machine import installed_versions, read_machine
from sparsevit_runtime.errors import BackendError, BuildError
from sparsevit_runtime.files import write_atomic
from sparsevit_runtime.tensorrt import find_plugins
from sparsevit_runtime.tensorrt.device import find_gpu
from sparsevit_runtime.tensorrt.plugin_library import VARIABLE

SECTIONS = ("kernels", "latency", "onnxruntime")


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        sizes: (height, width) of the input in pixels.
        batches: images in a run.
        precisions: of the graphs, and of PyTorch.
        ratios: windows pruned, alike in every block.
        pruned: ratio where one stands for all that prune.
        embed_dim, depths, num_heads: of the backbone.
        rounds: timed turns.
        exports: folder that exports are kept in, and taken from; None for none.
        dry_run: nothing is launched.
    """

    sizes: tuple[tuple[int, int], ...] = ((672, 672), (1024, 2048))
    batches: tuple[int, ...] = (1, 4)
    precisions: tuple[str, ...] = ("fp32", "fp16")
    ratios: tuple[float, ...] = (0.0, 0.3, 0.5, 0.6, 0.8)
    pruned: float = 0.6
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    rounds: int = 30
    exports: Path | None = None
    dry_run: bool = False


#: As many kinds of rows as the full run, in seconds instead of an hour.
DRY = Settings(
    sizes=((112, 140),),
    precisions=("fp32", "fp16"),
    embed_dim=16,
    depths=(1, 1, 2, 1),
    num_heads=(1, 1, 2, 2),
    dry_run=True,
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="everything but the launches, at a small size")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=SECTIONS)
    parser.add_argument("--sizes", nargs="+", metavar="HEIGHTxWIDTH")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--precisions", choices=Settings.precisions, nargs="+")
    parser.add_argument("--ratios", type=float, nargs="+", help="windows pruned; the first is 0")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--exports", type=Path, help="a folder to keep exported files in, and to take them from")
    parser.add_argument("--plugins", type=Path, help="the plugin library, where it is not in the package")
    parser.add_argument("--ops", type=Path, help="the library of custom ops, where it is not in the package")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    gpu = find_gpu()
    if gpu is None and not options.dry_run:
        console.print("no GPU on this machine; --dry-run goes through everything up to the launch")
        return 2
    settings = DRY if options.dry_run else Settings()
    given = {
        "sizes": options.sizes and tuple(tuple(map(int, size.split("x"))) for size in options.sizes),
        "batches": options.batches and tuple(options.batches),
        "precisions": options.precisions and tuple(options.precisions),
        "rounds": options.rounds,
        "exports": options.exports,
        "ratios": options.ratios and tuple(options.ratios),
    }
    settings = replace(settings, **{name: value for name, value in given.items() if value})
    if options.plugins is not None:
        try:
            use_plugins(options.plugins)
        except BuildError as error:
            console.print(str(error))
            return 2
    if options.ops is not None:
        try:
            os.environ[OPS] = str(find_ops(options.ops).path)
        except BackendError as error:
            console.print(str(error))
            return 2
    document = {
        "schema": 1,
        "what": "kernels against copies of as many bytes; engines and PyTorch, medians and ratios of one run",
        "settings": {name: value for name, value in asdict(settings).items() if name != "exports"},
        "device": device_facts() if gpu else {"not_run": "no GPU on this machine"},
        "machine": read_machine().model_dump(),
    }
    measure = {
        "kernels": lambda: kernel_rows(settings, console),
        "latency": lambda: latency_rows(settings, console),
        "onnxruntime": lambda: ort_rows(settings, console),
    }
    rows, failed = record(options.output, document, {name: measure[name] for name in SECTIONS if name in options.only})
    left = sum("not_run" in row for row in rows)
    wrong = [row for row in rows if row.get("correct") is False]
    console.print(f"wrote {options.output}: {len(rows) - left} rows measured, {left} not run, {len(wrong)} wrong")
    for what in failed:
        console.print(what)
    return 1 if wrong or failed else 0


def use_plugins(path: Path) -> None:
    """Makes this process, and those it starts, build and load engines with a plugin library.

    Raises:
        BuildError: it is none.
    """
    os.environ[VARIABLE] = str(find_plugins(path).path)


def record(
    output: Path, document: Mapping, sections: Mapping[str, Callable[[], Iterable[dict]]]
) -> tuple[list[dict], list[str]]:
    """Runs the sections and writes the file anew with each row, whole or not at all.

    Args:
        output: the file.
        document: what it says besides the rows.
        sections: by name, a function that yields the rows; of `SECTIONS`, those left out say so in the file.

    Returns:
        All rows, and what broke off a section: the rows it had yielded are kept, and the next section runs.
    """
    found: dict[str, list[dict]] = {
        name: [{"what": name, "not_run": "the run ended before" if name in sections else LEFT_OUT}] for name in SECTIONS
    }

    def write() -> None:
        write_atomic(output, (json.dumps({**document, **found}, indent=1) + "\n").encode())

    write()  # a folder that is missing is known before an hour of measuring
    failed = []
    for name, rows in sections.items():
        found[name] = []
        try:
            for row in rows():
                found[name].append(row)
                write()
        except Exception as error:  # whatever it is, it must not cost what other sections measure
            failed.append(f"{name} broke off: {reason_of(error)}")
            found[name].append({"what": name, "not_run": f"broke off: {reason_of(error)}"})
        write()
    return [row for name in SECTIONS for row in found[name]], failed


def device_facts() -> dict:
    """Name, capability, memory and versions of the GPU in use."""
    import torch

    gpu = find_gpu()
    facts = {"name": gpu.name, "compute_capability": gpu.compute_capability, "integrated": gpu.integrated}
    facts["versions"] = installed_versions(("torch", "tensorrt", "tensorrt-rtx-cu13", "cuda-python", "onnxruntime-gpu"))
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "multiprocessors": properties.multi_processor_count,
            "l2_mb": round(properties.L2_cache_size / 1e6, 1),
            "cuda": torch.version.cuda,
        }
    try:
        import pynvml

        pynvml.nvmlInit()
        facts["driver"] = pynvml.nvmlSystemGetDriverVersion()
    except Exception as error:  # a Jetson has no NVML; the driver's version is a courtesy
        facts["driver"] = f"unknown ({error})"
    return facts


if __name__ == "__main__":
    sys.exit(main())
