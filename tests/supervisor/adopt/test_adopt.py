"""What `adopt` finds in a script, what it changes, and what it leaves to the author."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from neverblink.supervisor.adopt.adopt import AdoptedScript, adopt
from neverblink.supervisor.adopt.adopt_error import AdoptError
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit

LOOP = "import time\n\ncount = 0\nwhile True:\n    count += 1\n    time.sleep(5)\n"


def adopted(place: Path, text: str, name: str = "script.py") -> AdoptedScript:
    (place / name).write_text(text)
    return adopt(place / name)


def told(found: AdoptedScript) -> dict[int, str]:
    return {one.line: f"{one.what}: {one.mend}" for one in found.cautions}


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(neverblink, ["adopt", *map(str, args)])


@pytest.mark.parametrize(
    ("pause", "tick"),
    [
        ("5", '"5s"'),
        ("0.25", '"250ms"'),
        ("2 * 30", 'f"{2 * 30}s"'),
        ("PAUSE", 'f"{PAUSE}s"'),
        ("60 - time.time() % 60", '"60s"'),
        ("max(0, PAUSE - (time.time() - begun))", 'f"{PAUSE}s"'),
    ],
)
def test_the_sleep_of_the_loop_becomes_its_tick(tmp_path: Path, pause: str, tick: str) -> None:
    text = LOOP.replace("time.sleep(5)", f"time.sleep({pause})").replace("count = 0", "count = 0\nPAUSE = 3")
    found = adopted(tmp_path, text)
    assert f"join(State, tick={tick})" in found.text
    assert "time.sleep" not in found.text
    assert not [line for line in told(found).values() if "guess" in line]


def test_a_sleep_that_is_no_constant_is_said_to_be_a_guess(tmp_path: Path) -> None:
    found = adopted(tmp_path, LOOP.replace("time.sleep(5)", "time.sleep(len(str(count)))"))
    assert 'tick="1s"' in found.text
    assert "is a guess" in told(found)[4]


@pytest.mark.parametrize(
    ("first", "more", "field"),
    [
        ("x = {}", "x['a'] = 1", "x: dict = {}"),
        ("x: dict[str, int] = {}", "x['a'] = 1", "x: dict[str, int] = {}"),
        ("x = set()", "x.add(1)", "x: set = set()"),
        ("x = 0", "x += 1", "x: int = 0"),
        ("x = 0", "x += 0.5", "x: float = 0"),
        ("x = -1.5", "x = 2", "x: float = -1.5"),
        ("x = None", "x = 'a'", "x: str | None = None"),
        ("x = None", "x = object()", "x: Any = None"),
        ("x = True", "x = not x", "x: bool = True"),
        ("x = time.time()", "x = time.time()", "x: float = msgspec.field(default_factory=time.time)"),
        ("x = {'a': 0}", "x['a'] = 1", "x: dict = msgspec.field(default_factory=lambda: {'a': 0})"),
        ("x = Counter()", "x['a'] += 1", "x: Counter[Any] = msgspec.field(default_factory=Counter)"),
    ],
)  # fmt: skip
def test_a_variable_that_the_loop_changes_becomes_a_field_with_its_type(
    tmp_path: Path, first: str, more: str, field: str
) -> None:
    found = adopted(
        tmp_path,
        f"import time\nfrom collections import Counter\n\n{first}\nwhile True:\n    {more}\n    time.sleep(5)\n",
    )
    assert f"    {field}\n" in found.text


def test_only_names_that_mean_the_variable_are_renamed(tmp_path: Path) -> None:
    found = adopted(
        tmp_path,
        "import time\n\nn = 0\nd = {'n': 1}\n\n\ndef f(n):\n    return n + d['n']\n\n\n"
        "def g():\n    global n\n    n += 1\n"
        "    return [n for n in range(3)], f\"{n} {d['n']} {{n}} {f(n=n)}\", (lambda n: n)(2)\n\n\n"
        "while True:\n    g()\n    time.sleep(1)\n",
    )
    assert "def f(n):\n    return n + d['n']\n" in found.text
    assert "    state.n += 1\n" in found.text
    assert (
        "[n for n in range(3)], f\"{state.n} {d['n']} {{n}} {f(n=state.n)}\", (lambda n: n)(2)" in found.text
    )
    assert "global n" not in found.text


@pytest.mark.parametrize(
    ("code", "line", "about"),
    [
        ("t = threading.Thread(target=print)\nt.start()", 4, "runs in every process"),
        ("server = http.server.HTTPServer(('', 8080), None)", 4, "[sockets]"),
        ("signal.signal(signal.SIGTERM, print)", 4, "if loop.stopped"),
        ("atexit.register(print)", 4, "also after a deployment"),
        ("client = object()\ndef f():\n    global client\n    client = object()", 4, "not plain data"),
        ("name = sys.argv[1]", 4, "environment"),
        ("name = input()", 4, "env_file"),
        ("x = {}\nx['a'] = 1", 5, "before the loop"),
    ],
)
def test_what_it_cannot_do_is_said_with_its_line_and_the_mend(
    tmp_path: Path, code: str, line: int, about: str
) -> None:
    found = adopted(
        tmp_path,
        "import atexit, http.server, signal, sys, threading, time\n\ncount = 0\n"
        f"{code}\nwhile True:\n    count += 1\n    time.sleep(5)\n",
    )
    assert about in told(found).get(line, ""), told(found)


def test_what_ends_the_loop_or_delays_it_is_said(tmp_path: Path) -> None:
    found = adopted(
        tmp_path,
        "import sys, time\n\nn = 0\nwhile True:\n    n += 1\n    time.sleep(0.5)\n    if n > 9:\n        break\n"
        "    if n > 8:\n        sys.exit(1)\n    time.sleep(5)\n",
    )
    lines = told(found)
    assert "inside the loop" in lines[6]
    assert "failure" in lines[8]
    assert "failure" in lines[10]
    assert 'tick="5s"' in found.text


def test_what_a_callback_changes_stays_outside_the_state(tmp_path: Path) -> None:
    found = adopted(
        tmp_path,
        "import time\nimport client\n\nprices = {}\nheld = {}\n\n\ndef on_price(p):\n    prices['BTC'] = p\n\n\n"
        "client.subscribe(on_price)\nwhile True:\n    held['BTC'] = prices.get('BTC')\n    time.sleep(1)\n",
    )
    assert [field["name"] for field in found.fields] == ["held"]
    assert "loop.inbox" in told(found)[4]
    assert found.libraries == ("client",)


@pytest.mark.parametrize(
    "lines",
    [
        "seen = h['a']\n    seen.append(1)",
        "seen = h.get('a')\n    del seen[:-9]",
        "for s in h.values():\n        s.clear()",
    ],
)
def test_a_variable_whose_parts_are_changed_under_another_name_is_changed(tmp_path: Path, lines: str) -> None:
    found = adopted(
        tmp_path, f"import time\n\nh = {{'a': []}}\nwhile True:\n    {lines}\n    time.sleep(5)\n"
    )
    assert [field["name"] for field in found.fields] == ["h"]


def test_a_class_that_is_no_data_keeps_its_variable_outside_the_state(tmp_path: Path) -> None:
    text = (
        "import time\n\n\nclass Position:\n    def __init__(self, p):\n        self.p = p\n\n\nheld = {}\nwhile True:\n"
        "    held['BTC'] = Position(1)\n    time.sleep(1)\n"
    )
    found = adopted(tmp_path, text)
    assert found.fields == ()
    assert "join(dict" in found.text
    assert "Position, which is not a @dataclass" in told(found)[9]


def test_names_of_neverblink_give_way_to_those_of_the_script(tmp_path: Path) -> None:
    found = adopted(
        tmp_path,
        "import time\n\nState = 1\nstate = 2\ntick = 3\nn = 0\n\n\ndef main():\n    pass\n\n\n"
        "while True:\n    n += tick\n    time.sleep(1)\n",
    )
    assert found.bot == "script:run_bot"
    assert "for turn in join(BotState" in found.text
    assert "kept.n += tick" in found.text


def test_tabs_line_ends_and_long_texts_stay_as_they_are(tmp_path: Path) -> None:
    text = (
        'import time\r\n\r\nn = 0\r\nwhile True:\r\n\tn += 1\r\n\tprint("""a\r\nb""")\r\n\ttime.sleep(1)\r\n'
    )
    (tmp_path / "script.py").write_bytes(text.encode())
    found = adopt(tmp_path / "script.py")
    assert "\r\n\t\tstate.n += 1\r\n" in found.text
    assert '"""a\r\nb"""' in found.text
    assert "\n" not in found.text.replace("\r\n", "")


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("script.py", b"def f(:\n", "line 1"),
        ("script.py", b"print 'hello'\n", "line 1"),
        ("script.py", b"\x7fELF\0\0", "is a binary file"),
        ("script.py", b"x = '\xff'\n", "is not text"),
        ("script.py", b"", "has no loop"),
        ("script.py", b"print(1)\n", "has no loop"),
        ("script.py", b"import q\nwhile True:\n    print(q.get())\n", "line 2: this loop does not sleep"),
        (
            "script.py",
            b"import apscheduler as a\ns = a.BlockingScheduler()\ns.add_job(print, 'cron', hour=9)\ns.start()\n",
            "line 3: this job has no fixed interval",
        ),
        ("my-bot.py", LOOP.encode(), "rename it to my_bot.py"),
        ("script.py", b"import time\nwhile True: time.sleep(1)\n", "line 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_adopted_is_refused_with_the_line_or_the_mend(
    tmp_path: Path, name: str, data: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AdoptError) as refused:
        adopt(tmp_path / name)
    assert problem in refused.value.message
    ended = run(tmp_path / name)
    assert (ended.exit_code, problem in ended.stderr) == (Exit.BAD_INPUT, True)
    assert (tmp_path / name).read_bytes() == data


def test_a_directory_a_missing_file_and_one_without_access_are_refused(tmp_path: Path) -> None:
    assert "is a directory" in run(tmp_path).stderr
    assert "no such file" in run(tmp_path / "nosuch.py").stderr
    (tmp_path / "loop.py").symlink_to("loop.py")
    ended = run(tmp_path / "loop.py")
    assert (ended.exit_code, "can't be read" in ended.stderr) == (Exit.BAD_INPUT, True)


@pytest.mark.parametrize(
    "text",
    [
        "from neverblink.worker import join\n\n\ndef main():\n    for tick in join(dict):\n        pass\n",
        "from neverblink import worker\n\n\nclass Bot(worker.Worker[dict]):\n    pass\n",
    ],
)
def test_a_script_that_joins_already_is_said_to(tmp_path: Path, text: str) -> None:
    (tmp_path / "script.py").write_text(text)
    ended = run(tmp_path / "script.py", "--write")
    assert (ended.exit_code, "on neverblink already" in ended.stdout) == (0, True)
    assert (tmp_path / "script.py").read_text() == text


def test_nothing_is_written_without_write_and_then_the_script_with_its_mode_and_a_configuration(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(LOOP)
    script.chmod(0o755)
    shown = run(script)
    assert shown.exit_code == 0
    assert "-while True:" in shown.stdout
    assert "nothing is written" in shown.stdout
    assert (script.read_text(), os.listdir(tmp_path)) == (LOOP, ["script.py"])
    ended = run(script, "--write", "--json")
    result = json.loads(ended.stdout)
    assert result["written"] == [str(script), str(tmp_path / "neverblink.toml")]
    assert result["state"] == [{"name": "count", "type": "int", "default": "0"}]
    assert script.stat().st_mode & 0o777 == 0o755
    assert 'bot = "script:main"' in (tmp_path / "neverblink.toml").read_text()
    assert "on neverblink already" in run(script).stdout


def test_the_configuration_of_another_bot_stays_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(LOOP)
    config = tmp_path / "neverblink.toml"
    config.write_text('name = "fox"\nbot = "other:Bot"\n')
    ended = run(tmp_path / "script.py", "--write")
    assert 'write bot = "script:main" there' in ended.stdout
    assert "other:Bot" in config.read_text()


def test_the_imports_stand_before_the_state_where_nothing_is_between_them(tmp_path: Path) -> None:
    found = adopted(tmp_path, "import time\nn = 0\nwhile True:\n    n += 1\n    time.sleep(1)\n")
    assert found.text.index("import msgspec") < found.text.index("class State")


def test_variables_that_begin_together_and_those_of_a_class_are_said_to_stay_outside(tmp_path: Path) -> None:
    found = adopted(
        tmp_path,
        "import time\n\n\nclass A:\n    total = 0\n\n\nwins = losses = 0\nwhile True:\n    wins += 1\n"
        "    A.total += 1\n    time.sleep(1)\n",
    )
    assert "an assignment of its own" in told(found)[8]
    assert "belongs to the class" in told(found)[11]


def test_a_loop_that_receives_messages_gets_a_feed(tmp_path: Path) -> None:
    found = adopted(
        tmp_path,
        "import asyncio\nimport websockets\n\nlast = {}\n\n\nasync def run():\n"
        "    async with websockets.connect('wss://x') as ws:\n        await ws.send('sub')\n        while True:\n"
        "            msg = await ws.recv()\n            last['m'] = msg\n\n\nasyncio.run(run())\n",
    )
    assert "async for msg in ws:\n            feed.publish(msg)\n" in found.text
    assert (
        "for event in tick.events:\n            msg = event.data\n            state.last['m'] = msg\n"
        in found.text
    )
    assert "under a supervisor only" in told(found)[10]
    assert found.config.endswith('[feeds.messages]\nrun = "script:messages"\n')


def test_a_thread_that_cannot_be_told_to_end_is_left_as_it_is_and_said(tmp_path: Path) -> None:
    found = adopted(
        tmp_path,
        "import threading, time\n\nn = 0\n\n\ndef once():\n    print(1)\n\n\nthreading.Thread(target=once).start()\n"
        "while True:\n    n += 1\n    time.sleep(1)\n",
    )
    assert "threading.Thread(target=once).start()" in found.text
    assert "while_leading" in told(found)[10]
