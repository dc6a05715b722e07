from __future__ import annotations

import re
import threading
from pathlib import Path

import msgspec
import pytest
import zmq

from neverblink.protocol.commands import (
    Answer,
    Command,
    Down,
    Fault,
    Pause,
    Send,
    Status,
    encode_answer,
)
from neverblink.protocol.events import SupervisorStopping
from neverblink.supervisor.api.client import Client, CommandFault, Unreachable
from neverblink.supervisor.sockets.supervisor_connection import InHome
from neverblink.supervisor.store.state_dir import Home

from ..fake_supervisor import FakeSupervisor, Silence


def test_a_request_is_answered(tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path, {"status": {"bot": "foresight"}}), Client(Home(tmp_path)) as client:
        assert client.ask(Status()) == {"bot": "foresight"}
        assert client.ask(Status()) == {"bot": "foresight"}


def test_a_request_contains_its_user(tmp_path: Path) -> None:
    with (
        FakeSupervisor(tmp_path, {"pause": {}}) as supervisor,
        Client(Home(tmp_path), who="anna@desk") as client,
    ):
        client.ask(Pause(why="news"))
        assert [(command.who, command.why) for command in supervisor.asked] == [("anna@desk", "news")]


def test_a_refusal_has_its_fault(tmp_path: Path) -> None:
    fault = Fault("locked", "locked by anna: release freeze", {"who": "anna"})
    with FakeSupervisor(tmp_path, {"pause": fault}), Client(Home(tmp_path)) as client:
        with pytest.raises(CommandFault, match="release freeze") as caught:
            client.ask(Pause())
        assert caught.value.fault == fault


def test_a_missing_supervisor_is_detected_at_once_and_reported_with_the_remedy(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with Client(home) as client:
        with pytest.raises(
            Unreachable,
            match=re.escape(f"{home.path}: no supervisor runs here: start it with `neverblink up`"),
        ):
            client.ask(Status(), within=3600)
        with pytest.raises(Unreachable):
            client.events()
    with Client(Home(tmp_path / "none")) as client, pytest.raises(Unreachable, match="no such home"):
        client.ask(Status())


def test_a_request_to_a_silent_supervisor_times_out(tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path, {"status": Silence}), Client(Home(tmp_path)) as client:
        with pytest.raises(Unreachable, match=r"has not answered in 0\.1s.*the bot goes on") as caught:
            client.ask(Status(), within=0.1)
        assert caught.value.pid > 0


def test_a_late_answer_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    answers = iter([Silence, {"value": 2}])

    def reply(command: Command) -> object:
        return next(answers)

    with FakeSupervisor(tmp_path, {"send": reply}), Client(Home(tmp_path)) as client:
        with pytest.raises(Unreachable):
            client.ask(Send(name="one"), within=0.1)
        assert client.ask(Send(name="two")) == {"value": 2}


def test_the_end_of_a_supervisor_during_a_request_is_detected_before_the_time_out(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    claim = home.claim("foresight")
    with Client(home) as client:
        claim.drop()
        with pytest.raises(Unreachable, match="no supervisor runs here"):
            client.ask(Status(), within=3600)


def test_an_answer_sent_just_before_the_end_of_the_supervisor_is_not_lost(tmp_path: Path) -> None:
    context = zmq.Context[zmq.Socket[bytes]]()
    answers = context.socket(zmq.ROUTER)
    answers.bind(f"ipc://{tmp_path}/answers")

    class Ending(InHome):
        """Answers and ends between two looks of the client's."""

        def supervisor(self) -> int:
            if not answers.poll(0):
                return 1
            who, asked = answers.recv_multipart()
            id = msgspec.json.decode(asked)["id"]
            answers.send_multipart([who, encode_answer(Answer(id, "ok", result={"stopped": True}))])
            raise Unreachable("home", "no supervisor runs here")

        def connect(self, socket: zmq.Socket[bytes], name: str) -> None:
            socket.connect(f"ipc://{tmp_path}/answers")

    with Client(Ending(Home(tmp_path))) as client:
        assert client.ask(Down()) == {"stopped": True}
    context.destroy(linger=0)


def test_the_end_of_a_supervisor_can_be_waited_for(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    claim = home.claim("foresight")
    with Client(home) as client:
        assert not client.wait_gone(0.0)
        leaving = threading.Timer(0.1, claim.drop)
        leaving.start()
        assert client.wait_gone(3600)
        assert home.owner() is None
        leaving.join()
        assert client.wait_gone(3600)


def test_events_after_a_subscription_arrive(tmp_path: Path) -> None:
    event = SupervisorStopping(bot="foresight", at=1, reason="because")
    script = FakeSupervisor(tmp_path, {"pause": {}}, {"pause": lambda _: [event]})
    with script, Client(Home(tmp_path)) as client, client.events() as events:
        client.ask(Pause())
        assert events.next(10) == event
        assert events.next(0) is None


def test_a_home_with_a_long_path_can_be_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    event = SupervisorStopping(bot="foresight", at=1, reason="because")
    script = FakeSupervisor(deep, {"pause": {}}, {"pause": lambda _: [event]})
    with script, Client(Home(deep)) as client, client.events() as events:
        client.ask(Pause())
        assert events.next(10) == event
