from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import damage, write_clip
from sparsevit_runtime import open_source
from sparsevit_runtime.batch.reading import CannotCutError, read_segment
from sparsevit_runtime.batch.segments import Broken, Segment, plan

pytest.importorskip("pyarrow")


def planned(*sources: Path, frames: int = 12, images: int = 2) -> list[Segment | Broken]:
    return list(plan([str(source) for source in sources], frames, images))


def read(segments: list[Segment]) -> list[tuple[int, int, np.ndarray]]:
    found = [each for segment in segments for each in read_segment(segment) if not isinstance(each, Broken)]
    return [(frame.index, frame.timestamp_ns, frame.image) for _, frame in found]


def as_read_in_one(source: Path) -> list[tuple[int, int, np.ndarray]]:
    with open_source(source) as opened:
        return [(frame.index, frame.timestamp_ns, frame.image) for frame in opened]


def assert_same(ours: list, theirs: list) -> None:
    assert [each[:2] for each in ours] == [each[:2] for each in theirs]
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(ours, theirs, strict=True))


UNEVEN_MS = [40 * i + (7 * i) % 31 for i in range(60)]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("clip.mp4", {}),
        ("clip.mp4", {"reordered": 3}),
        ("clip.mkv", {"times_ms": UNEVEN_MS}),
        ("clip.ts", {"reordered": 2}),
        ("clip.avi", {"codec": "mjpeg"}),
    ],
)
def test_parts_of_a_video_have_the_frames_of_the_whole(tmp_path: Path, name, how):
    clip = write_clip(tmp_path / name, 60, **how)
    segments = planned(clip)
    assert len(segments) == 5
    assert [segment.frames for segment in segments] == [12] * 5
    for order in (segments, segments[::-1]):  # each by itself, whatever was read before
        assert_same(sorted(read(order), key=lambda each: each[0]), as_read_in_one(clip))


def test_parts_are_as_long_as_asked_for_and_the_last_one_is_not_short(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", 60)
    assert [segment.frames for segment in planned(clip, frames=20)] == [24, 24, 12]
    assert [segment.frames for segment in planned(clip, frames=40)] == [60]


@pytest.mark.parametrize(("name", "how"), [("joined.ts", {"times_ms": [*range(0, 1200, 40), *range(0, 1200, 40)]})])
def test_times_that_go_back_keep_a_video_in_one_piece(tmp_path: Path, name, how):
    first, second = (write_clip(tmp_path / f"{i}.ts", 30) for i in range(2))
    joined = tmp_path / name
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    segments = planned(joined)
    assert len(segments) == 1 and segments[0].cut is None
    assert_same(read(segments), as_read_in_one(joined))


def test_a_part_with_other_frames_than_its_index_says_is_not_taken(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", 60)
    segments = planned(clip)
    damage(clip)
    with pytest.raises(CannotCutError):
        read(segments)
    assert_same(read([segments[0].whole()]), as_read_in_one(clip))


def test_images_next_to_each_other_are_one_segment(archive: Path):
    images = [archive / f"{i}.png" for i in range(5)]
    segments = planned(*images[:3], archive / "short.mp4", *images[3:])
    assert [[Path(source).name for source in segment.sources] for segment in segments] == [
        ["0.png", "1.png"],
        ["2.png"],
        ["short.mp4"],
        ["3.png", "4.png"],
    ]
    assert [segment.frames for segment in segments] == [2, 1, 10, 2]


def test_segments_have_names_of_their_own_that_stay(archive: Path):
    sources = (archive / "day" / "long.mp4", archive / "0.png", archive / "short.mp4")
    segments = planned(*sources)
    assert len({segment.name for segment in segments}) == len(segments) == 7
    assert planned(*sources) == segments
    assert [Segment.from_json(segment.to_json()) for segment in segments] == segments


def test_what_cannot_be_read_is_told_where_it_stands(tmp_path: Path, archive: Path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.png").write_bytes((archive / "0.png").read_bytes()[:-30])
    empty, text, gone = planned(tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "gone.mp4")
    assert "0 bytes" in empty.reason and "cannot decode" in text.reason and "gone.mp4" in gone.source
    (images,) = planned(archive / "1.png", tmp_path / "cut.png", tmp_path / "gone.png", images=3)
    found = list(read_segment(images))
    assert [isinstance(each, Broken) for each in found] == [False, True, True]
    assert "truncated" in found[1].reason and "No such file" in found[2].reason
