"""What every test may use."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="renew the expected parts of tests/scenarios/*.txt from what happens now; review the diff",
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether to renew the expectations kept in files instead of comparing with them."""
    return bool(request.config.getoption("--rewrite"))
