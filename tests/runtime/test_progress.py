from __future__ import annotations

from sparsevit_runtime.progress import SILENT, track
from told import Told


def test_items_are_told_one_by_one_once_they_are_done():
    told = Told()
    seen = [(item, list(told.done)) for item in track("abc", "reading", told)]
    assert seen == [("a", []), ("b", [1]), ("c", [1, 2])]
    assert told.pieces == [("reading", 3)] and told.done == [1, 2, 3]


def test_nothing_to_do_is_told_too():
    told = Told()
    assert list(track([], "reading", told)) == [] and told.pieces == [("reading", 0)]


def test_silence_takes_everything():
    assert list(track([1, 2], "reading", SILENT)) == [1, 2]
    SILENT.start("waiting")
    SILENT.advance(0.5, "half")
