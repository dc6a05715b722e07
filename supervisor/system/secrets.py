"""Secrets that others may have put where text is written down: in a path, a query, a header, an error's words."""

from __future__ import annotations

import re

__all__ = ["without_secrets"]

_TOKEN = re.compile(r"nbt_[\w%.~+/=-]*", re.ASCII)
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic|digest|negotiate)([ :=]+|%20|\+)[^\s,;\"']+")
_NAMED = re.compile(
    r"(?i)((?:token|secret|passw(?:or)?d|api[-_]?key|authorization|cookie)[\"']?\s*[:=]\s*[\"']?)[^\s&,;\"']+"
)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")


def without_secrets(text: str) -> str:
    """`text` with "***" for tokens of ours, credentials of an Authorization header, values whose name says that they
    are secret, and the user part of URLs."""
    text = _TOKEN.sub("nbt_***", text)
    text = _AUTHORIZATION.sub(lambda found: f"{found[1]}{found[2]}***", text)
    text = _NAMED.sub(lambda found: f"{found[1]}***", text)
    return _USER_INFO.sub("***@", text)
