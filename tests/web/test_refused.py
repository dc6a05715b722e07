"""Every request without permission is refused with a code and a sentence, and logged."""

from __future__ import annotations

import json
import socket
import stat

import pytest

from neverblink.supervisor.web.tokens import Tokens
from tests.ports import HOST

from ..files import contents
from .served import HttpAnswer, Served


def refused(served: Served, answer: HttpAnswer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.json["error"]["message"]
    assert answer.headers["Content-Type"] == "application/json"
    served.notes(f": {code}: ")


def test_a_request_without_a_token_is_refused(served: Served) -> None:
    for path in ("/api/status", "/api/events", "/api/logs", "/metrics", "/api/history/1"):
        answer = served.ask("GET", path, role="")
        refused(served, answer, 401, "no-token")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    refused(served, served.ask("POST", "/api/pause", b"{}", role=""), 401, "no-token")


@pytest.mark.parametrize("sent", ["Bearer nbt_wrong", "Basic YTpi", "Bearer", "Bearer " + "x" * 5000])
def test_a_request_with_an_unknown_token_is_refused(served: Served, sent: str) -> None:
    answer = served.ask("GET", "/api/status", role="", Authorization=sent)
    refused(served, answer, 401, "bad-token")


def test_a_viewer_cannot_change_anything(served: Served) -> None:
    for op in ("pause", "deploy", "send", "abort", "lock"):
        refused(served, served.ask("POST", f"/api/{op}", b"{}", role="viewer"), 403, "role")
    assert not served.get("/api/status", role="viewer")["paused"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_page_of_another_origin_cannot_change_anything(served: Served, headers: dict[str, str]) -> None:
    refused(served, served.ask("POST", "/api/pause", b"{}", **headers), 403, "origin")


def test_our_own_page_can_change_something(served: Served) -> None:
    headers = {"Origin": served.url, "Sec_Fetch_Site": "same-origin"}
    assert served.ask("POST", "/api/pause", b"{}", **headers).status == 200
    assert served.ask("POST", "/api/resume", b"{}", **headers).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "[::2]", "169.254.169.254"])
def test_an_unknown_host_name_is_refused(served: Served, host: str) -> None:
    refused(served, served.ask("GET", "/", Host=host), 421, "host")


def test_another_port_in_the_host_name_is_accepted_for_tunnels(served: Served) -> None:
    assert served.ask("GET", "/api/status", Host="localhost:9000").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../tokens",
        "/static/%2e%2e/%2e%2e/settings.py",
        "/static/..%2f..%2fapp.py",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/static//etc/passwd",
        "/static/page.js%00.html",
        "/api/../.neverblink/key",
    ],
)
def test_a_path_cannot_leave_its_directory(served: Served, path: str) -> None:
    answer = served.ask("GET", path)
    refused(served, answer, 404, "not-found")


@pytest.mark.parametrize("worker", ["../../key", "w1.log", "/etc/passwd", "w1%00", "http"])
def test_only_log_files_can_be_read(served: Served, worker: str) -> None:
    refused(served, served.ask("GET", f"/api/logs?worker={worker}"), 404, "not-found")


def test_a_large_body_is_not_read(served: Served) -> None:
    body = json.dumps({"why": "x" * 100_000}).encode()
    refused(served, served.ask("POST", "/api/pause", body), 413, "too-large")


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"paused":true}', b"\xff", b'{"why":1}', b"[" * 5000, b'{"op":"down"}']
)
def test_an_invalid_body_is_refused(served: Served, body: bytes) -> None:
    refused(served, served.ask("POST", "/api/pause", body), 400, "bad-request")


def test_a_form_is_refused(served: Served) -> None:
    answer = served.ask("POST", "/api/pause", b"{}", Content_Type="text/plain")
    refused(served, answer, 415, "not-json")


def test_an_unknown_method_is_refused(served: Served) -> None:
    refused(served, served.ask("GET", "/api/pause"), 405, "method")
    refused(served, served.ask("DELETE", "/api/status"), 405, "method")
    answer = served.ask("OPTIONS", "/api/pause", Origin="https://evil.example")
    refused(served, answer, 405, "method")
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=99999", "limit=1&limit=2", "nope=1"])
def test_an_unusable_query_is_refused(served: Served, query: str) -> None:
    refused(served, served.ask("GET", f"/api/history?{query}"), 422, "bad-input")


def test_the_error_for_an_unknown_field_or_parameter_lists_the_known_ones(
    served: Served,
) -> None:
    def message_of(answer: HttpAnswer) -> str:
        return answer.json["error"]["message"]

    assert message_of(served.ask("GET", "/api/ticks?count=7")).endswith("`count` (expected limit, pieces)")
    assert message_of(served.ask("GET", "/api/ticks?limt=7")).endswith('`limt` (did you mean "limit"?)')
    assert message_of(served.ask("GET", "/api/status?limit=7")).endswith("`limit` (expected none)")
    assert message_of(served.ask("POST", "/api/rollback", b'{"relase":"x"}')).endswith(
        '(did you mean "release"?)'
    )
    assert message_of(served.ask("POST", "/api/pause", b'{"paused":true}')).endswith("(expected who, why)")


@pytest.mark.parametrize("sent", [b"\x16\x03\x01 nonsense", b"GET / HTTP/1.1\r\nno colon"])
def test_a_malformed_request_is_refused_and_logged(served: Served, sent: bytes) -> None:
    with socket.create_connection((HOST, served.port)) as wire:
        wire.sendall(sent + b"\r\n\r\n")
        assert b" 400 " in wire.recv(100)
    served.notes("refused, not a request: ")
    assert served.get("/api/status")["state"] == "running"


def test_every_answer_has_the_security_headers(served: Served) -> None:
    for answer in (served.ask("GET", "/"), served.ask("GET", "/api/status"), served.ask("GET", "/nope")):
        policy = answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Server"] == "neverblink"


def test_a_client_above_the_rate_limit_must_wait(served: Served) -> None:
    served.tokens["often"] = Tokens(served.live.home / "tokens").add("often", "operator")
    asked = (served.ask("POST", "/api/abort", b'{"deployment":1}', role="often") for _ in range(300))
    late = next(answer for answer in asked if answer.status == 429)
    refused(served, late, 429, "too-many")
    assert int(late.headers["Retry-After"]) >= 1
    # Commands are rare and reads are many: each has its own limit.
    assert served.ask("GET", "/api/status", role="often").status == 200


def test_tokens_are_stored_as_hashes_readable_only_by_the_user(served: Served) -> None:
    file = served.live.home / "tokens"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(secret in file.read_text() for secret in served.tokens.values())
    assert not any(secret in served.log() for secret in served.tokens.values())


def test_a_removed_token_is_invalid_at_once(served: Served) -> None:
    secret = served.live.run("token", "add", "short", "--json").json["token"]
    served.tokens["short"] = secret
    assert served.ask("GET", "/api/me", role="short").json["name"] == "short"
    assert served.live.run("token", "remove", "short").code == 0
    refused(served, served.ask("GET", "/api/me", role="short"), 401, "bad-token")


def test_no_token_reaches_a_log(served: Served) -> None:
    secret = served.tokens["operator"]
    encoded = secret.replace("_", "%5F", 1)
    for path in (
        f"/api/status?token={secret}",
        f"/api/status?{secret}=1",
        f"/api/status?token={encoded}",
        f"/nowhere/{secret}",
        f"/nowhere/{encoded}",
        f"/api/ticks?limit={secret}",
    ):
        assert served.ask("GET", path, Referer=f"{served.url}/?token={secret}").status >= 400
    for headers in ({"Authorization": secret}, {"Host": secret}, {"Authorization": f"Basic {secret}"}):
        assert served.ask("GET", "/api/status", None, "", **headers).status >= 400
    for wire in (
        f"GET /?token={secret} HTTP/9.9\r\n\r\n",
        f"{secret}\r\n\r\n",
        f"GET / HTTP/1.1\r\nAuthorization Bearer {secret}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\x00\r\n\r\n",
        f"GET /{'x' * 9000}{secret} HTTP/1.1\r\n\r\n",
        f"POST /api/pause HTTP/1.1\r\nHost: x\r\nContent-Length: {secret}\r\n\r\n",
    ):
        with socket.create_connection((HOST, served.port)) as connection:
            connection.sendall(wire.encode())
            assert b" 400 " in connection.recv(100)
    assert served.ask("POST", "/api/pause", f'{{"{secret}": 1}}'.encode()).status == 400
    served.notes("the body is not a valid pause")
    logs = b"".join(contents(served.live.home / "logs").values()).decode()
    assert "refused" in logs
    for part in (secret, encoded, secret.partition("_")[2][:12]):
        assert part not in logs


@pytest.mark.deep
def test_idle_connections_do_not_block_an_operator(apart: Served) -> None:
    apart.up(apart.code("v1"))
    crowd = [socket.create_connection((HOST, apart.port)) for _ in range(600)]
    try:
        assert apart.do("pause")["paused"]
        assert apart.get("/api/status")["paused"]
    finally:
        for item in crowd:
            item.close()
