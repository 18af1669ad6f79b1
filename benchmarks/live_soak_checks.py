"""What a soak has to show, from what was written down while it ran."""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: Limit on the 99th percentile of the frame age over its median, on a machine that does nothing else.
SPREAD = 1.3


class Check(NamedTuple):
    """Attributes: name, told: for people. holds: verdict."""

    name: str
    told: str
    holds: bool


@dataclass
class Record:
    """What was written down.

    Attributes:
        rss: (monotonic s, MiB) once a second.
        threads: (monotonic s, fault, count) before each fault, when nothing is wrong.
        ages: monotonic s, ms of every result, one after the other: from the arrival of the frame until its result was
            handed out. Sixteen bytes a result, for what is written down here counts as the process's memory, too.
        alone: ms of runs of the backend alone, at the cameras' rate: what of the frame age's spread is the machine's.
        faults: (name, start s, end s) with the time it takes until all is as before.
        effects: faults of each kind whose effect was seen.
        late: cameras that were not back before the next fault.
        sessions: counts of each session at its end.
        results: results handed out, by camera and session.
        lines: JSON lines written, by session.
        recorded: frames in the video of camera a, by session; None where they cannot be counted.
        undecodable: videos that do not open.
    """

    rss: list[tuple[float, float]] = field(default_factory=list)
    threads: list[tuple[float, str, int]] = field(default_factory=list)
    ages: array[float] = field(default_factory=lambda: array("d"))
    alone: Sequence[float] = ()
    faults: list[tuple[str, float, float]] = field(default_factory=list)
    effects: dict[str, int] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, int]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    recorded: list[int | None] = field(default_factory=list)
    undecodable: list[str] = field(default_factory=list)


def judge(record: Record, peers: dict[str, Any], warm_s: float, growth: float, spread: float = math.inf) -> list[Check]:
    """The verdicts.

    Args:
        record: what was written down.
        peers: what the cameras sent and the viewers saw.
        warm_s: monotonic clock at the end of the warm-up.
        growth: share by which memory may grow after it.
        spread: limit on the 99th percentile of the frame age over its median; infinite on a machine that is busy.
    """
    return [
        _memory(record, warm_s, growth),
        _threads(record),
        _ages(record, warm_s, spread),
        *_counters(record, peers),
        _files(record),
        _faults(record),
        _viewers(record, peers),
    ]


def look_at(folder: Path) -> dict[str, Any]:
    """What a session left in a folder: JSON lines, frames in all videos, videos that cannot be decoded."""
    counts = {path.name: count_frames(path) for path in sorted(folder.glob("run*.mp4"))}
    return {
        "lines": sum(check_lines(path) for path in folder.glob("run*.jsonl")),
        "frames": sum(count or 0 for count in counts.values()),
        "undecodable": [name for name, count in counts.items() if count is None],
    }


def count_frames(path: Path) -> int | None:
    """Frames in a video, every one decoded; None when it does not open."""
    import av

    try:
        with av.open(str(path)) as container:
            return sum(1 for _ in container.decode(video=0))
    except (OSError, av.error.FFmpegError):
        return None


def check_lines(path: Path) -> int:
    """JSON lines in a file, each whole and each camera's frames in order. Raises ValueError otherwise."""
    last: dict[str, int] = {}
    lines = path.read_text().splitlines()
    for line in lines:
        told = json.loads(line)
        if told["frame"] <= last.get(told["source"], -1):
            raise ValueError(f"frame {told['frame']} of {told['source']} came after {last[told['source']]}")
        last[told["source"]] = told["frame"]
    return len(lines)


def _memory(record: Record, warm_s: float, growth: float) -> Check:
    rss = np.array([mib for at, mib in record.rss if at >= warm_s])
    if len(rss) < 4:
        return Check("memory", "no samples after the warm-up", False)
    quarter = max(1, len(rss) // 4)
    first, last = float(np.median(rss[:quarter])), float(np.median(rss[-quarter:]))
    share = last / first - 1
    return Check("memory", f"{first:.1f} MiB after the warm-up, {last:.1f} at the end: {share:+.1%}", share <= growth)


def _threads(record: Record) -> Check:
    """As many at each point of the round of faults as in the round before: a failed outlet's thread is gone until the
    next session."""
    counts: dict[str, set[int]] = {}
    for _, fault, count in record.threads:
        counts.setdefault(fault, set()).add(count)
    told = ", ".join(f"{'/'.join(map(str, sorted(each)))} before {fault}" for fault, each in counts.items())
    twice = len(record.threads) > len(counts)
    return Check("threads", told, twice and all(len(each) == 1 for each in counts.values()))


def _ages(record: Record, warm_s: float, spread: float) -> Check:
    quiet = [
        ms
        for at, ms in zip(record.ages[::2], record.ages[1::2])
        if at >= warm_s and not any(start <= at <= end for _, start, end in record.faults)
    ]
    if not quiet:
        return Check("frame age", "no frames outside the faults", False)
    p50, p99 = (float(value) for value in np.percentile(quiet, (50, 99)))
    told = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms outside the faults: {p99 / p50:.2f}"
    if record.alone:
        alone = np.percentile(record.alone, (50, 99))
        told += f"; the backend alone before: {alone[1] / alone[0]:.2f}"
    return Check("frame age", told, p99 <= spread * p50)


def _counters(record: Record, peers: dict[str, Any]) -> list[Check]:
    totals = {key: 0 for key in ("captured", "processed", "dropped", "failed", "damaged", "reconnects")}
    captured = {"a": 0, "b": 0}
    for session in record.sessions:
        for name, counts in session.items():
            captured[name] += counts["captured"]
            for key in totals:
                totals[key] += counts[key]
    adds_up = totals["captured"] == totals["processed"] + totals["dropped"] + totals["failed"]
    # What was sent and not captured was on its way when a session ended or a line was cut.
    sent = all(captured[name] <= peers["sent"][name] for name in captured)
    told = ", ".join(f"{count} {key}" for key, count in totals.items())
    results = sum(sum(each.values()) for each in record.results)
    return [
        Check("counters", told + f"; sent {sum(peers['sent'].values())}", adds_up and sent and not totals["failed"]),
        Check("results", f"{results} handed out, {totals['processed']} processed, {sum(record.lines)} JSON lines",
              results == totals["processed"] == sum(record.lines)),
    ]  # fmt: skip


def _files(record: Record) -> Check:
    wanted = [each.get("a", 0) for each in record.results]
    told = f"{sum(each or 0 for each in record.recorded)} of {sum(wanted)} frames in the videos"
    told += f", {', '.join(record.undecodable)} cannot be decoded" if record.undecodable else ""
    return Check("videos", told, not record.undecodable and record.recorded == wanted)


def _viewers(record: Record, peers: dict[str, Any]) -> Check:
    deaf = sum(name == "deaf viewer" for name, _, _ in record.faults)
    told = f"{peers['seen']} pictures seen, {peers['cut']} of {deaf} who read nothing cut off"
    return Check("viewers", told, peers["seen"] > 0 and peers["cut"] == deaf)


def _faults(record: Record) -> Check:
    made: dict[str, int] = {}
    for name, _, _ in record.faults:
        made[name] = made.get(name, 0) + 1
    told = ", ".join(f"{name} {record.effects.get(name, 0)}/{count}" for name, count in made.items())
    told += f"; not back in time: {', '.join(record.late)}" if record.late else ""
    return Check("faults seen", told, not record.late and all(record.effects.get(k, 0) == n for k, n in made.items()))


def table(checks: Sequence[Check]) -> str:
    """The verdicts for people."""
    return "\n".join(f"{'holds' if check.holds else 'FAILS':6} {check.name:12} {check.told}" for check in checks)


if __name__ == "__main__":
    print(json.dumps(look_at(Path(sys.argv[1]))))
