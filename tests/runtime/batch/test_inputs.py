from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from sparsevit_runtime.batch import list_inputs
from sparsevit_runtime.batch.places import local_copy, read_bytes
from sparsevit_runtime.errors import BatchError

pytest.importorskip("pyarrow")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("10.jpg", "2.jpg", "sub/clip.MP4", "notes.md", ".hidden.jpg", "_sparsevit/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def names(found: list[str], folder: Path) -> list[str]:
    return [str(Path(each.removeprefix("file://")).relative_to(folder)) for each in found]


def test_a_folder_has_its_images_and_videos_in_natural_order(folder: Path):
    assert names(list_inputs(folder), folder) == ["2.jpg", "10.jpg", "sub/clip.MP4"]


def test_a_glob(folder: Path):
    assert names(list_inputs(f"{folder}/*.jpg"), folder) == ["2.jpg", "10.jpg"]
    assert names(list_inputs(f"{folder}/**/*.MP4"), folder) == ["sub/clip.MP4"]


def test_files_are_taken_whatever_their_suffix(folder: Path):
    assert names(list_inputs([folder / "notes.md", folder / "2.jpg", folder]), folder)[:2] == ["notes.md", "2.jpg"]


def test_a_text_list_names_what_lies_beside_it(folder: Path):
    (folder / "list.txt").write_text("# the first day\nsub/clip.MP4\n\ns3://bucket/a.mp4\n/x/b.jpg\nsub/clip.MP4\n")
    assert list_inputs(folder / "list.txt") == [f"{folder}/sub/clip.MP4", "s3://bucket/a.mp4", "/x/b.jpg"]


@pytest.mark.parametrize("column", ["uri", "path"])
def test_a_parquet_list(folder: Path, column):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"id": [1, 2], column: ["2.jpg", "gs://b/c.mp4"]}), folder / "list.parquet")
    assert list_inputs(folder / "list.parquet") == [f"{folder}/2.jpg", "gs://b/c.mp4"]


def test_another_file_system(folder: Path, tmp_path: Path):
    pytest.importorskip("fsspec")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("10.jpg", "2.jpg", "sub/clip.MP4"):
            archive.write(folder / name, name)
    behind = f"::{tmp_path}/all.zip"
    assert list_inputs(f"zip://{behind}") == [f"zip://{n}{behind}" for n in ("2.jpg", "10.jpg", "sub/clip.MP4")]
    assert list_inputs(f"zip://*.jpg{behind}") == [f"zip://{n}{behind}" for n in ("2.jpg", "10.jpg")]
    assert read_bytes(f"zip://2.jpg{behind}") == b"2.jpg"
    with local_copy(f"zip://sub/clip.MP4{behind}") as path:
        assert path.name == "clip.MP4" and path.read_bytes() == b"sub/clip.MP4"
    assert not path.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "is empty"),
        ("{folder}/nothing", "there is no"),
        ("{folder}/nothing*.jpg", "names no image and no video .found: nothing"),
        ("{folder}/*.md", r"found: \.md"),
        ("{folder}/empty.txt", "is empty"),
        ("{folder}/notes.parquet", "cannot be read"),
        ("nowhere://x/", "cannot be reached"),
    ],
)
def test_what_is_no_input(folder: Path, given, message):
    (folder / "empty.txt").write_text("# nothing yet\n")
    (folder / "notes.parquet").write_text("no Parquet")
    with pytest.raises(BatchError, match=message):
        list_inputs(given.format(folder=folder))
