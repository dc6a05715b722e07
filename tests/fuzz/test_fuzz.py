"""Whatever bytes come from outside, a decoder returns a value or raises a documented error."""

from __future__ import annotations

import re
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..hypothesis_profile import examples
from ..protocol.codecs import damaged, garbage
from .targets import FILES, TARGETS

ROOT = Path(__file__).resolve().parents[2]
DECODES = re.compile(
    r"(?:msgpack|json|decoder|codec|commands|z85)\w*\)?\.(?:decode|loads?)\(|Decoder\(|MessageCodec\(|tomllib\.load"
    r"|\bcell\.decode\(|unpack_from\(|\.unpack\(|msgspec\.convert\(|fromisoformat\(|literal_eval\(|pickle\.load|marshal"
)
"""Calls that turn bytes or text into something else."""

BOMBS = {
    "a list of four billion, in msgpack": b"\xdd\xff\xff\xff\xff",
    "a map of four billion, in msgpack": b"\xdf\xff\xff\xff\xff",
    "bytes of four gigabytes, in msgpack": b"\xc6\xff\xff\xff\xff",
    "a text of four gigabytes, in msgpack": b"\xdb\xff\xff\xff\xff",
    "lists of lists of four billion": b"\xdd\xff\xff\xff\xff" * 1000,
    "lists in lists, in msgpack": b"\x91" * 200_000,
    "maps in maps, in msgpack": b"\x81\x01" * 100_000,
    "lists in lists, in JSON and TOML": b"[" * 200_000,
    "objects in objects, in JSON": b'{"a":' * 100_000,
    "tables in tables, in TOML": b"a = " + b"{a=" * 50_000,
    "lists in a key of TOML": b"bot = " + b"[" * 50_000,
    "dots in a key of TOML": b"a" + b".a" * 5_000 + b" = 1",
    "digits": b"9" * 100_000,
    "digits, in TOML": b"a = " + b"9" * 100_000,
    "a record that says it is long": b"\xff\xff\xff\x0f" + bytes(5) + b"\x00\x00\x00\xf0",
    "zeros": bytes(100_000),
}
ROOM = 32 * 1024 * 1024
SECONDS = 20.0
"""Far more than any of them takes, even on a busy machine."""

each = pytest.mark.parametrize("name", TARGETS)


def run(name: str, data: bytes) -> None:
    target = TARGETS[name]
    with suppress(*target.errors):
        target.run(data)


@each
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_decoder_raises_only_its_documented_errors(name: str, data: st.DataObject) -> None:
    whole = TARGETS[name].whole
    run(name, data.draw(whole | damaged(whole) | garbage))


@each
def test_malicious_input_takes_little_time_and_memory(name: str) -> None:
    for what, bomb in BOMBS.items():
        for data in (bomb, _wrapped(bomb)):
            began = time.monotonic()
            tracemalloc.start()
            try:
                run(name, data)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < ROOM, what
            assert time.monotonic() - began < SECONDS, what


def test_every_file_that_decodes_is_in_the_table() -> None:
    """If this fails for a new decoder: add a target for it, or explain here why it needs none."""
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("protocol", "supervisor", "worker")
        for path in (ROOT / package).rglob("*.py")
        if DECODES.search(path.read_text(encoding="utf-8"))
    }
    assert found == set(FILES)


def test_every_codec_and_every_public_decoder_is_a_target_by_name() -> None:
    """Also finds a second decoder in a file that is already in the table."""
    named = re.compile(
        r"^(?:(\w+)(?:: [^=\n]+)? = MessageCodec\(|(\w+) = _\w+\.decode$|def ((?:decode|read|parse)_\w+)\()",
        re.MULTILINE,
    )
    table = (ROOT / "tests" / "fuzz" / "targets.py").read_text(encoding="utf-8")
    for path in (ROOT / "protocol").glob("*.py"):
        for found in named.finditer(path.read_text(encoding="utf-8")):
            name = str(found[1] or found[2] or found[3])
            if not name.startswith("_"):
                assert re.search(rf"\b{name}\b", table), f"{path.name}: {name} is in no target"


def test_every_target_belongs_to_a_file() -> None:
    reached = {name for names in FILES.values() if not isinstance(names, str) for name in names}
    files = {"audit", "survey and check", "arrival", "recovery"}
    files |= {"audit of whole records", "check of whole records", "recovery of whole records"}
    known = {"window", "duration", "size", "environment file"}
    assert reached | files | known == set(TARGETS)


def _wrapped(data: bytes) -> bytes:
    """Wraps the value in an object with an unknown key, which a decoder has to skip."""
    if data[:1] in (b"[", b"{"):
        return b'{"id":"1","unknown":' + data
    return b"\x82\xa4type\xa5hello\xa7unknown" + data
