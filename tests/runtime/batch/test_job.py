from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import tiny
from batch_jobs import assert_as_streamed, read_rows
from clips import damage, write_clip
from sparsevit_runtime import load, open_sink
from sparsevit_runtime.batch import Outcome, Processes, Report, Segment, ThisProcess, Work, run_batch
from sparsevit_runtime.batch import store as store_module
from sparsevit_runtime.batch.store import open_store
from sparsevit_runtime.batch.work import MOST_DEATHS, SegmentWorker, deaths_name
from sparsevit_runtime.errors import BatchError, DiskFullError, ModelError, PlanError

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


@pytest.fixture
def boxes(run, tmp_path: Path) -> Path:
    """A data set of two boxes in each of ten frames."""
    run(
        write_clip(tmp_path / "clip.mp4", 10),
        model=str(tiny.write_model(tmp_path / "m.onnx", task="detection", **BOXES)),
    )
    return tmp_path / "out"


def test_a_data_set_is_read_by_pandas(boxes: Path):
    frame = pytest.importorskip("pandas").read_parquet(boxes)
    assert len(frame) == 10 and list(frame["class_ids"].iloc[0]) == [2, 6]


def test_a_data_set_is_read_by_duckdb(boxes: Path):
    query = f"select count(*), sum(len(boxes)), max(scores[1]) from '{boxes}/*.parquet'"
    ((count, found, best),) = pytest.importorskip("duckdb").sql(query).fetchall()
    assert (count, found) == (10, 20) and best == pytest.approx(0.9)


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


def test_a_video_that_ends_early_is_told(run, tiny_file: Path, tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", 60)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    report = run(clip)
    assert [Path(each.source).name for each in report.broken] == ["clip.mp4"] and "missing" in report.broken[0].reason
    with load(tiny_file, threads=1) as model:
        assert_as_streamed(read_rows(tmp_path / "out"), model, clip)


def test_a_name_that_is_no_utf_8_costs_itself_alone(run, archive: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in (b"bad\xff.png", b"a b\n\xc3\xa9%d.png"):
        shutil.copy(archive / "0.png", bytes(tmp_path / "in") + b"/" + name)
    report = run(tmp_path / "in", coco=True)
    assert report.frames == 1 and "UTF-8" in report.broken[0].reason
    assert json.loads((tmp_path / "out" / "_report.json").read_text())["broken"][0]["source"] == report.broken[0].source


def test_inputs_that_vanish_after_they_were_planned_are_told_once(run, archive: Path, tmp_path: Path):
    shutil.copytree(archive, tmp_path / "in")

    class Late(ThisProcess):
        def run(self, work, segments):
            for name in ("day/long.mp4", "0.png"):
                (tmp_path / "in" / name).unlink(missing_ok=True)
            yield from super().run(work, segments)

    report = run(tmp_path / "in", Late())
    assert (report.frames, report.failed) == (14, ())
    assert sorted(Path(each.source).name for each in report.broken) == ["0.png", "long.mp4"]
    assert all("no such" in each.reason.lower() or "there is no" in each.reason for each in report.broken)


def test_inputs_that_can_be_gone_through_only_once(run, archive: Path, tmp_path: Path):
    assert run(archive / f"{i}.png" for i in range(3)).frames == 3
    with pytest.raises(BatchError, match="no input is named"):
        run([], out=tmp_path / "none")


def test_a_wrong_input_does_not_take_the_folder(run, archive: Path, tmp_path: Path):
    with pytest.raises(BatchError, match="there is no"):
        run(tmp_path / "misspelt")
    assert run(archive / "0.png").frames == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [("job.json", ""), ("job.json", "[]"), ("plan.jsonl", ""), ("plan.jsonl", "."), ("plan.jsonl", "{}\n.")],
)
def test_what_no_job_wrote_about_itself_is_refused(run, archive: Path, tmp_path: Path, name, text):
    run(archive / "0.png")
    (tmp_path / "out" / "_sparsevit" / name).write_text(text)
    with pytest.raises(BatchError, match=r"is not what a job wrote|holds another job"):
        run(archive / "0.png")


def test_a_damaged_part_is_named(run, archive: Path, tmp_path: Path):
    run(archive / "0.png")
    part = next((tmp_path / "out").glob("part-*"))
    part.write_bytes(part.read_bytes()[:-1])
    report = run(archive / "0.png")
    assert report.frames == 0 and report.failed[0].source == part.name and "damaged" in report.failed[0].reason
    with pytest.raises(BatchError, match="cannot be read"):
        run(archive / "0.png", coco=True)
    part.unlink()
    assert run(archive / "0.png", coco=True).frames == 1


def test_relative_names_are_found_from_another_folder(tiny_file: Path, archive: Path, tmp_path: Path, monkeypatch):
    class Elsewhere(ThisProcess):
        def run(self, work, segments):
            monkeypatch.chdir("/")  # as workers of a cluster are
            yield from super().run(work, segments)

    shutil.copytree(archive, tmp_path / "in")
    shutil.copy(tiny_file, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    report = run_batch("in", "out", Work("model.onnx", threads=1), Elsewhere())
    assert (report.frames, report.broken) == (75, ()) and len(read_rows(tmp_path / "out")) == 75


def test_another_model_under_the_same_address_is_another_job(run, tmp_path: Path):
    """Where it lies elsewhere a copy is kept; of the new one as well."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for stride, said in ((4, None), (8, "holds another job .model_digest")):
        memory.pipe("/models/m.onnx", tiny.write_model(tmp_path / f"{stride}.onnx", stride=stride).read_bytes())
        if said is None:
            run(model="memory://models/m.onnx")
            continue
        with pytest.raises(BatchError, match=said):
            run(model="memory://models/m.onnx")


def test_a_full_disk_is_said_and_the_job_goes_on_where_there_is_room(run, archive: Path, tmp_path: Path):
    class Small(ThisProcess):
        def run(self, work, segments):
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
            try:
                yield from super().run(work, segments)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with pytest.raises(DiskFullError, match="no room to write .*part-000000"):
        run(archive, Small())
    assert not parts(tmp_path / "out") and not list((tmp_path / "out" / "_sparsevit" / "scratch").iterdir())
    assert run(archive).frames == 75


@pytest.mark.parametrize("place", ["mounted", "memory://two"], ids=["without locks", "elsewhere"])
def test_two_drivers_that_see_no_lock_of_each_other_come_to_the_same_rows(
    run, archive: Path, tmp_path: Path, monkeypatch, place
):
    """As on two machines: on a file system that passes no locks on, and in an object store."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if place == "mounted":
        monkeypatch.setattr(store_module.fcntl, "flock", no_locks)
        out = str(tmp_path / place)
    else:
        pytest.importorskip("fsspec")
        out = place
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(run, archive, out=out) for _ in range(2)]:
            with suppress(BatchError):  # one may lose an unfinished file to the other, and says so
                each.result()
    report = run(archive, out=out)
    assert (report.frames, report.segments, report.failed) == (75, 9, ())
    if place == "mounted":
        run(archive)
        assert read_rows(Path(out)) == read_rows(tmp_path / "out")
