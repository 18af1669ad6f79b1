import json

import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_training.search.state import SearchState, StateError


def never():
    raise AssertionError("asked again")


def test_without_a_file_answers_last_as_long_as_the_search():
    state = SearchState(None, {"seed": 1})
    assert len(state) == 0
    assert state.recall("score", "a", lambda: 0.5) == 0.5 == state.recall("score", "a", never)
    assert len(state) == 1


def test_answers_are_on_disk_at_once(tmp_path):
    path = tmp_path / "state.json"
    first = SearchState(path, {"seed": 1, "budget": (1, 2)})
    first.recall("score", "a", lambda: [0.1, {"b": 1 / 3}])
    second = SearchState(path, {"seed": 1, "budget": (1, 2)})
    assert second.recall("score", "a", never) == [0.1, {"b": 1 / 3}]
    second.recall("other kind", "a", lambda: 2)
    assert len(SearchState(path, {"seed": 1, "budget": [1, 2]})) == 2


def test_what_fails_is_not_kept(tmp_path):
    state = SearchState(tmp_path / "state.json", {})
    with pytest.raises(ZeroDivisionError):
        state.recall("score", "a", lambda: 1 / 0)
    assert len(state) == 0 and not (tmp_path / "state.json").exists()


def test_another_search_is_told_by_what_differs(tmp_path):
    path = tmp_path / "state.json"
    SearchState(path, {"seed": 1, "samples": 5}).recall("score", "a", lambda: 1)
    before = path.read_bytes()
    with pytest.raises(StateError, match=r"seed 1, now 2"):
        SearchState(path, {"seed": 2, "samples": 5})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"schema": 1}', json.dumps({"schema": 7, "search": {}, "answers": {}})]
)
def test_damaged_files_are_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(StateError, match="remove"):
        SearchState(path, {})
    assert path.read_text() == text


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(SinkError):
        SearchState(tmp_path / "no" / "state.json", {}).recall("score", "a", lambda: 1)
