from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.window import Span, Window, WindowError, WindowSpec, first_open

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NEW_YORK = "America/New_York"
OFFSETS = ["0s", "1s", "20s", "150s", "299s", "300s", "-1s", "-20s", "-150s", "-300s"]
ZONES = [
    NEW_YORK,
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Kathmandu",
    "Africa/Casablanca",
]


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(local.timestamp()) * SECOND


def clock(t: int, zone: str) -> str:
    return datetime.fromtimestamp(t // SECOND, UTC).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M:%S %Z")


def valid_windows() -> list[Window]:
    found: list[Window] = []
    for opens in OFFSETS:
        for closes in OFFSETS:
            try:
                found.append(Window("5m", opens=opens, closes=closes))
            except WindowError:
                continue
    return found


windows = st.sampled_from(valid_windows())
times = st.integers(-(10**18), 4 * 10**18)


def test_a_window_at_the_end_of_each_five_minutes() -> None:
    window = Window("5m", opens="-20s", closes="-5s")
    begin = at("2026-03-01T12:00:00")
    assert window.next(begin) == Span(begin + 280 * SECOND, begin + 295 * SECOND)
    assert not window.open_at(begin + 280 * SECOND - 1)
    assert window.open_at(begin + 280 * SECOND)
    assert window.open_at(begin + 295 * SECOND - 1)
    assert not window.open_at(begin + 295 * SECOND)
    assert window.next(begin + 290 * SECOND).opens == begin + 280 * SECOND
    assert window.next(begin + 295 * SECOND).opens == begin + 580 * SECOND


@pytest.mark.parametrize(
    ("opens", "closes", "first", "length"),
    [
        ("0s", "10s", 0, 10),
        ("10s", "-10s", 10, 280),
        ("-20s", "290s", 280, 10),
        ("-20s", "5m", 280, 20),
        ("-20s", "0s", 280, 20),
        ("-20s", "10s", 280, 30),
        ("-5m", "1s", 0, 1),
    ],
)
def test_how_offsets_are_read(opens: str, closes: str, first: int, length: int) -> None:
    span = Window("5m", opens=opens, closes=closes).next(0)
    assert (span.opens % (5 * MINUTE), span.closes - span.opens) == (first * SECOND, length * SECOND)


@pytest.mark.parametrize(
    ("period", "opens", "closes", "zone", "field", "words"),
    [
        ("5m", "-5s", "-20s", None, "closes", "does not come after"),
        ("5m", "20s", "10s", None, "closes", "does not come after"),
        ("5m", "20s", "20s", None, "closes", "does not come after"),
        ("5m", "0s", "5m", None, "closes", "whole period"),
        ("5m", "-20s", "280s", None, "closes", "whole period"),
        ("5m", "-6m", "-5s", None, "opens", "outside its period of 5m"),
        ("5m", "0s", "310s", None, "closes", "outside its period of 5m"),
        ("5m", "5m", "1s", None, "opens", 'write "0s"'),
        ("0s", "0s", "1s", None, "period", "is not a duration above zero"),
        ("5 parsecs", "0s", "1s", None, "period", "5 parsecs"),
        ("5m", "soon", "1s", None, "opens", "soon"),
        ("5m", "-20s", "-", None, "closes", 'closes="-" is not a duration'),
        ("5m", "--20s", "-5s", None, "opens", "opens='--20s'"),
        ("-5m", "-20s", "-5s", None, "period", "period='-5m'"),
        ("5m", "-20s", "-5s", "Europe/Berlin", "zone", 'needs the period "1d"'),
        ("1d", "9h", "16h", "Europe/Berln", "zone", "Europe/Berln"),
        ("1d", "9h", "16h", "", "zone", "not known"),
        ("1d", "9h", "16h", "../../etc/passwd", "zone", "not known"),
    ],
)
def test_the_error_of_an_invalid_window_names_the_value_and_the_correction(
    period: str, opens: str, closes: str, zone: str | None, field: str, words: str
) -> None:
    with pytest.raises(WindowError) as caught:
        Window(period, opens=opens, closes=closes, zone=zone)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert isinstance(caught.value, NeverblinkError)


@given(windows, times)
def test_next_and_open_at_agree(window: Window, t: int) -> None:
    span = window.next(t)
    assert span.closes > t
    assert span.closes - span.opens < 5 * MINUTE
    assert window.open_at(t) == (t in span)
    assert window.next(span.opens) == span
    assert not window.open_at(span.closes)


@given(windows, times, st.integers(0, 40 * MINUTE))
def test_spans_are_those_that_overlap_the_range(window: Window, a: int, length: int) -> None:
    b = a + length
    found = list(window.spans(a, b))
    assert all(span.closes > a and span.opens < b for span in found)
    assert all(one.closes <= two.opens for one, two in pairwise(found))
    period, first = 5 * MINUTE, window.next(0)
    begin = a // period - 2
    every = [
        Span(first.opens + k * period, first.closes + k * period)
        for k in range(begin, begin + length // period + 6)
    ]
    assert found == [span for span in every if span.closes > a and span.opens < b]


@given(windows, times)
def test_windows_without_a_zone_do_not_depend_on_the_day(window: Window, t: int) -> None:
    day = 24 * HOUR
    span = window.next(t)
    assert window.next(t + day) == Span(span.opens + day, span.closes + day)


def test_a_day_without_a_zone_is_a_utc_day() -> None:
    window = Window("1d", opens="-1h", closes="-30m")
    assert window.next(at("2026-03-29T00:00:00")) == Span(
        at("2026-03-29T23:00:00"), at("2026-03-29T23:30:00")
    )


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-07", 24), ("2026-03-08", 23), ("2026-11-01", 25), ("2026-11-02", 24)]
)
def test_a_local_window_keeps_its_local_hours(day: str, hours: int) -> None:
    window = Window("1d", opens="9h30m", closes="16h", zone=NEW_YORK)
    span = window.next(at(f"{day}T00:00:00", NEW_YORK))
    assert span == Span(at(f"{day}T09:30:00", NEW_YORK), at(f"{day}T16:00:00", NEW_YORK))
    late = Window("1d", opens="-20s", closes="-5s", zone=NEW_YORK).next(at(f"{day}T00:00:00", NEW_YORK))
    assert late.opens == at(f"{day}T00:00:00", NEW_YORK) + hours * HOUR - 20 * SECOND


def test_a_window_across_midnight_in_a_zone() -> None:
    window = Window("1d", opens="-10s", closes="10s", zone=NEW_YORK)
    midnight = at("2026-03-09T00:00:00", NEW_YORK)
    assert window.next(midnight) == Span(midnight - 10 * SECOND, midnight + 10 * SECOND)
    assert window.open_at(midnight - 1)
    assert window.open_at(midnight)


def test_a_repeated_hour_belongs_to_the_window_both_times() -> None:
    window = Window("1d", opens="1h10m", closes="1h50m", zone=NEW_YORK)
    span = window.next(at("2026-11-01T00:00:00", NEW_YORK))
    assert span.opens == at("2026-11-01T01:10:00", NEW_YORK, fold=0)
    assert span.closes == at("2026-11-01T01:50:00", NEW_YORK, fold=1)


def test_skipped_local_times_are_the_time_of_the_skip() -> None:
    skip = at("2026-03-08T03:00:00", NEW_YORK)
    midnight = at("2026-03-08T00:00:00", NEW_YORK)
    into = Window("1d", opens="1h50m", closes="2h30m", zone=NEW_YORK).next(midnight)
    assert into == Span(at("2026-03-08T01:50:00", NEW_YORK), skip)
    out = Window("1d", opens="2h30m", closes="3h10m", zone=NEW_YORK).next(midnight)
    assert out == Span(skip, at("2026-03-08T03:10:00", NEW_YORK))


def test_a_window_in_skipped_time_does_not_occur_that_day() -> None:
    window = Window("1d", opens="2h10m", closes="2h50m", zone=NEW_YORK)
    assert clock(window.next(at("2026-03-08T00:00:00", NEW_YORK)).opens, NEW_YORK) == "03-09 02:10:00 EDT"


def test_a_day_that_a_zone_skips_has_no_window() -> None:
    # Samoa crossed the date line: there was no 30 December 2011.
    window = Window("1d", opens="9h", closes="10h", zone="Pacific/Apia")
    days = [
        datetime.fromtimestamp(span.opens // SECOND, ZoneInfo("Pacific/Apia")).day
        for span in islice(window.spans(at("2011-12-28T00:00:00"), at("2012-01-02T00:00:00")), 4)
    ]
    assert days == [28, 29, 31, 1]


@given(
    st.sampled_from(ZONES),
    st.integers(at("1990-01-01T00:00:00"), at("2037-01-01T00:00:00")),
    st.integers(0, 86_399),
    st.integers(1, 86_399),
)
def test_local_spans_are_ordered_and_agree_with_open_at(zone: str, t: int, first: int, length: int) -> None:
    last = first + length
    closes = f"{last - 86_400}s" if last >= 86_400 else f"{last}s"
    window = Window("1d", opens=f"-{86_400 - first}s", closes=closes, zone=zone)
    found = list(window.spans(t, t + 4 * 24 * HOUR))
    assert 3 <= len(found) <= 6
    assert all(one.closes <= two.opens for one, two in pairwise(found))
    fresh = Window.of(window.spec)
    for span in found:
        assert span.opens < span.closes
        for moment in (span.opens, span.closes - 1):
            if moment >= t:
                assert window.open_at(moment)
                assert fresh.open_at(moment)
        assert fresh.next(span.closes - 1) == span


@given(st.sampled_from(ZONES), st.lists(st.integers(at("2020-01-01T00:00:00"), at("2030-01-01T00:00:00"))))
def test_earlier_queries_do_not_change_the_result(zone: str, moments: list[int]) -> None:
    window = Window("1d", opens="9h30m", closes="16h", zone=zone)
    for t in moments:
        assert window.next(t) == Window.of(window.spec).next(t)


def test_a_window_is_sent_as_plain_data() -> None:
    window = Window("1d", opens="9h", closes="17h", protected=False, zone="Europe/Berlin")
    data = msgspec.msgpack.encode(window.spec)
    assert msgspec.msgpack.decode(data)["opens"] == "9h"
    assert Window.of(msgspec.msgpack.decode(data, type=WindowSpec)) == window
    assert hash(Window.of(window.spec)) == hash(window)


def test_a_windows_default_name_is_made_of_its_durations() -> None:
    assert Window("5m", opens="-20s", closes="-5s").name == "5m -20s..-5s"
    assert Window("5m", opens="-20s", closes="-5s", name="snipe").name == "snipe"
    assert "opens='-20s'" in repr(Window("5m", opens="-20s", closes="-5s"))


def test_only_protected_windows_delay_a_handoff() -> None:
    free = Window("1m", opens="0s", closes="30s", protected=False)
    held = Window("1m", opens="0s", closes="10s")
    assert first_open([free, held], 5 * SECOND) is held
    assert first_open([free, held], 15 * SECOND) is None
    assert first_open([free, held], 15 * SECOND, protected=False) is free
