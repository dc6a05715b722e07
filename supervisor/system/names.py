"""What a bot, a client key, a web token or a notification target may be called."""

from __future__ import annotations

import re

__all__ = ["NAME_RULE", "is_valid_name"]

NAME_RULE = "up to 64 letters, digits, dots, dashes and underscores"
"""For error messages. The first character is a letter or a digit."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_valid_name(text: str) -> bool:
    """Whether `text` follows the rule. It is then also safe as a file name."""
    return _NAME.fullmatch(text) is not None
