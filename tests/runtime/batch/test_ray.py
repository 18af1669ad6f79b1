"""On a local Ray cluster, where Ray is installed: pip install '.[ray]'."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tiny
from batch_jobs import read_rows
from clips import pictures
from sparsevit_runtime.batch import FramePredictor, RayCluster, ThisProcess, Work, run_batch
from sparsevit_runtime.errors import BackendError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two workers of one core each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers find the checkout
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield RayCluster(2)
        ray.shutdown()


BOXES = {"boxes": [(4, 4, 20, 16), (10, 8, 30, 30)], "scores": [0.9, 0.6], "classes": [2, 6]}
MASKS = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)


@pytest.mark.parametrize(
    "properties",
    [{}, {"task": "detection", **BOXES}, {"task": "instances", **BOXES, "masks": MASKS}],
    ids=["segmentation", "detection", "instances"],
)
def test_rows_are_those_of_one_process(cluster: RayCluster, archive: Path, tmp_path: Path, properties):
    work = Work(str(tiny.write_model(tmp_path / "model.onnx", **properties)), threads=1)
    how = {"segment_frames": 12, "segment_images": 2}
    assert run_batch(archive, tmp_path / "ray", work, cluster, **how).frames == 75
    run_batch(archive, tmp_path / "one", work, ThisProcess(), **how)
    assert read_rows(tmp_path / "ray") == read_rows(tmp_path / "one")
    assert run_batch(archive, tmp_path / "ray", work, cluster, **how).finished == 9


def test_as_many_workers_as_there_is_room_for(cluster: RayCluster):
    assert RayCluster(None, cpus=1.0)._room(ray) == 2
    assert RayCluster(None, cpus=2.0)._room(ray) == 1
    assert RayCluster(None, cpus=4.0)._room(ray) == 1
    assert RayCluster(7)._room(ray) == 7


def test_a_killed_worker_costs_no_row(cluster: RayCluster, archive: Path, tiny_file: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    names = [archive / "0.png", tmp_path / "pipe.png", archive / "1.png"]
    (tmp_path / "list.txt").write_text("\n".join(map(str, names)))

    def kill_then_answer() -> None:
        pid = worker_in(tmp_path / "out")
        os.kill(pid, signal.SIGKILL)
        (tmp_path / "pipe.png").write_bytes((archive / "2.png").read_bytes())

    helper = threading.Thread(target=kill_then_answer, daemon=True)
    helper.start()
    work = Work(str(tiny_file), threads=1)
    report = run_batch(tmp_path / "list.txt", tmp_path / "out", work, RayCluster(1), segment_images=1)
    helper.join()
    assert (report.frames, report.failed, report.broken) == (3, (), ())


def worker_in(out: Path) -> int:
    """The worker that waits for the pipe, which the name of what it writes says."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for path in (out / "_sparsevit" / "scratch").glob("part-000001-*"):
            return int(path.name.split(".")[2])
        time.sleep(0.05)
    raise TimeoutError("no worker began")


def test_errors_of_workers_are_our_own(cluster: RayCluster, archive: Path, tmp_path: Path):
    model = tiny.write_model(tmp_path / "fails.onnx", fails=True)
    with pytest.raises(BackendError, match=r"fails\.onnx"):
        run_batch(archive / "0.png", tmp_path / "out", Work(str(model), threads=1), cluster)


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
