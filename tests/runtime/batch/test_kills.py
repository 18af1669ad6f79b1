"""Workers and drivers are killed in the middle of a segment: one whose image is a pipe, which nobody has written to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from batch_jobs import read_rows
from batch_kills import descendants, is_alive
from sparsevit_runtime.batch import Processes, ThisProcess, Work, run_batch

pytest.importorskip("pyarrow")

#: A driver of its own: inputs, results, model.
DRIVER = """
import sys
from sparsevit_runtime.batch import Processes, Work, run_batch
if __name__ == "__main__":
    inputs, out, model = sys.argv[1:]
    run_batch(inputs, out, Work(model, threads=1), Processes(1), segment_images=1)
"""
PATIENCE_S = 180


@pytest.fixture
def inputs(archive: Path, tmp_path: Path) -> Path:
    """A list of images with a pipe among them."""
    os.mkfifo(tmp_path / "pipe.png")
    names = [archive / "0.png", archive / "1.png", tmp_path / "pipe.png", archive / "2.png"]
    (tmp_path / "list.txt").write_text("\n".join(map(str, names)))
    return tmp_path / "list.txt"


def wait_for_reader(pipe: Path) -> int:
    """Opened for writing, once a worker reads it."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nobody reads {pipe}")


def reads(pid: int, pipe: Path) -> bool:
    try:
        return any(os.path.realpath(each) == str(pipe) for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def reader_of(pipe: Path) -> int:
    """The worker of this process that reads a pipe."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        for pid in descendants(os.getpid()):
            if reads(pid, pipe):
                return pid
    raise TimeoutError(f"no worker reads {pipe}")


def renew(pipe: Path) -> None:
    """Another pipe in its place, so that nobody writes to a reader that is being killed."""
    pipe.unlink()
    os.mkfifo(pipe)


def whole(tiny_file: Path, archive: Path, out: Path) -> list[bytes]:
    """The answers of a job of whose images none is a pipe."""
    images = [archive / f"{i}.png" for i in range(3)]
    (out.parent / "plain.txt").write_text("\n".join(map(str, images)))
    run_batch(out.parent / "plain.txt", out, Work(str(tiny_file), threads=1), ThisProcess())
    return [row["label_map"] for row in read_rows(out)]


def without_pipe(out: Path) -> list[bytes]:
    return [row["label_map"] for row in read_rows(out) if not row["source"].endswith("pipe.png")]


def test_a_killed_worker_is_replaced_and_its_segment_begun_again(
    inputs: Path, tiny_file, archive: Path, tmp_path: Path
):
    pipe, out = tmp_path / "pipe.png", tmp_path / "out"
    killed = []

    def kill_then_answer() -> None:
        for _ in range(2):
            writer = wait_for_reader(pipe)
            killed.append(reader_of(pipe))
            renew(pipe)
            os.kill(killed[-1], signal.SIGKILL)
            os.close(writer)
        writer = wait_for_reader(pipe)
        os.write(writer, (archive / "0.png").read_bytes())
        os.close(writer)

    helper = threading.Thread(target=kill_then_answer)
    helper.start()
    report = run_batch(inputs, out, Work(str(tiny_file), threads=1), Processes(1), segment_images=1)
    helper.join()
    assert len(set(killed)) == 2
    assert (report.frames, report.segments, report.failed) == (4, 4, ())
    assert len(read_rows(out)) == 4
    assert without_pipe(out) == whole(tiny_file, archive, tmp_path / "plain")
    assert not list((out / "_sparsevit" / "scratch").iterdir())


def test_a_killed_driver_leaves_no_worker_and_what_is_finished(inputs, tiny_file, archive, tmp_path: Path):
    pipe, out = tmp_path / "pipe.png", tmp_path / "out"
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "driver.py", inputs, out, tiny_file]
    driver = subprocess.Popen([str(each) for each in command], env=environment)
    writer = wait_for_reader(pipe)
    workers = set(descendants(driver.pid))
    renew(pipe)
    driver.kill()
    driver.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert len(finished) == 2
    until = time.monotonic() + PATIENCE_S
    while any(map(is_alive, workers)):
        assert time.monotonic() < until, "a worker outlived its driver"
        time.sleep(0.02)
    os.close(writer)
    answer = threading.Thread(target=lambda: pipe.write_bytes((archive / "0.png").read_bytes()))
    answer.start()
    report = run_batch(inputs, out, Work(str(tiny_file), threads=1), ThisProcess())
    answer.join()
    assert (report.finished, report.frames) == (2, 4)
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == finished
    assert without_pipe(out) == whole(tiny_file, archive, tmp_path / "plain")
