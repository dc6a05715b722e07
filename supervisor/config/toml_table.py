"""A table of a TOML file: typed access to its values, with errors that name the key and the fix."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, cast

from ...protocol import duration, size
from ...protocol.errors import NeverblinkError

__all__ = ["ConfigError", "TomlTable", "shown"]


class ConfigError(NeverblinkError):
    """The configuration is invalid. `path` is its file, `key` the dotted key, "" when it is not about one."""

    def __init__(self, path: Path, key: str, problem: str) -> None:
        super().__init__(f"{path}: {key}: {problem}" if key else f"{path}: {problem}")
        self.path = path
        self.key = key


class TomlTable:
    """The table with the dotted `prefix` in the file at `path`. Invalid values raise `ConfigError`."""

    def __init__(self, path: Path, prefix: str, values: dict[str, Any]) -> None:
        self.path = path
        self._prefix = prefix
        self._values = values

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self._values)

    def allow(self, *keys: str) -> None:
        for key in self._values:
            if key not in keys:
                near = difflib.get_close_matches(key.replace("-", "_").lower(), keys, n=1, cutoff=0.6)
                mend = f'did you mean "{near[0]}"?' if near else f"expected one of {', '.join(keys)}"
                raise self.error(key, f"there is no such key: {mend}")

    def error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(self.path, self._prefix + key, problem)

    def table(self, key: str, *, secret: bool = False) -> TomlTable:
        """The table `key`, empty when missing. Errors do not show a `secret` value."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            what = "not a table" if secret else shown(value)
            raise self.error(key, f"is {what}: expected a table, [{self._prefix}{key}]")
        return TomlTable(self.path, f"{self._prefix}{key}.", cast("dict[str, Any]", value))

    def is_text(self, key: str, text: str) -> bool:
        """Whether the value is this text."""
        return self._values.get(key) == text

    def is_table(self, key: str) -> bool:
        return isinstance(self._values.get(key), dict)

    def text(self, key: str) -> str | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"is {shown(value)}: expected a text in quotes")
        return value.strip()

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        value = self._values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.error(key, f"is {shown(value)}: expected a whole number from {least} to {most}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"is {shown(value)}: expected true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = cast("object", self._values.get(key, []))
        texts = list(cast("list[object]", value)) if isinstance(value, list) else [None]
        found = tuple(text for text in texts if isinstance(text, str) and text.strip())
        if len(found) != len(texts):
            raise self.error(
                key, f'is {shown(cast("object", value))}: expected a list of texts, as in ["bots.example"]'
            )
        return found

    def span(self, key: str, default: int) -> int:
        """A positive duration, ns."""
        value = self._values.get(key)
        if value is None:
            return default
        usual = duration.show(default)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise self.error(key, f'is {value}: expected a duration with its unit, in quotes, as "{usual}"')
        if not isinstance(value, str):
            raise self.error(key, f'is {shown(value)}: expected a duration, as "{usual}"')
        try:
            ns = duration.parse(value)
        except duration.DurationError as problem:
            raise self.error(key, problem.message) from None
        if ns <= 0:
            raise self.error(key, f'is "{value}": expected more than nothing, as "{usual}"')
        return ns

    def amount(self, key: str, default: int, least: int, most: int) -> int:
        """A size within bounds, bytes."""
        value = self._values.get(key)
        if value is None:
            return default
        usual = size.show(default)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise self.error(key, f'is {value}: expected a size with its unit, in quotes, as "{usual}"')
        if not isinstance(value, str):
            raise self.error(key, f'is {shown(value)}: expected a size, as "{usual}"')
        try:
            found = size.parse(value)
        except size.SizeError as problem:
            raise self.error(key, problem.message) from None
        if not least <= found <= most:
            raise self.error(key, f'is "{value}": expected {size.show(least)} to {size.show(most)}')
        return found


def shown(value: object) -> str:
    """A value of the file, short enough for a message."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
    return text if len(text) <= 64 else text[:64] + "…"
