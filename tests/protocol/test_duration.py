from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol import duration
from neverblink.protocol.duration import DurationError
from neverblink.protocol.errors import NeverblinkError

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0s", 0),
        ("250ms", 250_000_000),
        ("10s", 10 * SECOND),
        ("5m", 300 * SECOND),
        ("1h", 3600 * SECOND),
        ("1d", 86_400 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("1.5s", 1_500_000_000),
        ("1m2.5s", 62_500_000_000),
        ("-20s", -20 * SECOND),
        ("83.2ms", 83_200_000),
        ("7us", 7000),
        ("7µs", 7000),
        ("3ns", 3),
        (" 3s ", 3 * SECOND),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, ns: int) -> None:
    assert duration.parse(text) == ns


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1_500, "1.5us"),
        (250_000_000, "250ms"),
        (1_500_000_000, "1.5s"),
        (90 * SECOND, "1m30s"),
        (300 * SECOND, "5m"),
        (3600 * SECOND, "1h"),
        (86_400 * SECOND + 1, "1d0.000000001s"),
        (-20 * SECOND, "-20s"),
    ],
)
def test_a_duration_is_shown_in_its_shortest_form(ns: int, text: str) -> None:
    assert duration.show(ns) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("250", 'write its unit, as in "250s" or "250ms"'),
        ("", "write something like"),
        ("ten seconds", "write something like"),
        ("5 m", "write something like"),
        ("1e3s", "write something like"),
        ("--5s", "write something like"),
        ("30m1h", "longer units come first"),
        ("1s1s", "longer units come first"),
        ("1.5h30m", "only the last part may have a fraction"),
        ("0.5ns", "nothing is shorter than 1ns"),
        ("999999999d", "longer than 292 years"),
        ("٣s", "write something like"),
        ("1" * 5000 + "s", "write something like"),
    ],
)
def test_the_error_of_an_invalid_duration_names_the_fault_and_the_correction(text: str, why: str) -> None:
    with pytest.raises(DurationError) as caught:
        duration.parse(text)
    assert why in caught.value.message
    assert caught.value.value == text
    assert len(caught.value.message) < 200
    assert isinstance(caught.value, (NeverblinkError, ValueError))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (90, '90 is not a duration: write its unit, as in "90s" or "90ms"'),
        (-1.5, '-1.5 is not a duration: write its unit, as in "-1.5s" or "-1.5ms"'),
        (True, "True is not a duration: write something like"),
        (None, "None is not a duration: write something like"),
        (float("nan"), "nan is not a duration: write something like"),
        (b"5s", "b'5s' is not a duration: write something like"),
    ],
)
def test_a_value_that_is_not_text_is_refused_and_the_error_for_a_number_suggests_its_unit(
    value: object, message: str
) -> None:
    for read in (duration.parse, duration.of):
        with pytest.raises(DurationError) as caught:
            read(value)
        assert caught.value.message.startswith(message)


def test_a_timedelta_is_a_duration_where_code_computes_one() -> None:
    assert duration.of(timedelta(days=1, seconds=2, microseconds=3)) == 86_402 * SECOND + 3000
    assert duration.of(timedelta(seconds=-1.5)) == -1_500_000_000
    assert duration.of("90s") == 90 * SECOND


@given(st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1))
def test_a_shown_duration_reads_back_exactly(ns: int) -> None:
    assert duration.parse(duration.show(ns)) == ns


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (7, "7ns"),
        (505_779, "506us"),
        (999_600, "1ms"),
        (1_249_000_000, "1.25s"),
        (59_999_999_999, "60s"),
        (3_725_600_000_000, "1h2m6s"),
        (-505_779, "-506us"),
    ],
)
def test_a_duration_for_people_has_three_digits(ns: int, text: str) -> None:
    assert duration.about(ns) == text.replace("60s", "1m")


@given(st.text(alphabet="0123456789.-dhmsnuµ ", max_size=80))
def test_any_text_is_a_duration_or_one_error(text: str) -> None:
    try:
        ns = duration.parse(text)
    except DurationError:
        return
    assert duration.parse(duration.show(ns)) == ns
