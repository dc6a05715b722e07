"""Telling people: what is worth a note, what is sent of it and when, and what is shown of where. No process runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol import events
from neverblink.protocol.events import Outage, OutageChanged, WindowMissed
from neverblink.protocol.link import Doubt
from neverblink.supervisor.config.config import ConfigError, load
from neverblink.supervisor.config.notify_settings import (
    KINDS,
    USUAL,
    NotifyPace,
    NotifySettings,
    NotifyTarget,
)
from neverblink.supervisor.notify.messages import MOMENT, MessageWriter
from neverblink.supervisor.notify.queue import Note, NotifyQueue, QueuedMessage
from neverblink.supervisor.notify.secret_urls import Unresolved, redacted, scheme_of, url_of

S = 1_000_000_000
PACE = NotifyPace(burst=3, per=60 * S, retry_for=100 * S)


def ended(outcome: Any, **more: Any) -> events.DeploymentEnded:
    facts: dict[str, Any] = {"reason": "", "leader": "w2", "release": "v2", "deployment": 7}
    return events.DeploymentEnded(bot="fox", at=5, outcome=outcome, **{**facts, **more})


def leads(worker: str, cause: str = "") -> events.LeaderChanged:
    return events.LeaderChanged(bot="fox", at=5, worker=worker, release="v1", epoch=2, cause=cause, seq=1)


def slow(reason: str) -> events.Slow:
    return events.Slow(bot="fox", at=5, worker="w1", release="v1", reason=reason, lasts=1)


def note(title: str, **more: Any) -> Note:
    facts: dict[str, Any] = {"kinds": ("slow",), "level": "info", "text": "", "at": 1}
    return Note(title=title, **{**facts, **more})


# --- what is worth a note


def test_a_deployment_is_reported_when_it_ends() -> None:
    wording = MessageWriter("fox", "den")
    [done] = wording.of(ended("done", seq=41, blackout=210_000))
    assert (done.kinds, done.level) == (("deployed",), "success")
    assert done.title == "fox on den: deployment 7 done: v2 leads"
    assert done.text == "at tick 41, blackout 0.21 ms, 0 ticks missed"
    [aborted] = wording.of(ended("aborted", reason="it does not import", release="v1"))
    assert (aborted.kinds, aborted.level, aborted.text) == (("aborted",), "warning", "it does not import")
    [back] = wording.of(ended("rolled_back", reason="it crashed", missed=2))
    assert (back.kinds, back.level) == (("rolled-back", "missed"), "failure")
    assert "2 ticks missed" in back.text
    assert wording.of(ended("rehearsed")) == []


def test_a_feed_that_fails_or_is_stale_is_reported_once_and_when_it_runs_again() -> None:
    wording = MessageWriter("fox")

    def notes_of(state: Any, text: str = "") -> list[Note]:
        return wording.of(events.FeedChanged(bot="fox", at=5, feed="trades", state=state, text=text))

    assert notes_of("running") == []
    [stale] = notes_of("stale", "it has published nothing for 6 s")
    assert (stale.kinds, stale.level, stale.text) == (
        ("feed",),
        "warning",
        "it has published nothing for 6 s",
    )
    assert "feed trades" in stale.title
    assert notes_of("failed") == []
    [over] = notes_of("running")
    assert (over.kinds, over.level) == (("feed",), "success")
    assert notes_of("fresh") == notes_of("ended") == []


def test_an_outage_is_reported_when_it_is_over() -> None:
    wording = MessageWriter("fox")
    outage = Outage(3, since=S, worker="w1", cause="killed by SIGKILL")

    def notes_of(**more: Any) -> list[Note]:
        changed = msgspec.structs.replace(outage, **more)
        return wording.of(OutageChanged(bot="fox", at=9 * S, outage=changed))

    assert notes_of() == notes_of(successor="w2", epoch=4) == []
    over = {"successor": "w2", "until": 3 * S}
    [note] = notes_of(**over)
    assert (note.kinds, note.level) == (("failover",), "warning")
    assert note.title == "fox: w1 died; w2 went on after 2s, no tick missed"
    assert note.text == "worker w1 died: killed by SIGKILL"
    [worse] = notes_of(
        **over, missed=2, windows=(WindowMissed("5m", 1, 1, 2),), in_doubt=(Doubt("1-2-3", "enter", 1),)
    )
    assert (worse.kinds, worse.level) == (("failover", "missed"), "failure")
    assert "2 ticks missed, window 5m missed, decision enter (1-2-3) in doubt" in worse.title
    # The cause may come a moment later: then it is one message all the same.
    assert worse.key == note.key
    assert notes_of(**over, acknowledged=5) == []


def test_a_lasting_lack_of_a_leader_is_reported_and_so_is_its_end() -> None:
    wording, outbox = MessageWriter("fox"), NotifyQueue("fox", PACE)
    for event in (leads("", "w1 ended"), leads("w2")):
        for each in wording.of(event):
            outbox.put(each, 0)
    assert outbox.take(MOMENT * 2) is None
    for each in wording.of(leads("", "w2 ended")):
        outbox.put(each, 0)
    for each in wording.of(leads("", "it died 6 times in a row")):
        outbox.put(each, S)
    assert outbox.take(MOMENT - 1) is None
    down = outbox.take(MOMENT)
    assert down is not None
    assert down.title == "fox: the bot is down: no worker leads"
    assert down.text == "it died 6 times in a row"
    outbox.arrived(MOMENT)
    for each in wording.of(leads("w9")):
        outbox.put(each, MOMENT)
    again = outbox.take(MOMENT)
    assert again is not None
    assert again.title == "fox: w9 leads again: release v1"
    assert wording.of(leads("w10")) == []


def test_a_stopped_bot_is_not_reported_as_down() -> None:
    wording = MessageWriter("fox")
    [stops] = wording.of(events.SupervisorStopping(bot="fox", at=1, reason="down by anna"))
    assert (stops.kinds, stops.text) == (("supervisor",), "down by anna")
    assert wording.of(leads("", "stopped")) == []


def test_a_leader_that_stays_slow_is_reported() -> None:
    wording, outbox = MessageWriter("fox"), NotifyQueue("fox", PACE)
    for event in (slow("stopped"), slow(""), slow(""), slow("computes")):
        for each in wording.of(event):
            outbox.put(each, 0)
    one = outbox.take(MOMENT)
    assert one is not None
    assert (one.title, one.text) == ("fox: w1, which leads, is slow", "computes")
    outbox.arrived(MOMENT)
    assert outbox.next_at(MOMENT) is None


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (events.JournalChanged(bot="fox", at=1, worker="w1", release="v1", state="failing", text="full", segment=1),
         "journal"),
        (events.StandbyChanged(bot="fox", at=1, worker="", release="v1", state="failing", reason=""), "standby"),
        (events.SupervisorStarted(bot="fox", at=1, pid=1, version="1", found="alive"), "supervisor"),
        (events.SupervisorStarted(bot="fox", at=1, pid=1, version="1", found="dead"), "supervisor"),
        (events.Commanded(bot="fox", at=1, op="halt", who="anna", why="w", outcome="ok"), "halt"),
        (events.Commanded(bot="fox", at=1, op="settings", who="anna", why="", outcome="ok", detail="x=1"), "settings"),
        (events.Commanded(bot="fox", at=1, op="pause", who="anna", why="", outcome="ok"), "pause"),
        (events.Commanded(bot="fox", at=1, op="unlock", who="anna", why="", outcome="ok"), "lock"),
        (events.Commanded(bot="fox", at=1, op="halt", who="anna", why="", outcome="bad-input"), None),
        (events.Commanded(bot="fox", at=1, op="status", who="anna", why="", outcome="ok"), None),
        (events.SupervisorStarted(bot="fox", at=1, pid=1, version="1", found="new"), None),
        (events.StandbyChanged(bot="fox", at=1, worker="w1", release="v1", state="ready", reason=""), None),
        (events.WorkerStarted(bot="fox", at=1, worker="w1", release="v1", pid=1), None),
    ],
)  # fmt: skip
def test_each_kind_of_event_has_its_message(event: events.Event, kind: str | None) -> None:
    notes = MessageWriter("fox").of(event)
    assert [item.kinds for item in notes] == ([(kind,)] if kind else [])
    assert all(item.title.startswith("fox: ") for item in notes)


# --- what is sent, and when


def titles(outbox: NotifyQueue, now: int) -> list[str]:
    """Everything due by `now`, all of it delivered."""
    found: list[str] = []
    while (message := outbox.take(now)) is not None:
        found.append(message.title)
        outbox.arrived(now)
    return found


def test_a_burst_is_sent_one_by_one_and_the_rest_as_one_message() -> None:
    outbox = NotifyQueue("fox", PACE)
    for number in range(2):
        outbox.put(note(f"n{number}"), 0)
    assert titles(outbox, 0) == ["n0", "n1"]
    for number in range(2, 17):
        outbox.put(note(f"n{number}", level="failure" if number == 9 else "info"), S)
    summary = outbox.take(S)
    assert summary is not None
    assert (summary.title, summary.notes, summary.level) == ("fox: 15 messages in one", 15, "failure")
    lines = summary.text.splitlines()
    assert lines[0] == "• n9"
    assert lines[-1] == "and 7 more of slow (7)"
    outbox.arrived(S)
    outbox.put(note("late"), 2 * S)
    assert outbox.take(2 * S) is None
    # The two of the beginning have had their minute.
    assert outbox.next_at(2 * S) == 60 * S
    assert titles(outbox, 60 * S) == ["late"]
    assert (outbox.sent, outbox.lost, outbox.waiting) == (18, 0, 0)


def test_a_failing_message_is_retried_with_growing_pauses_and_finally_lost() -> None:
    outbox = NotifyQueue("fox", PACE)
    outbox.put(note("one"), 0)
    outbox.put(note("two"), 0)
    now, tries = 0, [0]
    while True:
        message = outbox.take(now)
        assert message is not None
        assert message.title == "one"
        assert outbox.take(now) is None
        if outbox.failed(now):
            break
        again = outbox.next_at(now)
        assert again is not None
        assert outbox.take(again - 1) is None
        now = again
        tries.append(now // S)
    assert tries == [0, 1, 3, 8, 23, 53]
    assert (outbox.sent, outbox.lost, outbox.waiting) == (0, 1, 1)
    # It has not kept the next one, which is tried at least once, however old it is.
    assert titles(outbox, 200 * S) == ["two"]


def test_a_message_that_can_never_arrive_is_not_retried() -> None:
    outbox = NotifyQueue("fox", PACE)
    outbox.put(note("one"), 0)
    assert outbox.take(0) is not None
    assert outbox.failed(0, for_good=True)
    assert (outbox.lost, outbox.next_at(0)) == (1, None)


def test_the_queue_is_bounded_and_reports_dropped_messages() -> None:
    outbox = NotifyQueue("fox", PACE)
    for number in range(250):
        outbox.put(note(f"n{number}"), 0)
    assert outbox.waiting == 200
    message = outbox.take(0)
    assert message is not None
    assert message.title == "n50"
    assert message.text == "50 earlier ones were dropped: too many at once"
    assert outbox.lost == 50


def test_at_the_end_the_remaining_messages_are_sent_as_one() -> None:
    outbox = NotifyQueue("fox", PACE)
    assert outbox.rest() is None
    outbox.put(note("failed"), 0)
    assert outbox.take(0) is not None
    outbox.put(note("held", hold=50 * S), 0)
    assert outbox.rest() == QueuedMessage("held", "", "info", 1, 0)
    outbox.failed(0)
    outbox.put(note("held", hold=50 * S), 0)
    both = outbox.rest()
    assert both is not None
    assert both.notes == 2
    assert both.text.splitlines() == ["• failed", "• held"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 3), st.integers(0, 5)),
            st.tuples(st.just("take"), st.booleans(), st.integers(1, 90)),
        ),
        max_size=60,
    )
)
def test_every_message_arrives_waits_or_is_counted_as_lost_within_the_rate_limit(
    steps: list[tuple[str, int, int]],
) -> None:
    outbox = NotifyQueue("fox", PACE)
    now = put = 0
    sent: list[int] = []
    for what, first, second in steps:
        if what == "put":
            outbox.put(note(str(put), hold=first * S), now)
            put += 1
            continue
        now += second * S
        if outbox.take(now) is not None:
            if first:
                outbox.arrived(now)
                sent.append(now)
            else:
                outbox.failed(now)
    assert outbox.sent + outbox.waiting + outbox.lost == put
    for index, at in enumerate(sent[PACE.burst :]):
        assert at - sent[index] >= PACE.per


# --- where, and what is shown of it


def test_a_url_comes_from_the_file_the_environment_or_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "mail.url"
    file.write_text("# where the mail goes\n\nmailto://${USER_NAME}:pw@mail.example\n")
    assert url_of(NotifyTarget("a", url="json://host/"), {}) == "json://host/"
    assert url_of(NotifyTarget("a", url="tgram://${T}/${C}"), {"T": "1:a", "C": "5"}) == "tgram://1:a/5"
    assert (
        url_of(NotifyTarget("a", url_file=str(file)), {"USER_NAME": "anna"})
        == "mailto://anna:pw@mail.example"
    )
    file.write_text("json://other/")
    assert url_of(NotifyTarget("a", url_file=str(file)), {}) == "json://other/"


@pytest.mark.parametrize(
    ("url", "text", "problem"),
    [
        ("tgram://${T}/5", "", "T is not set in the environment"),
        ("", "", "has no URL in it: expected one line"),
        ("", "json://secret1\njson://secret2\n", "has 2 URLs in it: expected one line"),
        ("", "x" * 20_000, "longer than any URL"),
    ],
)
def test_a_missing_url_is_reported_without_a_secret(
    tmp_path: Path, url: str, text: str, problem: str
) -> None:
    file = tmp_path / "f"
    file.write_text(text)
    with pytest.raises(Unresolved) as caught:
        url_of(NotifyTarget("a", url=url, url_file="" if url else str(file)), {})
    assert problem in caught.value.message
    assert "secret" not in caught.value.message
    with pytest.raises(Unresolved, match="can't be read: No such file"):
        url_of(NotifyTarget("a", url_file=str(tmp_path / "none")), {})


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("tgram://123456:AbCdEf/-1002003", ["123456", "AbCdEf", "-1002003"]),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", ["4174216298", "JHMHI8qBe7bk2ZwO5U711o3dV_js"]),
        ("mailtos://anna:p%40ssword@mail.example?to=ops@example.org", ["p%40ssword", "p@ssword", "ops@example.org"]),
        ("json://host.example/hook/tok3n?+X-Key=hidd3n", ["tok3n", "hidd3n"]),
        ("slack://TokenA123/TokenB123/TokenC123/#ops", ["TokenA123", "TokenB123", "TokenC123"]),
    ],
)  # fmt: skip
def test_no_part_of_a_url_that_could_be_secret_is_shown(url: str, secrets: list[str]) -> None:
    text = f"failed: {url} and https://api.example/{'/'.join(secrets)}/send"
    shown = redacted(text, url)
    assert not [secret for secret in secrets if secret in shown]
    assert scheme_of(url) == url.split(":")[0]
    assert "host.example" in redacted("no route to host.example", "json://host.example/hook")


# --- the configuration


def config(tmp_path: Path, text: str) -> NotifySettings:
    (tmp_path / "neverblink.toml").write_text(f'name = "fox"\nbot = "bot:Fox"\n{text}')
    return load(tmp_path).notify


def test_targets_are_read_from_the_configuration(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        '[notify]\nburst = 2\nper = "10s"\nevents = ["down", "missed"]\n'
        '[notify.targets.phone]\nurl = "tgram://${T}/5"\n'
        '[notify.targets.office]\nurl_file = "office.url"\nevents = ["slow"]\n',
    )
    phone, office = settings.targets
    assert (phone.name, phone.url, phone.events) == ("phone", "tgram://${T}/5", ("down", "missed"))
    assert (office.url_file, office.events) == (str(tmp_path / "office.url"), ("slow",))
    assert settings.pace == NotifyPace(burst=2, per=10 * S)
    assert phone.wants(("failover", "missed"))
    assert not office.wants(("failover", "missed"))
    assert config(tmp_path, "") == NotifySettings()
    [usual] = config(tmp_path, '[notify.targets.a]\nurl = "json://x"\n').targets
    assert set(usual.events) == set(USUAL) == set(KINDS) - {"pause", "lock"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[notify]\ntarget = 1\n', 'notify.target: there is no such key: did you mean "targets"?'),
        ('[notify]\nevents = ["failovr"]\n',
         'notify.events: unknown event "failovr": did you mean "failover"?'),
        ('[notify]\nevents = []\n', "notify.events: is empty"),
        ('[notify]\nburst = 0\n', "notify.burst: is 0: expected a whole number from 1"),
        ('[notify.targets.a]\n', "notify.targets.a: has no address: add url or url_file"),
        ('[notify.targets.a]\nurl = "json://s3cret"\nurl_file = "x"\n', "notify.targets.a: has both url and url_file"),
        ('[notify.targets.a]\nurl = "s3cret"\n', "notify.targets.a.url: is not a URL that apprise knows"),
        ('[notify.targets.a]\nurl = ["s3cret"]\n', "notify.targets.a.url: is a list: expected a text"),
        ('[notify.targets."a b"]\nurl = "json://s3cret"\n', "notify.targets.a b: is not a valid name"),
        ('[notify]\ntargets = "s3cret"\n', "notify.targets: is not a table: expected a table, [notify.targets]"),
        ('[notify.targets]\na = "s3cret"\n', "notify.targets.a: is not a table: expected a table, [notify.targets.a]"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_key_and_the_remedy_and_without_the_secret(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, text)
    assert problem in caught.value.message
    assert "s3cret" not in caught.value.message
