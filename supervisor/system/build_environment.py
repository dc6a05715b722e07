"""The environment variables that a build sees: those that tools need, and never the bot's secrets.

Building a release runs code of other people: a package's build script, a compiler's wrapper. Its environment is made
from a list of names, so that a key which the supervisor was started with does not reach it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["build_environment", "is_name"]

_ALLOWED = (
    # who and where
    *(
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PATH",
        "PWD",
        "TMPDIR",
        "TEMP",
        "TMP",
        "LANG",
        "LANGUAGE",
        "LC_*",
        "TZ",
    ),
    *("TERM", "COLUMNS", "XDG_*"),
    # the way out
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ),
    *(
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "SSL_CLIENT_CERT",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "SSH_AUTH_SOCK",
    ),
    *("GIT_SSH", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"),
    # uv and compilers
    *(
        "UV_*",
        "CC",
        "CXX",
        "AR",
        "LD",
        "CFLAGS",
        "CXXFLAGS",
        "CPPFLAGS",
        "LDFLAGS",
        "MAKEFLAGS",
        "PKG_CONFIG_PATH",
    ),
    *(
        "LD_LIBRARY_PATH",
        "LIBRARY_PATH",
        "CPATH",
        "CUDA_HOME",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "SOURCE_DATE_EPOCH",
    ),
    *("CMAKE_*", "NIX_*"),
)
_NEVER = ("UV_PUBLISH_",)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")


def build_environment(ours: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """Those of our variables that a build sees; `more` are names to be added, or their beginnings with a `*` after."""
    allowed, begins = set[str](), set[str]()
    for name in (*_ALLOWED, *more):
        (begins if name.endswith("*") else allowed).add(name.removesuffix("*"))
    starts = tuple(begins)
    return {
        name: value
        for name, value in ours.items()
        if name in allowed or (name.startswith(starts) and (name in more or not name.startswith(_NEVER)))
    }


def is_name(text: str) -> bool:
    """Whether `text` is the name of a variable, or the beginning of one with a `*` after it."""
    return _NAME.fullmatch(text) is not None
