"""Verifies that the libraries of an environment are as they were installed.

A power cut or a bad disk can leave a file with other bytes, and Python would run them. Each library lists its files
with their SHA-256 in its RECORD. Reading all files takes a second for a large environment, so it is done only when
there is a reason for doubt, not at each start.
"""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["damage_in"]

_SHA256 = "sha256="


def damage_in(environment: Path) -> str:
    """A line on the first file that is missing or differs from its RECORD; "" for none."""
    for record in sorted(environment.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        try:
            for file, expected in _files_of(record):
                if _digest(file) != expected:
                    return f"{file.relative_to(environment)} is not as it was installed"
        except OSError as problem:
            file = Path(str(problem.filename or record))
            return f"{file.name} can't be read: {problem.strerror}"
        except (ValueError, csv.Error):
            return f"{record.relative_to(environment)} is not as it was installed"
    return ""


def _files_of(record: Path) -> Iterator[tuple[Path, str]]:
    """The files with a hash, beside the libraries. Programs in bin/ are rewritten when they are installed."""
    libraries = record.parent.parent
    with record.open(newline="", encoding="utf-8") as rows:
        for name, digest, *_ in csv.reader(rows):
            if digest.startswith(_SHA256) and not name.startswith(("..", "/")):
                yield libraries / name, digest.removeprefix(_SHA256)


def _digest(file: Path) -> str:
    with file.open("rb") as data:
        found = hashlib.file_digest(data, "sha256").digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()
