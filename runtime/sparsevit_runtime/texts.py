"""Texts that come from files and callers, made fit to be shown.

A name in a model card, a file's name or what a library says may hold anything: sequences that clear a terminal or set
its title, line breaks, letters that turn the direction of writing.
"""

from __future__ import annotations

import re
import unicodedata

#: Unicode's control, format (zero-width and direction marks), surrogate and separator characters.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
#: What all of these are in, and little else: most texts need no second look.
_SUSPECT = re.compile(r"[^ -~]")


def printable(text: str, keep: str = "") -> str:
    r"""A text in one line that does nothing to a terminal: what is not seen is written as ``\x1b`` or ``\u202e``.

    Args:
        text: any text.
        keep: characters that stay as they are, such as a line break.
    """
    return _SUSPECT.sub(lambda found: found[0] if found[0] in keep else _visible(found[0]), text)


def printable_json(text: str) -> str:
    r"""The same for JSON, which says the same afterwards: ``\u009b`` within its strings."""

    def escape(found: re.Match[str]) -> str:
        letter = found[0]
        if letter == "\n" or _visible(letter) == letter:
            return letter
        units = letter.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

    return _SUSPECT.sub(escape, text)


#: What to do about a name for which `is_unicode` is false.
RENAME = "its name holds bytes that are no UTF-8; rename it: convmv -f latin1 -t utf8 --notest NAME"


def is_unicode(text: str) -> bool:
    """Whether a text may be given to libraries. A file's name may hold any bytes; Python makes half characters of those
    that are no UTF-8, and OpenCV ends the process over them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object, length: int = 80) -> str:
    """A wrong value for a message: as Python writes it, cut short."""
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, nesting without end, a class that is not whole
        return f"a {type(value).__name__}"
    text = printable(text)
    return text if len(text) <= length else f"{text[:length]}..."


def _visible(letter: str) -> str:
    if unicodedata.category(letter) not in _UNSEEN:
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
