"""Videos made of files that tell no rate, or a wrong one: as long as they are."""

from __future__ import annotations

import json

import pytest

from clips import write_clip
from played import play


@pytest.mark.parametrize("out", ["out.mp4", "out.avi"])
def test_a_webm_without_a_rate_becomes_a_video_as_long_as_it_is(sparsevit, tiny_model, tmp_path, out):
    """As browsers record: milliseconds, and frames that come when they come."""
    times_ms = [round(i * 14_900 / 89) + (i * 37 % 60 if 0 < i < 89 else 0) for i in range(90)]
    clip = write_clip(tmp_path / "clip.webm", 90, codec="libvpx", times_ms=times_ms)
    said = sparsevit("run", clip, tmp_path / out, tmp_path / "out.jsonl", "-m", tiny_model())
    assert said.code == 0, said.err
    stamps = [json.loads(line)["timestamp_ns"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [stamp / 1e6 for stamp in stamps] == pytest.approx(times_ms, abs=1)
    played = play(tmp_path / out)
    assert played.length_s == pytest.approx(14.9 * 90 / 89, abs=0.2)
    if out == "out.mp4":
        assert played.times_s == pytest.approx([time / 1000 for time in times_ms], abs=1e-3)
