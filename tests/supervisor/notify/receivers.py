"""Receivers of notifications: a webhook and a mail server on loopback, with behaviour set by the test."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from email import message_from_string
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from typing import Any

__all__ = ["MailServer", "Webhook", "refused_port"]

WITHIN = 60.0


class _Received:
    """What has arrived, and waiting for it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._more = Condition()

    def add(self, message: dict[str, Any]) -> None:
        with self._more:
            self.messages.append(message)
            self._more.notify_all()

    def until(self, condition: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        with self._more:
            assert self._more.wait_for(lambda: condition(self.messages), WITHIN), self.messages
            return list(self.messages)


class Webhook(_Received):
    """Receives apprise's JSON. Answers with the statuses in `answers`, in order, and then with 200. A status of 0 means
    that it does not answer until it is closed."""

    def __init__(self, *answers: int) -> None:
        super().__init__()
        self.asked = 0
        self._closed = Event()
        left = list(answers)
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.asked += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = left.pop(0) if left else 200
                if not status:
                    hook._closed.wait()
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if status == 200:
                    hook.add(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/"

    @property
    def titles(self) -> list[str]:
        return [str(message["title"]) for message in self.messages]

    def __enter__(self) -> Webhook:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MailServer(_Received):
    """As much of SMTP as a client needs to hand over a mail."""

    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> MailServer:
        return self

    def __exit__(self, *_: object) -> None:
        # Shut down, so that `accept` returns.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(WITHIN)
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        with connection.makefile("rwb") as file:

            def say(text: str) -> None:
                file.write(f"{text}\r\n".encode())
                file.flush()

            say("220 here")
            fields: dict[str, Any] = {"to": []}
            for line in file:
                word = line.strip().decode()
                verb = word.split(" ")[0].split(":")[0].upper()
                if verb == "RCPT":
                    fields["to"].append(word)
                if verb == "QUIT":
                    say("221 bye")
                    return
                if verb != "DATA":
                    say("250 yes")
                    continue
                say("354 go on")
                lines: list[str] = []
                for part in file:
                    text = part.decode().rstrip("\r\n")
                    if text == ".":
                        break
                    lines.append(text)
                mail = message_from_string("\n".join(lines))
                self.add({**fields, "subject": str(mail["Subject"]), "mail": "\n".join(lines)})
                say("250 taken")


def refused_port() -> int:
    """A port on which no process listens: it was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(condition: Callable[[], object]) -> None:
    """For what rings no bell."""
    until = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
