"""The environment variables of a build: those that tools need, and none of the bot's secrets.

Building a release runs third-party code: a package's build script, a compiler's wrapper. Its environment is made from
an allow list, so that a key in the supervisor's environment does not reach it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["build_environment", "is_name"]

_ALLOWED = (
    # user and locale
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
    # network
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
    """The variables of `ours` that a build gets; `more` adds names, or prefixes followed by `*`."""
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
    """Whether `text` is the name of a variable, or a prefix followed by `*`."""
    return _NAME.fullmatch(text) is not None
