"""Asking a live bot from elsewhere, with a key: from the first key to its end."""

from __future__ import annotations

from ..files import contents
from ..ports import HOST, free_port
from .bots import COUNTER
from .live import Live, one_line


def test_clients_with_a_key_query_and_deploy_the_bot_over_tcp(live: Live) -> None:
    code = live.code("v0", COUNTER)
    port = free_port()
    config = code / "neverblink.toml"
    config.write_text(f'{config.read_text()}\n[listen]\ntcp = "{HOST}:{port}"\n')
    up = live.up(code)
    up.prints(f"not listening on tcp://{HOST}:{port}: there is no server's key: `neverblink keys generate`")
    anna = live.tmp / "anna.key"
    made = live.run("keys", "generate", "anna", "--out", anna, "--json")
    assert (made.code, list(made.json["clients"]), made.json["file"]) == (0, ["anna"], str(anna))
    up.prints(f"listening on tcp://{HOST}:{port} for anna")
    # From here on nothing says where the home is.
    live.environment.pop("NEVERBLINK_HOME")
    there = ("--server", f"tcp://{HOST}:{port}", "--key", anna)
    assert live.run("status", *there, "--json").json["bot"] == "fox"
    deployed = live.run("deploy", live.code("v1", COUNTER), *there, "--json")
    assert (deployed.code, deployed.json["outcome"]) == (0, "done")
    watched = live.run("top", "--once", *there)
    assert (watched.code, watched.out.split()[:2]) == (0, ["fox", "running"])
    point = live.run("state", "show", *there, "--json").json["point"]["number"]
    assert live.run("state", "set", "ticks", "-5", "--yes", *there).code == 0
    assert "ticks" in live.run("state", "diff", f"frame:{point}", *there).out
    assert live.run("state", "restore", f"frame:{point}", "--yes", *there).code == 0
    assert one_line(live.run("logs", *there)).endswith("run it there, without --server")
    # One who has made a key and was not let in.
    eve = live.tmp / "eve.key"
    live.run("keys", "generate", "eve", "--for-server", made.json["server"], "--out", eve)
    refused = live.run("status", *there[:-1], eve)
    assert refused.code == 7
    assert "key 'eve' is not let in" in one_line(refused)
    up.prints("turned a connection to tcp://")
    started = live.event(type="deployment-started")
    assert started["who"].endswith("(key anna)")
    live.ticks_on()
    secret = next(line for line in anna.read_text().splitlines() if line.startswith("secret")).split()[1]
    assert [path for path, data in contents(live.home).items() if secret.encode() in data] == []
    live.down()
