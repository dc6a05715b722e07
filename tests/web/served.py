"""A live bot with its web process, and a plain HTTP client for it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from neverblink.supervisor.web.tokens import ROLES, Tokens
from tests.ports import HOST, free_port
from tests.whole.bots import bot
from tests.whole.live import WITHIN, Live

__all__ = ["HttpAnswer", "Served"]

SOURCE = bot(tick="50ms")


class HttpAnswer(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of the error."""
        return self.json["error"]["code"]


class Served:
    """`live` with a web process, and a token for each role. Start it with `up`."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.port = free_port()
        self.tokens: dict[str, str] = {}
        for role in ROLES:
            live.home.mkdir(mode=0o700, exist_ok=True)
            self.tokens[role] = Tokens(live.home / "tokens").add(f"a-{role}", role)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def code(self, name: str, source: str = SOURCE, **how: Any) -> Path:
        """As `Live.code`, with a web page."""
        place = self.live.code(name, source, **how)
        with (place / "neverblink.toml").open("a") as file:
            file.write(f'[web]\nlisten = "{HOST}:{self.port}"\n')
        return place

    def up(self, code: Path) -> None:
        self.live.up(code)
        self.answers()

    def answers(self) -> None:
        """Wait until the web process listens. Nothing tells of that from outside, so it is tried again and again."""
        until = time.monotonic() + WITHIN
        while True:
            try:
                assert self.ask("GET", "/api/status").status == 200
            except OSError:
                assert time.monotonic() < until, self.log()
                time.sleep(0.05)
            else:
                return

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        role: str = "operator",
        **headers: str,
    ) -> HttpAnswer:
        """Send a request; headers by their names with _ for -, and "" for one to leave out."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=WITHIN)
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if role:
            sent["Authorization"] = f"Bearer {self.tokens[role]}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {name: value for name, value in sent.items() if value})
            answer = connection.getresponse()
            return HttpAnswer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **how: Any) -> Any:
        """The answer to a request that must succeed."""
        answer = self.ask("GET", path, **how)
        assert answer.status == 200, answer
        return answer.json

    def do(self, op: str, **more: Any) -> Any:
        """The result of a command that is carried out."""
        answer = self.ask("POST", f"/api/{op}", json.dumps(more).encode())
        assert answer.status == 200, answer
        return answer.json

    @contextmanager
    def events(self, query: str = "", **headers: str) -> Generator[Iterator[tuple[str, str, Any]]]:
        """Listen: (type, id, data) of each event."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=WITHIN)
        sent = {"Authorization": f"Bearer {self.tokens['viewer']}"}
        connection.request("GET", f"/api/events{query}", headers=sent | headers)
        try:
            yield _events(connection.getresponse())
        finally:
            connection.close()

    def log(self) -> str:
        """The log of the web process."""
        return "".join(path.read_text() for path in sorted((self.live.home / "logs").glob("http.*")))

    def notes(self, text: str) -> None:
        """Wait until the web process has logged this."""
        until = time.monotonic() + WITHIN
        while text not in self.log():
            assert time.monotonic() < until, f"the log has no {text!r}:\n{self.log()}"
            time.sleep(0.01)


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, str, Any]]:
    assert answer.status == 200, answer.read()
    fields: dict[str, str] = {}
    until = time.monotonic() + 2 * WITHIN
    while line := answer.readline().decode():
        # Heartbeats never stop, so only this ends a wait for an event that does not come.
        assert time.monotonic() < until, "the test has listened for too long"
        if line.strip():
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields["id"], json.loads(fields["data"])
            fields = {}
