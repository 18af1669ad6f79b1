"""Kills a camera and starts it again some time later, under a running session, and says what came of it.

    python benchmarks/outage.py ts --seconds 30
    python benchmarks/outage.py rtsp --seconds 300

Prints one JSON document; `holds` is the verdict, and the exit status 1 where it does not. The camera is a process:
MPEG-TS over tcp (needs PyAV), JPEGs over http of which one in fifteen is cut short, or Debian's RTSP server.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from camera_server import FPS
from sparsevit_runtime import Outlet, Reconnect, Result, Session, load, open_sink
from sparsevit_runtime.live.states import SourceState
from time_code import SIZE_WH, age_ms, draw_code, read_code

HERE = Path(__file__).parent
PERIOD_MS = 1000 / FPS
#: Frames are fresh again so soon after the first one that came back, seconds.
SETTLED_S = 2.0
PORT = 18554
URIS = {"ts": f"tcp://127.0.0.1:{PORT}", "mjpeg": f"http://127.0.0.1:{PORT}", "rtsp": f"rtsp://127.0.0.1:{PORT}/live"}


def write_clip(path: Path, frames: int) -> None:
    """H.264 whose frames say their numbers."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        stream.options = {"g": str(FPS), "bf": "0", "preset": "ultrafast"}
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw_code(i), "bgr24")))
        container.mux(stream.encode(None))


def start(kind: str, folder: Path) -> subprocess.Popen[bytes]:
    if kind == "rtsp":
        command = ["/usr/bin/python3", str(HERE / "rtsp_server.py"), str(PORT), str(folder / "clip.mp4")]
    else:
        command = [sys.executable, str(HERE / "camera_server.py"), kind, str(PORT)]
        command += ["--cut-one-in", "15"] if kind == "mjpeg" else []
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def ages_ms(kind: str, frames: list[tuple[int, int, int]]) -> np.ndarray:
    """How old frames were when they came; of a file served at its pace, how much older than its promptest."""
    if kind != "rtsp":
        return np.array([age_ms(code, ns) for _, code, ns in frames])
    lags = np.array([ns / 1e6 - PERIOD_MS * code for _, code, ns in frames])
    return lags - lags.min(initial=np.inf)


def run(kind: str, seconds: float, around_s: float, folder: Path) -> dict[str, object]:
    """The outage, and what was seen: `around_s` seconds of frames before and after it."""
    frames: list[tuple[int, int, int]] = []
    states: list[tuple[float, str]] = []
    began = time.monotonic()

    def take(result: Result, picture: object) -> None:
        frames.append((result.frame_index, read_code(result.image), result.timestamp_ns))

    lines = folder / "frames.jsonl"
    server = start(kind, folder)
    with load("street-scenes") as model, open_sink(lines) as sink:
        session = Session(
            model.runner, {"camera": URIS[kind]}, [Outlet(take), Outlet(sink)], level=0.8, reconnect=Reconnect()
        )
        session.listen(lambda name, at: states.append((time.monotonic() - began, at.state.value)) if name else None)
        with session:
            while len(frames) < FPS:
                time.sleep(0.05)
            time.sleep(around_s)
            server.kill()
            server.wait()
            killed_s = time.monotonic() - began
            time.sleep(seconds)
            lost, before = session.sources["camera"].state is not SourceState.LIVE, len(frames)
            server, restarted = start(kind, folder), time.monotonic()
            while len(frames) == before and time.monotonic() < restarted + 60:
                time.sleep(0.02)
            back_s = time.monotonic() - restarted
            time.sleep(SETTLED_S + around_s)
            session.stop()
            session.wait(30)
            counts = session.metrics.sources["camera"]
    server.kill()
    server.wait()
    after = [frame for frame in frames if frame[2] > frames[before][2]] if len(frames) > before else []
    settled = np.array([ns > after[0][2] + SETTLED_S * 1e9 for _, _, ns in after], bool)
    late = ages_ms(kind, after)[settled]
    invented = sum(b <= a for a, b in pairwise([code for _, code, _ in frames[:before]]))
    invented += sum(b <= a for a, b in pairwise([code for _, code, _ in after]))
    adds_up = counts.captured == counts.processed + counts.dropped + counts.failed + counts.in_flight
    recorded = len(lines.read_text().splitlines())
    return {
        "camera": kind,
        "away_s": seconds,
        "back_after_s": round(back_s, 2),
        "reconnects": counts.reconnects,
        "age_p50_ms": round(float(np.median(late)), 1) if late.size else None,
        "age_p95_ms": round(float(np.percentile(late, 95)), 1) if late.size else None,
        "captured": counts.captured,
        "processed": counts.processed,
        "dropped": counts.dropped,
        "failed": counts.failed,
        "damaged": counts.damaged,
        "recorded": recorded,
        "frames_out_of_order_or_twice": int(invented),
        "killed_at_s": round(killed_s, 1),
        "states": [(round(at, 1), state) for at, state in states[:40]],
        "holds": bool(
            lost and counts.reconnects == 1 and adds_up and not invented and counts.failed == 0 and late.size
            and np.median(late) < 4 * PERIOD_MS and recorded > before
        ),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camera", choices=sorted(URIS))
    parser.add_argument("--seconds", type=float, default=30.0, help="time for which the camera is away")
    parser.add_argument("--around", type=float, default=5.0, help="seconds of frames before and after")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.camera == "rtsp":
            write_clip(folder / "clip.mp4", round(FPS * (2 * given.around + 60)))
        told = run(given.camera, given.seconds, given.around, folder)
    print(json.dumps(told, indent=1))
    sys.exit(0 if told["holds"] else 1)


if __name__ == "__main__":
    main()
