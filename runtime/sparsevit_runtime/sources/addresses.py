"""Addresses of streams: checked, and with their passwords hidden."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ..errors import PermanentSourceError
from ..texts import is_unicode

#: What an address starts with, also where a slash was forgotten.
_HEAD = re.compile(r"[a-z][a-z0-9+.-]*://|(?:https?|rtsps?|rtmp|srt|tcp|udp):/?", re.IGNORECASE)
_SECRET_OPTION = re.compile(r"([?&](?:\w*pass\w*|pwd|pw|\w*token|\w*secret|\w*key|auth)=)[^&#]*", re.IGNORECASE)
_USER = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/]*@", re.IGNORECASE)


def hide_password(url: str) -> str:
    """The URL with the user, the password and values of options that look like one replaced by stars; takes any text.

    A password with characters that end its part of a URL is hidden, too, and may hide what stands behind it.
    """
    head = _HEAD.match(url)
    if head is None:
        return url
    start, end = head.end(), _user_end(url, head.end())
    return _SECRET_OPTION.sub(r"\1***", url if end is None else f"{url[:start]}***{url[end:]}")


def hide_passwords(text: str) -> str:
    """A text of somebody else's, such as a driver's error, with the users of URLs in it replaced by stars."""
    return _USER.sub(r"\1***@", text)


def check_url(url: str) -> None:
    """Raises PermanentSourceError when it is no URL, as where a password has characters that end its part of one."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        problem = "a # stands before the @" if "@" in parts.fragment and "@" not in parts.netloc else ""
        if not is_unicode(url):
            problem = "it holds bytes that are no UTF-8; write each as %XX"
    except ValueError as error:
        problem = str(error).partition(" as ")[0]  # the rest repeats what may be a password
    if problem:
        advice = "write rtsp://user:password@host:port/path"
        if "@" in url:
            advice += "; in user and password write %23 for #, %2F for /, %3F for ?, %40 for @ and %3A for :"
        raise PermanentSourceError(f"the address is not valid ({problem}): {hide_password(url)!r}; {advice}")


def _user_end(url: str, start: int) -> int | None:
    """Where user and password end, at an @; None where there are none."""
    host = re.split(r"[/?#]", url[start:], maxsplit=1)[0]
    if "@" in host:
        return start + host.rindex("@")
    before, at, _ = url[start:].rpartition("@")
    # Host and port, or user and half a password; what stands behind a # is no address at all.
    unusual = at and (":" in host or "#" in before or re.search(r":(?!//)", before))
    return url.rindex("@") if unusual else None
