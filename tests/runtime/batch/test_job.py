from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tiny
from batch_jobs import assert_as_streamed, read_rows
from clips import damage, write_clip
from sparsevit_runtime import load, open_sink
from sparsevit_runtime.batch import Outcome, Processes, Report, Segment, ThisProcess, Work, run_batch
from sparsevit_runtime.batch.store import open_store
from sparsevit_runtime.batch.work import MOST_DEATHS, SegmentWorker, deaths_name
from sparsevit_runtime.errors import BatchError, ModelError, PlanError

pytest.importorskip("pyarrow")


@pytest.fixture
def run(tiny_file: Path, archive: Path, tmp_path: Path) -> Callable[..., Report]:
    """Runs a job of small segments over the archive into `tmp_path / "out"`."""

    def start(inputs=archive, engine=None, out: Path = tmp_path / "out", **how) -> Report:
        work = {"model": str(tiny_file), "threads": 1}
        work |= {name: how.pop(name) for name in set(how) & {"model", "sparsity", "threshold"}}
        sizes = {"segment_frames": 12, "segment_images": 2}
        return run_batch(inputs, out, Work(**work), engine or ThisProcess(), **sizes, **how)

    return start


def parts(out: Path) -> dict[str, int]:
    """The files of finished segments, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in sorted(out.glob("part-*.parquet"))}


@pytest.mark.parametrize("engine", [ThisProcess(), Processes(2)], ids=["here", "processes"])
def test_results_are_those_of_one_process_frame_by_frame(run, archive: Path, tiny_file: Path, tmp_path: Path, engine):
    report = run(engine=engine)
    assert (report.frames, report.sources, report.segments, report.finished) == (75, 7, 9, 0)
    assert report.broken == report.failed == ()
    rows = read_rows(tmp_path / "out")
    assert len(rows) == 75
    with load(tiny_file, threads=1) as model:
        for name in ("day/long.mp4", "short.mp4", *(f"{i}.png" for i in range(5))):
            source = archive / name
            assert_as_streamed([row for row in rows if row["source"] == str(source)], model, source)


def test_a_finished_job_runs_nothing_again(run, tmp_path: Path):
    run()
    before = parts(tmp_path / "out")
    report = run()
    assert (report.finished, report.frames) == (9, 75)
    assert parts(tmp_path / "out") == before


def test_what_is_missing_is_run_and_nothing_else(run, tmp_path: Path):
    run()
    rows, before = read_rows(tmp_path / "out"), parts(tmp_path / "out")
    gone = sorted(before)[3]
    (tmp_path / "out" / gone).unlink()
    report = run()
    assert (report.finished, report.frames) == (8, 75)
    after = parts(tmp_path / "out")
    assert after.pop(gone) != before.pop(gone)
    assert after == before
    assert read_rows(tmp_path / "out") == rows


def test_files_that_come_later_belong_to_another_job(run, archive: Path, tmp_path: Path):
    folder = tmp_path / "in"
    shutil.copytree(archive, folder)
    run(folder)
    shutil.copy(folder / "0.png", folder / "00.png")
    assert run(folder).frames == 75


def test_broken_inputs_are_listed_with_reasons_and_cost_themselves_alone(run, archive: Path, tmp_path: Path):
    folder = tmp_path / "in"
    shutil.copytree(archive, folder)
    (folder / "1.png").write_bytes((archive / "1.png").read_bytes()[:-20])
    (folder / "2.png").write_text("no picture")
    (folder / "3.png").write_bytes(b"")
    (folder / "bad.mp4").write_bytes(b"no video" * 100)
    report = run(folder)
    assert report.frames == 72
    assert {Path(each.source).name: each.reason.split(" ")[0] for each in report.broken} == {
        "1.png": "it",
        "2.png": "its",
        "3.png": "its",
        "bad.mp4": "cannot",
    }
    written = json.loads((tmp_path / "out" / "_report.json").read_text())
    assert [each["source"] for each in written["broken"]] == [each.source for each in report.broken]
    assert run(folder).broken == report.broken  # also when nothing is left to do


def test_a_damaged_video_is_read_in_one_piece(run, tiny_file: Path, tmp_path: Path):
    clip = damage(write_clip(tmp_path / "clip.mp4", 60))
    run(clip)
    assert len(parts(tmp_path / "out")) == 1
    with load(tiny_file, threads=1) as model:
        assert_as_streamed(read_rows(tmp_path / "out"), model, clip)


def test_a_video_that_turns_out_not_to_have_parts_has_no_row_twice(run, tiny_file: Path, tmp_path: Path):
    """Parts of it are finished when one says so: it is damaged after it was planned."""
    clip, out = write_clip(tmp_path / "clip.mp4", 60), tmp_path / "out"
    assert run(clip).segments == 5
    (out / sorted(parts(out))[2]).unlink()
    damage(clip)
    report = run(clip)
    rows = read_rows(out)
    assert (report.segments, report.frames) == (1, len(rows)) and len(parts(out)) == 1
    with load(tiny_file, threads=1) as model:
        assert_as_streamed(rows, model, clip)
    assert run(clip).finished == 1
    assert read_rows(out) == rows


def test_nothing_that_can_be_read(run, tmp_path: Path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(BatchError, match=r"none of the 1 inputs can be read.*bad\.mp4: cannot decode"):
        run(tmp_path / "bad.mp4")


def test_another_job_is_not_mixed_in(run, archive: Path, tmp_path: Path):
    run()
    for how in ({"threshold": 0.5}, {"sparsity": 0.5}, {"inputs": archive / "0.png"}):
        with pytest.raises(BatchError, match=f"holds another job .{next(iter(how))}"):
            run(**how)
    other = tiny.write_model(tmp_path / "other.onnx", stride=8)
    with pytest.raises(BatchError, match="holds another job .model_digest"):
        run(model=str(other))


def test_a_folder_of_somebody_else_is_left_alone(run, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(BatchError, match="no job wrote"):
        run()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"letter.txt", "_sparsevit"}


def test_two_drivers_do_not_work_on_one_job(run, tmp_path: Path):
    with open_store(tmp_path / "out").lock(), pytest.raises(BatchError, match="another process works on"):
        run()


def test_what_is_wrong_with_the_model_is_told_before_anything_is_written(run, tmp_path: Path):
    with pytest.raises(ModelError, match="cannot read"):
        run(model=str(tmp_path / "gone.onnx"))
    with pytest.raises(PlanError):
        run(sparsity=7)
    assert not (tmp_path / "out" / "_sparsevit" / "job.json").exists()


def test_a_segment_that_ends_its_worker_time_and_again_is_given_up(tiny_file: Path, archive: Path, tmp_path: Path):
    worker = SegmentWorker(Work(str(tiny_file), threads=1, out=str(tmp_path)))
    segment = Segment("000000-a", (str(archive / "0.png"),), 1)
    open_store(tmp_path).write(deaths_name(segment.name), b"." * MOST_DEATHS)
    outcome = worker(segment)
    assert outcome.state == "failed" and "died 5 times" in outcome.reason
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert worker(Segment("000001-b", segment.sources, 1)).state == "done"


def test_a_worker_with_another_model_refuses(tiny_file: Path, archive: Path, tmp_path: Path):
    worker = SegmentWorker(Work(str(tiny_file), "0" * 64, threads=1, out=str(tmp_path)))
    with pytest.raises(BatchError, match="is another model here"):
        worker(Segment("000000-a", (str(archive / "0.png"),), 1))


MASKS = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
BOXES = {"boxes": [(4, 4, 20, 16), (10, 8, 30, 30)], "scores": [0.9, 0.6], "classes": [2, 6]}


@pytest.mark.parametrize(
    ("name", "sink", "properties"),
    [
        ("segmentation", "coco.json?masks=rle", {}),
        ("detection", "coco.json", {"task": "detection", **BOXES}),
        ("instances", "coco.json", {"task": "instances", **BOXES, "masks": MASKS}),
    ],
)
def test_coco_is_what_one_process_writes(run, archive: Path, tmp_path: Path, name, sink, properties):
    model = tiny.write_model(tmp_path / f"{name}.onnx", **properties)
    run(archive / "short.mp4", model=str(model), coco=True)
    with load(model, threads=1) as opened, open_sink(f"{tmp_path}/{sink}") as written:
        for result in opened.stream(archive / "short.mp4"):
            written.write(result, result.image)
    ours = json.loads((tmp_path / "out" / "_coco.json").read_text())
    assert ours == json.loads((tmp_path / "coco.json").read_text())
    assert len(ours["images"]) == 10 and ours["annotations"]


def test_coco_names_images_by_their_place_below_the_common_folder(run, tmp_path: Path):
    run(coco=True)
    names = [each["file_name"] for each in json.loads((tmp_path / "out" / "_coco.json").read_text())["images"]]
    assert len(names) == len(set(names)) == 75
    assert {"0.png", "day/long.mp4#59", "short.mp4#0"} <= set(names)


def test_a_data_set_is_read_by_pandas_and_duckdb(run, tmp_path: Path):
    duckdb, pandas = pytest.importorskip("duckdb"), pytest.importorskip("pandas")
    model = tiny.write_model(tmp_path / "detection.onnx", task="detection", **BOXES)
    run(model=str(model))
    frame = pandas.read_parquet(tmp_path / "out")
    assert len(frame) == 75 and list(frame["class_ids"].iloc[0]) == [2, 6]
    query = f"select count(*), sum(len(boxes)), max(scores[1]) from '{tmp_path}/out/*.parquet'"
    ((count, boxes, best),) = duckdb.sql(query).fetchall()
    assert (count, boxes) == (75, 150) and best == pytest.approx(0.9)


def test_inputs_and_results_on_other_file_systems(run, archive: Path, tmp_path: Path):
    fsspec = pytest.importorskip("fsspec")
    shutil.make_archive(str(tmp_path / "all"), "zip", archive)
    inputs = f"zip://::{tmp_path}/all.zip"
    assert run(inputs, out="memory://results").frames == 75
    assert run(inputs, out="memory://results").finished == 9
    memory = fsspec.filesystem("memory")
    memory.get("/results/", str(tmp_path / "got"), recursive=True)
    run()
    ours, local = read_rows(tmp_path / "got"), read_rows(tmp_path / "out")
    assert [row["label_map"] for row in ours] == [row["label_map"] for row in local]
    assert ours[0]["source"].startswith("zip://")
    assert not [name for name in memory.find("/results") if "/scratch/" in name or "/begun/" in name]
