"""The GPU from end to end: builds, checks and times the kernels and the engines, and writes one file.

    python benchmarks/gpu.py -o benchmarks/results/gpu-orin.json

Kernels are compiled for the GPU at hand and compared with NumPy and OpenCV, then timed against copies of as many bytes.
Swin-T backbones with random weights (time does not depend on them) are exported, built with the plugins and with the
portable bodies, compared with ONNX Runtime, and timed beside PyTorch, eager and compiled. What is compared is timed in
turn, round by round, and the ratios are pair by pair, so they hold where the milliseconds do not. A figure that could
not be taken stands in the file as `not_run`, with the reason.

`--dry-run` goes through all of it on any machine, at a small size, up to the launch.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gpu_kernel_rows import kernel_rows
from gpu_latency_rows import latency_rows
from rich.console import Console

from sparsevit_apps.machine import installed_versions, read_machine
from sparsevit_runtime.files import write_whole
from sparsevit_runtime.tensorrt.device import find_gpu

SECTIONS = ("kernels", "latency")


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        sizes: (height, width) of the input in pixels.
        batches: images in a run.
        precisions: of the graphs, and of PyTorch.
        ratios: windows pruned, alike in every block.
        embed_dim, depths, num_heads: of the backbone.
        rounds: timed turns.
        dry_run: nothing is launched.
    """

    sizes: tuple[tuple[int, int], ...] = ((672, 672), (1024, 2048))
    batches: tuple[int, ...] = (1, 4)
    precisions: tuple[str, ...] = ("fp32", "fp16")
    ratios: tuple[float, ...] = (0.0, 0.3, 0.5, 0.6)
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    rounds: int = 30
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
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--plugins", type=Path, help="the plugin library, where it is not in the package")
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
    }
    settings = replace(settings, **{name: value for name, value in given.items() if value})
    measure = {
        "kernels": lambda: kernel_rows(settings, console),
        "latency": lambda: latency_rows(settings, options.plugins, console),
    }
    rows = {
        name: measure[name]() if name in options.only else [{"what": name, "not_run": "left out with --only"}]
        for name in SECTIONS
    }
    document = {
        "schema": 1,
        "what": "kernels against copies of as many bytes; engines and PyTorch, medians and ratios of one run",
        "settings": asdict(settings),
        "device": device_facts() if gpu else {"not_run": "no GPU on this machine"},
        "machine": read_machine().model_dump(),
        **rows,
    }
    write_whole(options.output, (json.dumps(document, indent=1) + "\n").encode())
    every = [row for section in rows.values() for row in section]
    left = sum("not_run" in row for row in every)
    wrong = [row for row in every if row.get("correct") is False]
    console.print(f"wrote {options.output}: {len(every) - left} rows measured, {left} not run, {len(wrong)} wrong")
    return 1 if wrong else 0


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
