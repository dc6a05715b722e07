"""A matrix of whole-process tests: the usual cases run each time, the others only with `bin/test --deep`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import pytest

__all__ = ["cases"]

T = TypeVar("T")


def cases(every: Iterable[T], *usual: T) -> list[object]:
    """Arguments for `parametrize`: `every` case, with all but the `usual` ones marked deep."""
    given = list(every)
    if missing := [case for case in usual if case not in given]:
        raise ValueError(f"not in the matrix: {missing}")
    return [case if case in usual else pytest.param(case, marks=pytest.mark.deep) for case in given]
