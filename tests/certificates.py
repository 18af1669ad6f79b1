"""An authority of one's own, and certificates of servers that it signed, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


class Authority:
    """Attributes: ca: its certificate. key, certificate: those of a server called localhost and 127.0.0.1."""

    def __init__(self, folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> None:
        self.folder = folder
        self.ca, key, request = folder / "ca.pem", folder / "ca.key", folder / "server.csr"
        self.key, self.certificate = folder / "server.key", folder / "server.pem"
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self._run(
            "req", "-x509", *kind, "-keyout", key, "-out", self.ca, "-days", "2", "-subj", "/CN=a test's authority"
        )
        self._run("req", *kind, "-keyout", self.key, "-out", request, "-subj", "/CN=server")
        extensions = folder / "extensions"
        extensions.write_text(f"subjectAltName={names}\n")
        self._run(
            "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", key, "-CAcreateserial", "-days", "2",
            "-extfile", extensions, "-out", self.certificate,
        )  # fmt: skip

    def _run(self, *words: str | Path) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
