"""Kills the workers and the driver of a batch job at random moments, and compares what comes of it with a job that
nobody disturbed: no row missing, none twice, no finished part run again.

    python benchmarks/batch_kills.py recordings/ --kills 160 --ray-kills 40 -o benchmarks/results/batch_kills.json

A job that ends before so many kills is followed by another in a new folder. `--kills` are of processes of this machine,
`--ray-kills` of the workers of a local Ray cluster and of the driver that started it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

#: What is left of a killed driver is gone after so long, seconds.
_NOTICED_S = 60.0
#: Share of the kills that wait for workers first, and how long they do, seconds.
_OF_WORKERS, _BEGUN_S = 0.8, 120.0
TIMES = ["capture_ms", "preprocess_ms", "inference_ms", "postprocess_ms"]


def rows(out: Path) -> list[dict]:
    import pyarrow.parquet as parquet

    found = parquet.read_table(out).drop_columns(TIMES).to_pylist()
    return sorted(found, key=lambda row: (row["source"], row["frame_index"]))


def parts(out: Path) -> dict[str, tuple[int, int]]:
    """Finished parts, each with its inode and the time at which it was written."""
    found = {}
    for path in out.glob("part-*.parquet"):
        with suppress(FileNotFoundError):
            about = path.stat()
            found[path.name] = about.st_ino, about.st_mtime_ns
    return found


def descendants(pid: int) -> list[int]:
    """Processes below another one."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def children(pid: int) -> list[int]:
    """Processes below another one that run segments."""
    found = []
    for child in descendants(pid):
        with suppress(OSError):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command or b"RayWorker" in command:
                found.append(child)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Job:
    """A job that is started again whenever it dies."""

    def __init__(self, arguments: list[str], out: Path) -> None:
        self._command = [sys.executable, "-m", "sparsevit", "batch", arguments[0], str(out), *arguments[1:]]
        self.out, self.starts = out, 0
        self.seen: dict[str, tuple[int, int]] = {}
        self.again: list[str] = []
        self.left: set[int] = set()
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.driver = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def look(self) -> None:
        """Notes finished parts that were written a second time."""
        now = parts(self.out)
        self.again += [name for name, about in now.items() if self.seen.get(name, about) != about]
        self.again += [name for name in self.seen if name not in now]
        self.seen = now

    def kill(self, chance: random.Random, share_of_driver: float) -> str:
        workers = children(self.driver.pid)
        if workers and chance.random() >= share_of_driver:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                return "worker"
            return ""
        if self.driver.poll() is None:
            self.left.update(descendants(self.driver.pid))
            self.driver.kill()
            self.driver.wait()
            return "driver"
        return ""

    def orphans(self) -> int:
        """Processes that are still there though their driver was killed; they have some seconds to notice."""
        until = time.monotonic() + _NOTICED_S
        while (left := sum(map(is_alive, self.left))) and time.monotonic() < until:
            time.sleep(0.2)
        return left


def disturbed(
    arguments: list[str], place: Path, wanted: list[dict], kills: int, given: argparse.Namespace, chance: random.Random
) -> dict:
    """Jobs that are killed so often in all, and what came of each."""
    killed = {"worker": 0, "driver": 0}
    jobs: list[dict] = []
    while sum(killed.values()) < kills:
        job = Job(arguments, place / f"killed{len(jobs)}")
        failures = 0
        while True:
            # Mostly once there are workers: on a busy machine all kills would else hit drivers that begin.
            begun = time.monotonic()
            patience = _BEGUN_S if chance.random() < _OF_WORKERS else 0.0
            while time.monotonic() < begun + patience and job.driver.poll() is None and not children(job.driver.pid):
                time.sleep(0.2)
            waited = time.monotonic() + chance.uniform(*given.interval_s)
            while time.monotonic() < waited and job.driver.poll() is None:
                job.look()
                time.sleep(0.05)
            code = job.driver.poll()
            if code == 0:
                break
            if code is not None and code > 0:  # parts that were given up for a time are tried again
                failures += 1
                told = job.driver.stderr.read()
                if code != 1 or "same command" not in told:
                    sys.exit(f"the job ended with {code}: {told}")
            elif sum(killed.values()) < kills and (what := job.kill(chance, given.driver_share)):
                killed[what] += 1
            if job.driver.poll() is not None:
                job.start()
        job.look()
        found = rows(job.out)
        keys = [(row["source"], row["frame_index"]) for row in found]
        jobs.append(
            {
                "rows": len(found),
                "missing": len({(row["source"], row["frame_index"]) for row in wanted} - set(keys)),
                "twice": len(keys) - len(set(keys)),
                "equal": found == wanted,
                "starts": job.starts,
                "parts": len(job.seen),
                "parts_written_again": len(job.again),
                "runs_with_parts_given_up": failures,
                "processes_left": job.orphans(),
            }
        )
        print(json.dumps({"killed": killed, **jobs[-1]}), flush=True)
    return {"kills": sum(killed.values()), **killed, "jobs": jobs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("--model", default="street-scenes")
    parser.add_argument("--sparsity", default="0.7")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--ray-kills", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--segment-frames", type=int, default=20)
    parser.add_argument("--interval-s", type=float, nargs=2, default=(0.5, 8.0), help="Shortest and longest wait.")
    parser.add_argument("--driver-share", type=float, default=0.3, help="Share of the kills that hit the driver.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    arguments = [given.input, "-m", given.model, "-s", given.sparsity, "--segment-frames", str(given.segment_frames)]
    arguments += ["--workers", str(given.workers), "--threads", "1"]
    with tempfile.TemporaryDirectory() as folder:
        plain = Job(arguments, Path(folder, "plain"))
        if plain.driver.wait() != 0:
            sys.exit(f"the job fails undisturbed: {plain.driver.stderr.read()}")
        wanted = rows(plain.out)
        report: dict = {"kills": given.kills + given.ray_kills, "rows_wanted": len(wanted)}
        for engine, kills in (("processes", given.kills), ("ray", given.ray_kills)):
            if kills:
                place = Path(folder, engine)
                report[engine] = disturbed([*arguments, "--engine", engine], place, wanted, kills, given, chance)
    print(json.dumps(report, indent=2))
    if given.output is not None:
        given.output.write_text(json.dumps(report, indent=2) + "\n")
    jobs = [job for engine in ("processes", "ray") if engine in report for job in report[engine]["jobs"]]
    whole = all(job["equal"] and not job["parts_written_again"] and not job["processes_left"] for job in jobs)
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
