"""The page and its parts: files that come with neverblink, read once when the process starts.

A path in a request is looked up among their names and never becomes a path on the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

__all__ = ["Part", "parts"]

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_STATIC = Path(__file__).parent / "static"


class Part(msgspec.Struct, frozen=True):
    """One file. `tag` changes when it does."""

    body: bytes
    type: str
    tag: str


def parts(directory: Path = _STATIC) -> Mapping[str, Part]:
    """All of them by their paths in URLs; "/" and "/docs" are the pages."""
    found: dict[str, Part] = {}
    for path in sorted(directory.rglob("*")):
        kind = _TYPES.get(path.suffix)
        if path.is_file() and kind is not None:
            body = path.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
            found[f"/static/{path.relative_to(directory).as_posix()}"] = Part(body, kind, tag)
    for page, name in (("/", "index.html"), ("/docs", "docs.html")):
        found[page] = found.pop(f"/static/{name}")
    return found
