"""A folder of many images, some of them broken, through `sparsevit batch`: does the report name those that are, and
does memory stay as it is?

    python benchmarks/batch_folder.py --images 10000 --broken 50 -o benchmarks/results/batch_folder.json
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from batch_kills import children, rows

#: Shares of the run that are left out of the comparison: workers start, and allocators find their size.
_SETTLED = 0.25


def write_folder(folder: Path, images: int, broken: int, chance: random.Random) -> set[str]:
    """Small pictures of noise in subfolders. Returns the names of those that are broken, in one of five ways."""
    noise = np.random.default_rng(0)
    data = [
        cv2.imencode(".jpg", cv2.resize(noise.integers(0, 255, (12, 16, 3), np.uint8), (320, 240)))[1].tobytes()
        for _ in range(32)
    ]
    chosen = set(chance.sample(range(images), broken))
    ways = [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: b"<html>not found</html>",
        lambda whole: bytes(len(whole)),
        lambda whole: whole[:-2],
    ]
    bad = set()
    for i in range(images):
        path = folder / f"{i // 1000:03d}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = data[i % len(data)]
        path.write_bytes(ways[len(bad) % len(ways)](whole) if i in chosen else whole)
        if i in chosen:
            bad.add(str(path))
    return bad


def resident_mb(pid: int) -> float:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--broken", type=int, default=50)
    parser.add_argument("--model", default="street-scenes")
    parser.add_argument("--sparsity", default="0.7")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place, "in"), Path(place, "out")
        bad = write_folder(folder, given.images, given.broken, random.Random(given.seed))
        command = [sys.executable, "-m", "sparsevit", "batch", str(folder), str(out), "-m", given.model]
        command += ["-s", given.sparsity, "--workers", str(given.workers), "--threads", "1"]
        start = time.monotonic()
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        samples: list[tuple[float, float, float]] = []
        while driver.poll() is None:
            workers = [resident_mb(pid) for pid in children(driver.pid)]
            samples.append((time.monotonic() - start, resident_mb(driver.pid), max(workers, default=0.0)))
            time.sleep(0.5)
        seconds = time.monotonic() - start
        told = json.loads((out / "_report.json").read_text())
        settled = [each for each in samples if seconds * _SETTLED <= each[0]][:-2]
        middle = len(settled) // 2
        peak = {
            who: [round(max(each[i] for each in part), 1) for part in (settled[:middle], settled[middle:])]
            for i, who in ((1, "driver"), (2, "worker"))
        }
        report = {
            "model": Path(given.model).stem,
            "images": given.images,
            "broken": given.broken,
            "exit_code": driver.returncode,
            "rows": len(rows(out)),
            "named": len(told["broken"]),
            "named_are_the_broken": {each["source"] for each in told["broken"]} == bad,
            "seconds": round(seconds, 1),
            "peak_mb_of_first_and_second_half": peak,
        }
    print(json.dumps(report, indent=2))
    if given.output is not None:
        given.output.write_text(json.dumps(report, indent=2) + "\n")
    grown = max(second / first for first, second in peak.values())
    whole = report["rows"] == given.images - given.broken and report["named_are_the_broken"]
    sys.exit(0 if whole and driver.returncode == 0 and grown < 1.1 else 1)


if __name__ == "__main__":
    main()
