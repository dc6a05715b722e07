"""Where it listens, and where it refuses to."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from neverblink.supervisor.config.config import ConfigError, load
from tests.ports import HOST
from tests.whole.live import WITHIN

from .served import SOURCE, Served


def configured(tmp: Path, *lines: str) -> Path:
    (tmp / "neverblink.toml").write_text('bot = "bot:Bot"\nname = "fox"\n[web]\n' + "\n".join(lines) + "\n")
    return tmp


def test_nothing_listens_unless_configured(tmp_path: Path) -> None:
    assert load(configured(tmp_path)).web is None


def test_plain_http_is_allowed_on_this_machine(tmp_path: Path) -> None:
    for address, url in (
        ("127.0.0.1:8780", "http://127.0.0.1:8780/"),
        ("localhost:1", "http://127.0.0.1:1/"),
        ("[::1]:8780", "http://[::1]:8780/"),
    ):
        web = load(configured(tmp_path, f'listen = "{address}"')).web
        assert web is not None
        assert (web.url, web.loopback) == (url, True)


@pytest.mark.parametrize(
    ("lines", "key", "why"),
    [
        (('listen = "0.0.0.0:8780"',), "web.listen", "unencrypted"),
        (('listen = "10.0.0.5:8780"', 'cert = "a.pem"'), "web.key", "needs both files"),
        (('listen = "127.0.0.1:8780"', 'key = "a.pem"'), "web.cert", "needs both files"),
        (('listen = "8780"',), "web.listen", "expected ADDRESS:PORT"),
        (('listen = "127.0.0.1:0"',), "web.listen", "expected ADDRESS:PORT"),
        (('listen = "999.0.0.1:80"',), "web.listen", "expected ADDRESS:PORT"),
        (('listen = "127.0.0.1:8780"', 'plain = "yes"'), "web.plain", "expected true or false"),
        (('listen = "127.0.0.1:8780"', 'names = "a"'), "web.names", "expected a list"),
        (('listen = "127.0.0.1:8780"', 'hosts = ["a"]'), "web.hosts", "there is no such key"),
    ],
)
def test_an_unsafe_or_implausible_configuration_is_refused(
    tmp_path: Path, lines: tuple[str, ...], key: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        load(configured(tmp_path, *lines))
    assert refused.value.key == key


def test_beyond_this_machine_a_certificate_or_plain_is_required(tmp_path: Path) -> None:
    web = load(configured(tmp_path, 'listen = "0.0.0.0:8780"', 'cert = "c.pem"', 'key = "k.pem"')).web
    assert web is not None
    assert (web.url, web.cert) == ("https://0.0.0.0:8780/", str(tmp_path / "c.pem"))
    assert load(configured(tmp_path, 'listen = "0.0.0.0:8780"', "plain = true")).web is not None


def test_a_certificate_enables_https(apart: Served, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *(
                openssl,
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *(
                "-keyout",
                str(key),
                "-out",
                str(cert),
                "-subj",
                "/CN=localhost",
                "-addext",
                f"subjectAltName=IP:{HOST}",
            ),
        ],
        check=True,
        capture_output=True,
    )
    code = apart.code("v1", SOURCE)
    with (code / "neverblink.toml").open("a") as file:
        file.write(f'cert = "{cert}"\nkey = "{key}"\n')
    apart.live.up(code)
    asked = urllib.request.Request(
        f"https://{HOST}:{apart.port}/api/me", headers={"Authorization": f"Bearer {apart.tokens['viewer']}"}
    )
    context = ssl.create_default_context(cafile=str(cert))
    until = time.monotonic() + WITHIN
    while (answer := _ask(asked, context)) is None:
        assert time.monotonic() < until, apart.log()
        time.sleep(0.05)
    status, strict = answer
    assert status == 200
    assert strict


def _ask(asked: urllib.request.Request, context: ssl.SSLContext) -> tuple[int, str | None] | None:
    """Return the answer, or None while no process listens."""
    try:
        with urllib.request.urlopen(asked, context=context) as answer:
            return answer.status, answer.headers["Strict-Transport-Security"]
    except urllib.error.URLError as problem:
        if not isinstance(problem.reason, ConnectionRefusedError):
            raise
        return None
