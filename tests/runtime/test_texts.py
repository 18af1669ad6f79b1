import json

import pytest

from sparsevit_runtime.texts import printable, printable_json, shown

EVIL = "a\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202e\u2028\ud800é漢🚗[/foo]"


def test_what_is_not_seen_is_written_out():
    assert printable("street scenes é漢🚗 [/foo]") == "street scenes é漢🚗 [/foo]"
    assert printable(EVIL) == (
        r"a\x1b]0;title\x07\x1b[2J\x0d\x0a\x9b31m\u202e\u2028\ud800é漢🚗[/foo]"
    )  # fmt: skip
    assert printable("a\nb\tc", keep="\n") == "a\nb\\x09c"
    assert printable(printable(EVIL)) == printable(EVIL)


def test_json_says_the_same_afterwards():
    document = {"name": EVIL, "\x9b": ["\U000e0001"]}
    text = printable_json(json.dumps(document, ensure_ascii=False, indent=2))
    assert json.loads(text) == document
    assert "é漢🚗" in text and text == "\n".join(printable(line) for line in text.split("\n"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("x" * 200, "'" + "x" * 79 + "..."),
    ],
)
def test_a_wrong_value_in_a_message(value, text):
    assert shown(value) == text


def test_what_has_no_text_is_named_by_its_type():
    class Broken:
        def __repr__(self):
            raise OSError("no")

    assert shown(Broken()) == "a Broken"
    assert len(shown(10**5000)) < 100  # whether this Python writes integers of any length or not
