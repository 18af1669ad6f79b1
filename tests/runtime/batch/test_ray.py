"""On a local Ray cluster, which is started once: jobs on it cost seconds each, so there are few."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import tiny
from batch_jobs import read_rows
from batch_kills import descendants, is_alive
from clips import pictures
from sparsevit_runtime.batch import FramePredictor, RayCluster, ThisProcess, Work, run_batch
from sparsevit_runtime.errors import BackendError, BatchError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.slow

#: A machine that does something else meanwhile starts a worker in a minute or two.
PATIENCE_S = 180
_LEFT_OUT = ("RAY_USAGE_STATS_ENABLED", "RAY_enable_metrics_collection", "RAY_prestart_worker_first_driver")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two workers of one core each. Afterwards nothing of it is left, neither processes nor files."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # names of its sockets may not be long
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers find the checkout
        patch.delenv("RAY_ADDRESS", raising=False)
        for name in (*_LEFT_OUT, "RAY_worker_niceness"):  # at Ray's 15 workers starve where others work as well
            patch.setenv(name, "0")
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init(num_cpus=2, object_store_memory=100 << 20, _temp_dir=str(folder), **quiet)
        try:
            yield RayCluster(2)
        finally:
            of_ray = [pid for pid in descendants(os.getpid()) if str(folder) in command_of(pid)]
            ray.shutdown()
            until = time.monotonic() + PATIENCE_S
            while any(map(is_alive, of_ray)) and time.monotonic() < until:
                time.sleep(0.1)
            shutil.rmtree(folder, ignore_errors=True)
    assert of_ray and not any(map(is_alive, of_ray))


def command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


BOXES = {"boxes": [(4, 4, 20, 16), (10, 8, 30, 30)], "scores": [0.9, 0.6], "classes": [2, 6]}
MASKS = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)


def test_rows_are_those_of_one_process_though_a_worker_is_killed(cluster: RayCluster, archive: Path, tmp_path: Path):
    model = tiny.write_model(tmp_path / "model.onnx", task="instances", **BOXES, masks=MASKS)
    pipe = tmp_path / "pipe.png"  # whose reader waits, until it is killed; the next one is answered
    os.mkfifo(pipe)
    inputs = [archive / "day", archive / "0.png", pipe, archive / "1.png"]
    work, how = Work(str(model), threads=1), {"segment_frames": 24, "segment_images": 1}
    killed = []

    def kill_then_answer() -> None:
        try:
            killed.append(worker_in(tmp_path / "ray", "part-000004-"))
            os.kill(killed[0], signal.SIGKILL)
            while is_alive(killed[0]):  # the answer is for the next one
                time.sleep(0.02)
        finally:
            pipe.write_bytes((archive / "2.png").read_bytes())

    helper = threading.Thread(target=kill_then_answer, daemon=True)
    helper.start()
    report = run_batch(inputs, tmp_path / "ray", work, cluster, **how)
    helper.join(PATIENCE_S)
    assert len(killed) == 1 and not is_alive(killed[0])
    assert (report.frames, report.segments, report.failed, report.broken) == (63, 6, (), ())
    pipe.unlink()
    shutil.copy(archive / "2.png", pipe)
    run_batch(inputs, tmp_path / "one", work, ThisProcess(), **how)
    assert read_rows(tmp_path / "ray") == read_rows(tmp_path / "one")
    assert run_batch(inputs, tmp_path / "ray", work, cluster, **how).finished == 6


def worker_in(out: Path, part: str) -> int:
    """The worker that writes a part, which the name of its unfinished file says."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        for path in (out / "_sparsevit" / "scratch").glob(f"{part}*"):
            return int(path.name.split(".")[2])
        time.sleep(0.05)
    raise TimeoutError("no worker began")


def test_as_many_workers_as_there_is_room_for(cluster: RayCluster, caplog):
    assert RayCluster(None, cpus=1.0)._room(ray) == 2
    assert RayCluster(None, cpus=2.0)._room(ray) == 1
    assert RayCluster(7)._room(ray) == 7
    assert not caplog.records
    assert RayCluster(None, cpus=64.0)._room(ray) == 1 and "waiting for one that joins" in caplog.text
    with pytest.raises(BatchError, match="has no 64 CPU cores for a worker"):
        RayCluster(None, cpus=64.0)._room(ray, alone=True)


def test_errors_of_workers_are_our_own(cluster: RayCluster, archive: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no worker is: names that are relative to it are found all the same
    shutil.copy(archive / "0.png", "image.png")
    tiny.write_model(Path("fails.onnx"), fails=True)
    with pytest.raises(BackendError, match=r"fails\.onnx"):
        run_batch("image.png", "out", Work("fails.onnx", threads=1), RayCluster(1))


def test_the_callable_class_in_a_pipeline_of_ones_own(cluster: RayCluster, tiny_file: Path):
    frames = list(pictures(4))
    data = ray.data.from_items([{"image": frame, "id": i} for i, frame in enumerate(frames)])
    found = data.map_batches(
        FramePredictor,
        fn_constructor_kwargs={"model": str(tiny_file), "sparsity": 0.5, "threads": 1},
        batch_size=2,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    rows = sorted(found.take_all(), key=lambda row: row["id"])
    wanted = FramePredictor(tiny_file, 0.5, threads=1)({"image": frames})
    assert [row["label_map"] for row in rows] == wanted["label_map"]
    assert [list(row["keep"]) for row in rows] == wanted["keep"]
