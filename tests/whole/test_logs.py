"""Logs in JSON, of a real bot through a deployment that succeeds and one that does not."""

from __future__ import annotations

import json
from typing import Any

from .bots import bot
from .live import Live

CHATTY = bot(
    """
    def on_start(self):
        logging.basicConfig(level=logging.INFO)
        print("connecting", end="")
        print("... done")

    def on_tick(self, tick):
        if self.state.ticks == 0:
            print(f"at {tick.seq}", flush=True)
            logging.info("a %s", "log line")
            logging.warning("hm")
            print(json.dumps({"level": "error", "message": "structured", "market": "BTC"}))
            os.write(1, b"past python\\n")
        self.state.ticks += 1
    """,
    tick="50ms",
    first="import json\nimport logging",
)
BROKEN = bot("def on_start(self):\n    raise RuntimeError('no way')", tick="50ms")


def test_every_json_log_line_names_its_bot_worker_and_time_and_can_be_filtered_by_them(live: Live) -> None:
    codes = [live.code("v1", CHATTY), live.code("v2", CHATTY), live.code("v3", BROKEN)]
    for code in codes:
        config = code / "neverblink.toml"
        config.write_text(f'{config.read_text()}\n[log]\nformat = "json"\n')
    live.up(codes[0])
    live.deploy(codes[1])
    ended = live.run("deploy", codes[2], "--json")
    assert ended.code == 3
    # The reason is what the bot said, and not the line in which it is logged.
    assert "no way" in ended.json["reason"]
    assert "{" not in ended.json["reason"]
    live.ticks_on()
    live.down()

    def lines(name: str) -> list[dict[str, Any]]:
        text = (live.home / "logs" / f"{name}.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line != "past python"]

    first = {line["text"]: line for line in lines("w1")}
    for line in first.values():
        assert (line["bot"], line["worker"], "deployment" in line) == ("fox", "w1", False)
        assert line["time"].endswith("Z")
    assert "epoch" not in first["connecting... done"]
    [at] = [text for text in first if text.startswith("at ")]
    assert first[at]["seq"] == int(at.removeprefix("at "))
    assert first[at]["epoch"] == 1
    assert [first[text]["level"] for text in ("INFO:root:a log line", "WARNING:root:hm")] == [
        "info",
        "warning",
    ]
    assert first["structured"]["level"] == "error"
    assert first["structured"]["fields"]["market"] == "BTC"
    assert {line["deployment"] for line in lines("w2")} == {1}
    raised = lines("w3")
    assert {line["level"] for line in raised} == {"error"}
    assert raised[-1]["text"] == "RuntimeError: no way"

    ours = lines("supervisor")
    ends = [line for line in ours if line.get("event") == "deployment-ended"]
    assert [(line["deployment"], line["level"]) for line in ends] == [(1, "info"), (2, "warning")]
    assert all(line["bot"] == "fox" for line in ours)
    leads = [line for line in ours if line.get("event") == "leader" and line.get("worker")]
    assert [(line["worker"], line["epoch"]) for line in leads] == [("w1", 1), ("w2", 2)]

    found = live.run("logs", "--deployment", "2", "--level", "error", "--json").json["lines"]
    assert [line["worker"] for line in found] == ["w3"] * len(raised)
    shown = live.run("logs", "--worker", "w1").out
    assert f"w1 | {at}" in shown
    assert "w1 | past python" in shown
