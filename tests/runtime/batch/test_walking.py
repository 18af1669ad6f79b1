from __future__ import annotations

import os
from pathlib import Path

from sparsevit_runtime.batch import list_inputs
from sparsevit_runtime.batch.walking import walk_files


def walked(top: Path) -> list[str]:
    return sorted(os.path.relpath(each, top) for each in walk_files(top))


def test_links_in_circles_are_gone_through_once(tmp_path: Path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    for link, target in {"a/to_b": "../b", "b/to_a": "../a", "b/up": "..", "a/here": "."}.items():
        (tmp_path / link).symlink_to(target)
    assert walked(tmp_path) == ["a/1.png", "b/2.png"]
    assert len(list_inputs(f"{tmp_path}/**/*.png")) == 2


def test_a_linked_folder_counts_and_names_without_links_go_first(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").touch()
    (tmp_path / "top" / "real").mkdir(parents=True)
    (tmp_path / "top" / "real" / "2.png").touch()
    (tmp_path / "top" / "alias").symlink_to("real")
    (tmp_path / "top" / "linked").symlink_to(tmp_path / "elsewhere")
    assert walked(tmp_path / "top") == ["linked/1.png", "real/2.png"]


def test_links_that_lead_nowhere_are_told_and_pipes_left_out(tmp_path: Path):
    (tmp_path / "gone.png").symlink_to("nothing.png")
    (tmp_path / "itself.png").symlink_to("itself.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    assert walked(tmp_path) == ["gone.png", "itself.png"]
