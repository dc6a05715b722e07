"""Notifications with the real apprise, real processes, and a webhook and a mail server on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner, Result

from neverblink.protocol.events import DeploymentEnded
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.config.notify_settings import NotifyPace, NotifySettings, NotifyTarget
from neverblink.supervisor.notify.apprise_sender import SendResult, no_library
from neverblink.supervisor.notify.notifier import Notifier
from neverblink.supervisor.notify.queue import QueuedMessage
from neverblink.supervisor.notify.sender_process import SenderProcess
from neverblink.supervisor.system.process import alive, started_at

from ..supervisor_harness import SupervisorHarness
from .receivers import WITHIN, MailServer, Webhook, refused_port, wait_for

TEST = QueuedMessage("a title", "a text", "failure", 1, 0)


def play(scenario: Callable[[], Awaitable[object]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(WITHIN):
            await scenario()

    asyncio.run(within())


def ended(number: int, outcome: Any = "done") -> DeploymentEnded:
    return DeploymentEnded(
        bot="fox", at=number, deployment=number, outcome=outcome, reason="", leader="w1", release="v1"
    )


class LoggedNotifier:
    """A notifier with its log lines, which a test can wait for."""

    def __init__(self, *targets: NotifyTarget, pace: NotifyPace | None = None, **environment: str) -> None:
        self.log: list[str] = []
        self._stir = asyncio.Event()
        settings = NotifySettings(targets, pace or NotifyPace(burst=50))
        self.notifier = Notifier(settings, "fox", "den", {**os.environ, **environment}, self._say)

    async def wait_for_line(self, text: str) -> None:
        while True:
            self._stir.clear()
            if any(text in line for line in self.log):
                return
            await self._stir.wait()

    def _say(self, text: str) -> None:
        self.log.append(text)
        self._stir.set()


# --- one message


def test_a_message_arrives_by_webhook_and_by_mail() -> None:
    async def scenario() -> None:
        receipts: list[SendResult] = []
        done = asyncio.Event()

        def take(receipt: SendResult) -> None:
            receipts.append(receipt)
            done.set()

        with Webhook() as hook, MailServer() as mail:
            sender_process = SenderProcess(os.environ, take)
            for url in (hook.url, f"mailto://127.0.0.1:{mail.port}?from=fox@den.example&to=ops@den.example"):
                done.clear()
                sender_process.send(TEST, url)
                await done.wait()
            # Neither does the terminal's Ctrl-C reach it, nor would it care.
            assert os.getsid(sender_process.pid) == sender_process.pid
            os.kill(sender_process.pid, signal.SIGINT)
            await sender_process.close(TEST, hook.url, WITHIN)
            assert len(hook.messages) == 2
            assert receipts == [SendResult(True), SendResult(True)]
            message = hook.messages[0]
            assert (message["title"], message["message"], message["type"]) == ("a title", "a text", "failure")
            [letter] = mail.messages
            assert letter["subject"] == "a title"
            assert "a text" in letter["mail"]
            assert "ops@den.example" in letter["to"][0]

    play(scenario)


def test_a_hanging_target_times_out_and_its_process_ends() -> None:
    async def scenario() -> None:
        receipt: asyncio.Future[SendResult] = asyncio.get_running_loop().create_future()
        with Webhook(0) as hook:
            sender_process = SenderProcess(os.environ, receipt.set_result, within=1)
            # Longer than apprise itself would wait for an answer.
            sender_process.send(TEST, f"{hook.url}?rto=60")
            pid = sender_process.pid
            started = started_at(pid) or 0
            assert await receipt == SendResult(False, "no answer within 1 s")
            assert not alive(pid, started)
            assert sender_process.pid == 0
            await sender_process.close(None, "", WITHIN)

    play(scenario)


def test_a_sender_that_dies_or_cannot_start_counts_as_a_failed_attempt() -> None:
    async def scenario() -> None:
        for command, log in (
            ((sys.executable, "-c", "input(); raise SystemExit(3)"), "the sender ended with exit 3"),
            (("/none",), "nothing can be sent from here: No such file or directory"),
        ):
            receipt: asyncio.Future[SendResult] = asyncio.get_running_loop().create_future()
            sender_process = SenderProcess(os.environ, receipt.set_result, command=command)
            sender_process.send(TEST, "json://127.0.0.1")
            assert await receipt == SendResult(False, log)
            await sender_process.close(None, "", WITHIN)

    play(scenario)


def test_a_missing_apprise_or_an_unknown_url_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError('none here')")

    async def scenario() -> None:
        for environment, url, log in (
            ({"PYTHONPATH": str(tmp_path)}, "json://127.0.0.1", no_library()),
            ({}, "nothing://s3cret", "apprise does not know what to do with this URL (nothing)"),
        ):
            receipt: asyncio.Future[SendResult] = asyncio.get_running_loop().create_future()
            sender_process = SenderProcess({**os.environ, **environment}, receipt.set_result)
            sender_process.send(TEST, url)
            assert await receipt == SendResult(False, log, for_good=True)
            await sender_process.close(None, "", WITHIN)

    play(scenario)


def test_senders_finish_and_exit_when_the_supervisor_is_killed() -> None:
    # The pipe is all that a sender has of its supervisor: here it is closed while a message is on its way.
    async def scenario() -> None:
        with Webhook() as hook:
            sender_process = SenderProcess(os.environ, lambda _: None)
            sender_process.send(TEST, hook.url)
            pid, started = sender_process.pid, started_at(sender_process.pid) or 0
            await sender_process.close(TEST, hook.url, 0)
            messages = await asyncio.to_thread(hook.until, lambda messages: len(messages) == 2)
            assert len(messages) == 2
            await asyncio.to_thread(wait_for, lambda: not alive(pid, started))
            await asyncio.to_thread(os.waitpid, pid, 0)

    play(scenario)


# --- many, and those that fail


def test_a_failing_target_neither_delays_nor_loses_messages_to_the_others() -> None:
    async def scenario() -> None:
        with Webhook(0, 0, 0) as hangs, Webhook(500) as refuses, Webhook() as hook:
            logged = LoggedNotifier(
                NotifyTarget("hangs", url=f"{hangs.url}?rto=60"),
                NotifyTarget("refuses", url=refuses.url),
                NotifyTarget("unreachable", url=f"json://127.0.0.1:{refused_port()}"),
                NotifyTarget("fine", url=hook.url),
            )
            for number in range(1, 6):
                logged.notifier.note(ended(number))
            titles = [f"fox on den: deployment {number} done: v1 leads" for number in range(1, 6)]
            await asyncio.to_thread(hook.until, lambda _: hook.titles == titles)
            # What was refused is tried again, and nothing is lost or comes in another order.
            await asyncio.to_thread(refuses.until, lambda _: refuses.titles == titles)
            await logged.wait_for_line(
                "notify refuses: nothing arrives: Failed to send JSON POST notification: Internal server error"
            )
            await logged.wait_for_line("notify refuses: messages arrive again")
            await logged.wait_for_line("notify unreachable: nothing arrives: ")
            seen = {event.name: event for event in logged.notifier.seen}
            assert (seen["fine"].state, seen["fine"].sent) == ("ready", 5)
            assert (seen["unreachable"].state, seen["unreachable"].waiting) == ("failing", 5)
            assert "refused" in seen["unreachable"].reason
            # On a slow machine it may have been given up already, and be tried again.
            assert seen["hangs"].state in ("sending", "failing")
            assert (seen["hangs"].waiting, seen["hangs"].sent) == (5, 0)
            began = asyncio.get_running_loop().time()
            await logged.notifier.close()
            # Measured on the loop's own clock, which the closing must not hold up either.
            assert asyncio.get_running_loop().time() - began < WITHIN / 2

    play(scenario)


def test_a_message_is_retried_for_retry_for_and_then_reported_as_lost() -> None:
    async def scenario() -> None:
        logged = LoggedNotifier(
            NotifyTarget("unreachable", url="${MISSING}"), pace=NotifyPace(retry_for=1_500_000_000)
        )
        logged.notifier.note(ended(1))
        await logged.wait_for_line("notify unreachable: a message is lost: MISSING is not set")
        [seen] = logged.notifier.seen
        assert (seen.lost, seen.waiting, seen.sent) == (1, 0, 0)
        await logged.notifier.close()

    play(scenario)


def test_missing_apprise_is_reported_once_and_lost_messages_are_counted() -> None:
    async def scenario() -> None:
        log: list[str] = []
        settings = NotifySettings((NotifyTarget("a", url="json://127.0.0.1"),))
        notifier = Notifier(settings, "fox", "den", {}, log.append, can_send=lambda: False)
        for number in range(5):
            notifier.note(ended(number))
        await notifier.close()
        assert log == [f"notify a: nothing arrives: {no_library()}"]
        [seen] = notifier.seen
        assert (seen.state, seen.reason, seen.waiting, seen.lost) == ("failing", no_library(), 0, 5)

    play(scenario)


def test_a_secret_appears_in_no_output(tmp_path: Path) -> None:
    async def scenario() -> None:
        port = refused_port()
        logged = LoggedNotifier(
            NotifyTarget("a", url=f"json://anna:p4ssw0rd@127.0.0.1:{port}/t0ken?+X-Key=h1dden"),
            NotifyTarget("b", url="tgram://${TOKEN}/${MISSING}"),
            TOKEN="123456789:T0kenT0ken",
        )
        logged.notifier.note(ended(1))
        await logged.wait_for_line("notify a: nothing arrives")
        await logged.wait_for_line("notify b: nothing arrives: MISSING is not set in the environment")
        shown = "\n".join(logged.log) + msgspec.json.encode(logged.notifier.seen).decode()
        for secret in ("p4ssw0rd", "t0ken", "h1dden", "123456789", "T0kenT0ken"):
            assert secret not in shown
        assert [event.scheme for event in logged.notifier.seen] == ["json", ""]
        # Nor in what other users can see of a process.
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and int(process.name) != os.getpid():
                try:
                    words = (process / "cmdline").read_bytes()
                except OSError:
                    continue
                assert b"p4ssw0rd" not in words
        await logged.notifier.close()

    play(scenario)


# --- the supervisor, and the verb


def test_a_supervisor_sends_notifications_about_a_deployment_a_death_and_its_own_end(tmp_path: Path) -> None:
    harness = SupervisorHarness(tmp_path)
    # The sender has the lowest priority, so it is slow on a busy machine.
    harness.within = WITHIN
    code = harness.code("v1")
    with Webhook() as hook:
        (code / "hook.url").write_text(hook.url)
        with (code / "neverblink.toml").open("a") as file:
            file.write('[notify.targets.hook]\nurl_file = "hook.url"\n')

        async def scenario(harness: SupervisorHarness) -> None:
            await harness.running()
            await harness.deploy(harness.code("v2"))
            await asyncio.to_thread(hook.until, bool)
            status = await harness.running()
            [seen] = status["notify"]
            assert (seen["name"], seen["scheme"]) == ("hook", "json")
            os.kill(status["pid"], signal.SIGKILL)
            await asyncio.to_thread(hook.until, lambda messages: len(messages) == 2)

        assert harness.play(scenario, code) == 0
        messages = hook.until(lambda messages: len(messages) == 3)
    assert "deployment 1 done" in messages[0]["title"]
    assert messages[0]["title"].startswith("fox on ")
    assert "w2 died; w3 went on after " in messages[1]["title"]
    assert "killed by SIGKILL" in messages[1]["message"]
    assert "the supervisor is stopping" in messages[2]["title"]


def run(project: Path, *args: str) -> Result:
    return CliRunner().invoke(neverblink, ["notify", *args, "--project", str(project)])


def test_notify_test_reports_each_target(tmp_path: Path) -> None:
    toml = tmp_path / "neverblink.toml"
    toml.write_text('name = "fox"\nbot = "bot:Fox"\n')
    refused = run(tmp_path)
    assert refused.exit_code == Exit.BAD_INPUT
    assert "add [notify.targets.NAME] with a url or a url_file" in refused.stderr
    with Webhook() as hook:
        toml.write_text(
            f'name = "fox"\nbot = "bot:Fox"\n[notify.targets.hook]\nurl = "{hook.url}"\n'
            f'[notify.targets.unreachable]\nurl = "json://127.0.0.1:{refused_port()}/s3cret"\nevents = ["down"]\n'
            '[notify.targets.phone]\nurl = "${NOT_SET_ANYWHERE}"\n'
        )
        every = run(tmp_path, "test")
        assert every.exit_code == Exit.BROKEN
        assert hook.titles[0].startswith("fox on ")
    hooks, unreachables, phones = every.stdout.splitlines()
    assert hooks.startswith("✓  hook         json  arrived in ")
    assert unreachables.startswith("✗  unreachable  json  ")
    assert unreachables.endswith("Connection refused")
    assert phones.endswith("NOT_SET_ANYWHERE is not set in the environment")
    assert "s3cret" not in every.output
    one = run(tmp_path, "test", "phone", "--json")
    assert one.exit_code == Exit.BROKEN
    [found] = msgspec.json.decode(one.stdout)["targets"]
    assert (found["name"], found["arrived"]) == ("phone", False)
    listed = run(tmp_path)
    assert "unreachable  json  down" in listed.stdout
    assert "s3cret" not in listed.output
    unknown = run(tmp_path, "test", "office")
    assert unknown.exit_code == Exit.BAD_INPUT
    assert "expected one of hook, unreachable, phone" in unknown.stderr
    assert run(tmp_path, "list", "hook").exit_code == Exit.BAD_INPUT


def test_check_reports_targets_that_cannot_be_used(tmp_path: Path) -> None:
    toml = tmp_path / "neverblink.toml"
    head = f'name = "fox"\nbot = "bot:Fox"\npython = "{sys.executable}"\n'
    toml.write_text(f'{head}[notify.targets.phone]\nurl = "${{NOT_SET_ANYWHERE}}"\n')
    words = ["check", str(tmp_path), "--no-rehearsal", "--home", str(tmp_path / "home")]
    missing = CliRunner().invoke(neverblink, words).stdout
    assert "- notify     phone: NOT_SET_ANYWHERE is not set in the environment" in missing
    toml.write_text(f'{head}[notify.targets.phone]\nurl = "json://127.0.0.1/s3cret"\n')
    there = CliRunner().invoke(neverblink, words).stdout
    assert "✓ notify     phone: `neverblink notify test` sends a test message" in there
    assert "s3cret" not in there
    toml.write_text(
        f'{head}[notify.targets.office]\nurl = "${{NOT_SET_ANYWHERE}}"\n'
        '[notify.targets.phone]\nurl = "tgram://s3cret"\n[notify.targets.ops]\nurl = "carrier-pigeon://s3cret"\n'
    )
    useless = CliRunner().invoke(neverblink, words)
    assert useless.exit_code == Exit.BROKEN
    wrong = "apprise does not know what to do with this URL"
    assert (
        f"✗ notify     phone: {wrong} (tgram); ops: {wrong} (carrier-pigeon); office: NOT_SET_ANYWHERE is not set"
        in useless.stdout
    )
    assert "s3cret" not in useless.output
