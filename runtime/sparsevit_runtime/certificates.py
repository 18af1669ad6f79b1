"""Whose certificates are trusted over TLS, and what it means when one is not."""

from __future__ import annotations

import ssl
from pathlib import Path

from .files import expand_path

#: OpenSSL's codes: expired, not valid yet, and those of names.
_EXPIRED, _NOT_YET, _WRONG_NAMES = 10, 9, (62, 64)


def parse_ca(text: str) -> Path:
    """A file of certificates in PEM, as an option names it.

    Raises:
        ValueError: it cannot be read, or holds none.
    """
    path = expand_path(text).absolute()
    try:
        tls_context(path)
    except ssl.SSLError:
        raise ValueError(f"{text!r} holds no certificate; give that of the authority, in PEM") from None
    except OSError as error:
        raise ValueError(f"{text!r} cannot be read ({error.strerror})") from None
    return path


def tls_context(ca: Path | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """Settings of a client.

    Args:
        ca: file of the certificates that are trusted, PEM; None for the system's.
        verify: whether a server has to prove who it is; without, whoever answers is taken for it.

    Raises:
        OSError: the file cannot be read, or holds no certificate (ssl.SSLError).
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def say_tls(error: BaseException) -> str | None:
    """What a failed handshake means, with the next step; None for any other error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        if error.verify_code in (_EXPIRED, _NOT_YET):
            return f"its certificate is not valid now ({said}); renew it, and check this machine's clock"
        if error.verify_code in _WRONG_NAMES:
            return f"its certificate is for another host ({said}); write the name that stands in it"
        return (
            f"its certificate is of nobody that is trusted here ({said}); name the authority's, or the server's own, "
            "with ?ca=FILE"
        )
    if isinstance(error, ssl.SSLError):
        return f"it does not speak TLS as this machine does ({error.reason or error}); check the port and the scheme"
    return None


def is_trust_missing(error: BaseException) -> bool:
    """Whether a handshake failed for a certificate that time alone does not mend."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code not in (_EXPIRED, _NOT_YET)
