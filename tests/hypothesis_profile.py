"""How many examples Hypothesis tries: all with `bin/test --deep`, a quarter in an ordinary run.

Each run draws new examples, so ordinary runs together try as many as a deep one.
"""

from __future__ import annotations

from hypothesis import settings

__all__ = ["examples", "use_profile"]

_ALL, _SOME = 100, 25

# How long an example takes depends on the machine and its load.
settings.register_profile("all", deadline=None, max_examples=_ALL)
settings.register_profile("some", deadline=None, max_examples=_SOME)


def use_profile(*, deep: bool) -> None:
    """Choose for this run; call it before the tests are imported."""
    settings.load_profile("all" if deep else "some")


def examples(count: int) -> int:
    """`max_examples` of a test that has `count` of them in a deep run."""
    return max(5, count * settings().max_examples // _ALL)
