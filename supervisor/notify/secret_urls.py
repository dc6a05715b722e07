"""The URL of a target, which is a secret, and what may be shown of it.

The configuration has the URL itself, a file with it (`url_file`), or a URL with `${NAME}` for environment variables. It
is resolved for each message, so that a changed file is read again, and a missing value affects only that target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ...protocol.errors import NeverblinkError
from ..config.notify_settings import NotifyTarget

__all__ = ["Unresolved", "redacted", "scheme_of", "url_of"]

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_LONGEST = 16 * 1024
_SHORTEST_SECRET = 4
_OPEN_HOSTS = {"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "apprise", "apprises", "ntfy",
               "ntfys", "gotify", "gotifys", "http", "https"}  # fmt: skip
"""Schemes whose host part may be shown. In others it is part of the secret, such as a bot's token."""


class Unresolved(NeverblinkError):
    """The target has no usable URL; the message says what is missing and contains no secret."""


def url_of(target: NotifyTarget, environment: Mapping[str, str]) -> str:
    """The URL of `target`. Raises `Unresolved`."""
    if not target.url_file:
        return _filled(target.url, environment).strip()
    path = Path(target.url_file)
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as problem:
        raise Unresolved(f"url_file {path} can't be read: {problem.strerror}") from None
    if len(content) > _LONGEST:
        raise Unresolved(f"url_file {path} is longer than any URL: is it the right file?")
    lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
    urls = [line for line in lines if line and not line.startswith("#")]
    if len(urls) != 1:
        raise Unresolved(
            f"url_file {path} has {len(urls) or 'no'} URL{'s' if urls else ''} in it: expected one line"
        )
    return _filled(urls[0], environment)


def scheme_of(url: str) -> str:
    """The scheme of a URL, such as `tgram`, which may be shown; "" when it is not a URL."""
    scheme, there, _ = url.partition("://")
    return scheme.lower() if there and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme) else ""


def redacted(text: str, url: str) -> str:
    """`text` with every part of `url` that could be a secret replaced."""
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str) -> list[str]:
    """The parts of a URL that must not be shown, in all their encodings, longest first."""
    parts: set[str] = {url}
    try:
        split = urlsplit(url)
    except ValueError:
        split = urlsplit("")
    user, at, host = split.netloc.rpartition("@")
    if at:
        parts.update((user, *user.split(":")))
    if split.scheme not in _OPEN_HOSTS:
        parts.update((host, *host.split(":")))
    parts.update((split.path, *split.path.split("/"), split.query, split.fragment))
    parts.update(value for _, value in parse_qsl(split.query))
    written = {form for part in parts for form in (part, unquote(part), quote(part, safe=""), quote(part))}
    return sorted((part for part in written if len(part) >= _SHORTEST_SECRET), key=len, reverse=True)


def _filled(text: str, environment: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        found = environment.get(match[1], "")
        if not found:
            raise Unresolved(f"{match[1]} is not set in the environment")
        return found

    return _VARIABLE.sub(value, text)
