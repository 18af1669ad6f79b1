"""Random changes to texts, bytes, documents and tensors; the same dice, the same change."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

#: What stands in for any value of a document.
EDGES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 256, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), float("-inf"), "", " ", "0", "0.5", "50%", "nan", "../../etc/passwd", "/etc/passwd",
    "~nobody-here/x", "x" * 300, "x" * 70000, "a\0b", "\x1b]0;x\x07", "[/foo]", "\ud800", "\u202e", "\U0001f697", [],
    {}, [[]], [None], [0] * 1000, {"": 0},
)  # fmt: skip
TEXTS = (
    "", ".5", "50%", "1.0", "-1", "1e9999", "9" * 5000, "[" * 3000, "[0.5,0,0,0]", "[true,true,true,true]",
    "0.6,0,0.4,0", "{", "null", "nan", "inf", "/dev/zero", "/dev/null", "/", "~", "~nobody-here/x.mp4", "x" * 300,
    "x" * 5000, "a\0b", "rtsp:", "rtsp://", "rtsp://[", "rtsp://u:p#w@127.0.0.1:1/x", "http://127.0.0.1:1/a.mp4",
    "synthetic://street", "synthetic://street?size=64x64", "synthetic://street?size=9999999999999x1",
    "synthetic://street?seed=-1", "sample://x", "csi://0", "csi://99?size=1x1", "/dev/video99", "-1", "99",
    "99?size=0x0", "frames/*.png", "[", "**", "null://", "display://x", "out.mp4?x", "out/?format=",
    "out/?format=gif", "x.xyz", ".", "..", "out.jsonl", "\ud800",
)  # fmt: skip


def change_text(text: str, dice: random.Random) -> str:
    """A few letters of a text taken out, repeated, exchanged or put in."""
    letters = list(text)
    for _ in range(dice.randint(0, 4)):
        i = dice.randint(0, len(letters))
        what = dice.randrange(4)
        if what == 0:
            del letters[i : i + dice.randint(1, 4)]
        elif what == 1:
            letters[i:i] = letters[i : i + dice.randint(1, 4)] * dice.choice((1, 2, 50))
        elif what == 2:
            letters[i : i + 1] = dice.choice("0123456789.,%[]{}()?&=:/@#~*\\\"' \n\0\x1bé漢-+eE")
        else:
            letters[i:i] = dice.choice(TEXTS)
    return "".join(letters)


def change_bytes(data: bytes, dice: random.Random) -> bytes:
    """A few bytes of a file turned, cut out, repeated, or the end cut off."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        i = dice.randrange(len(changed) + 1) if dice.random() < 0.5 else dice.randrange(min(len(changed), 400) + 1)
        what = dice.randrange(5)
        if what <= 1 and i < len(changed):
            changed[i] = dice.choice((0, 255, 127, 128, changed[i] ^ 1 << dice.randrange(8)))
        elif what == 2:
            del changed[i : i + dice.randint(1, 64)]
        elif what == 3:
            changed[i:i] = changed[i : i + dice.randint(1, 64)]
        elif dice.random() < 0.3:
            del changed[i:]
    return bytes(changed)


def change_document(document: Any, dice: random.Random) -> Any:
    """A few values of a document exchanged, left out, repeated or of another name."""
    changed = copy.deepcopy(document)
    for _ in range(dice.randint(1, 3)):
        places = list(_places(changed))
        if not places:
            break
        holder, key = dice.choice(places)
        what = dice.randrange(10)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, list):
            holder[key:key] = [copy.deepcopy(holder[key])] * dice.choice((1, 2, 300))
        elif what == 2 and isinstance(holder, dict):
            holder[str(dice.choice(EDGES))] = holder.pop(key)
        elif what == 3 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            factor = dice.choice((-1, 0, 2, 1000, 10**9, 0.5))
            with suppress(OverflowError):  # an integer beyond all floats
                holder[key] = holder[key] * factor
        elif what == 4 and isinstance(holder[key], str):
            holder[key] = change_text(holder[key], dice)
        else:
            holder[key] = copy.deepcopy(dice.choice(EDGES))
    return changed


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = range(len(document)) if isinstance(document, list) else list(document) if isinstance(document, dict) else ()
    for key in keys:
        yield document, key
        yield from _places(document[key])


def as_json(document: Any, dice: random.Random) -> str:
    """The text of a document; now and then with its letters changed."""
    try:
        text = json.dumps(document)
    except ValueError:  # an integer too long to write
        text = "9" * 5000
    return change_text(text, dice) if dice.random() < 0.2 else text
