from __future__ import annotations

import pytest

from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.sources.options import parse_number, parse_size, split_options


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("x://a", ("x://a", {})),
        ("x://a?", ("x://a", {})),
        ("x://a?p=1", ("x://a", {"p": "1"})),
        ("x://a?q=b&p=1x2", ("x://a", {"p": "1x2", "q": "b"})),
    ],
)
def test_options_are_split_off(uri, expected):
    assert split_options(uri, ("p", "q"), "usage") == expected


@pytest.mark.parametrize("uri", ["a?r=1", "a?p=1&p=2", "a?p=", "a?p", "a?=1", "a?&&"])
def test_bad_options_end_with_the_usage(uri):
    with pytest.raises(SourceError, match="the usage"):
        split_options(uri, ("p", "q"), "the usage")


@pytest.mark.parametrize(("text", "expected"), [("1x2", (1, 2)), ("640X480", (640, 480))])
def test_sizes(text, expected):
    assert parse_size("uri", text, 1, 640, "usage") == expected


@pytest.mark.parametrize("text", ["", "1", "1x", "x", "1x2x3", "0x1", "641x1", "1.5x2", "-1x2", "²x2"])
def test_bad_sizes(text):
    with pytest.raises(SourceError, match="the usage"):
        parse_size("uri", text, 1, 640, "the usage")


@pytest.mark.parametrize(("text", "whole", "expected"), [("3", True, 3), ("3", False, 3.0), ("2.5", False, 2.5)])
def test_numbers(text, whole, expected):
    assert parse_number("uri", "k", text, 0, 10, "usage", whole) == expected


@pytest.mark.parametrize(
    ("text", "whole"), [("x", False), ("2.5", True), ("11", True), ("-1", True), ("nan", False), ("inf", False)]
)
def test_bad_numbers(text, whole):
    with pytest.raises(SourceError, match="the usage"):
        parse_number("uri", "k", text, 0, 10, "the usage", whole)
