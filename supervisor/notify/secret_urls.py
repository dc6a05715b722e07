"""Where a target is, as apprise writes it: a URL that is a secret, and what may be shown of it.

In the configuration it may be written out, be named as a file (`url_file`), or have `${NAME}` in it for variables of
the environment. It is looked up when something is sent, so a file that is renewed is read anew, and what is missing
keeps nothing but that target from being told.
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
"""Schemes in whose URLs the host is a host. In others it is a part of the secret, as a bot's token is."""


class Unresolved(NeverblinkError):
    """There is no URL to send to; the message says what is missing, and no secret."""


def url_of(target: NotifyTarget, environment: Mapping[str, str]) -> str:
    """The URL of `target`. Raises `Unresolved`."""
    if not target.url_file:
        return _filled(target.url, environment).strip()
    path = Path(target.url_file)
    try:
        with path.open("rb") as file:
            said = file.read(_LONGEST + 1)
    except OSError as problem:
        raise Unresolved(f"url_file {path} can't be read: {problem.strerror}") from None
    if len(said) > _LONGEST:
        raise Unresolved(f"url_file {path} is longer than any URL: is it the right file?")
    lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
    urls = [line for line in lines if line and not line.startswith("#")]
    if len(urls) != 1:
        raise Unresolved(
            f"url_file {path} has {len(urls) or 'no'} URL{'s' if urls else ''} in it: expected one line"
        )
    return _filled(urls[0], environment)


def scheme_of(url: str) -> str:
    """What kind of target it is, as in `tgram`; "" when it is not a URL. This much may be shown."""
    scheme, there, _ = url.partition("://")
    return scheme.lower() if there and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme) else ""


def redacted(text: str, url: str) -> str:
    """`text` without anything in it that is in `url` and could be a secret."""
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str) -> list[str]:
    """Each part of a URL that is not to be seen, in the ways it can be written, the longest first."""
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
