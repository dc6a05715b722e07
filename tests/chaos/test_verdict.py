"""The verdict finds each kind of violation in an otherwise correct episode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.protocol.frame import Vitals
from neverblink.protocol.status import PauseNote
from neverblink.supervisor.demo.ledger import Ledger

from ..supervisor.audit.journal_builder import JournalBuilder, write_segment
from .market import ACCOUNT, OrderRequest
from .nemesis import SPOILT
from .plan import HOW, KINDS, OF_A_PROCESS, STEPS, TARGETS, plan
from .verdict import DeploymentOutcome, Evidence, WorkerDeath, read, violations


def in_order(tmp_path: Path) -> tuple[JournalBuilder, dict[str, Any]]:
    """A life with one order of the first leader and, after its death, one more; with the matching evidence."""
    ledger = Ledger()
    builder = JournalBuilder().begin().tick()
    first = builder.decide()
    builder.conclude(first).tick()
    doubted = builder.decide()
    builder.lead("w2", "failover").ticks(2)
    for number, id in enumerate((first, doubted)):
        buy(ledger, id, f"BTC-c-{number}")
    return builder, {
        "ledger": ledger.records,
        "sent": [OrderRequest(first, 101, 1), OrderRequest(doubted, 101, 2), OrderRequest(doubted, 102, 3)],
        "unleased": [],
        "pids": {"w1": 101, "w2": 102},
        "book": {"orders": {first: "BTC-c-0", doubted: "BTC-c-1"}, "fills": {"f-1": 2, "f-2": 2}, "held": 4},
        "deployed": [
            DeploymentOutcome(1, "v1", "v2", "aborted", "v1"),
            DeploymentOutcome(2, "v1", "v2", "done", "v2"),
        ],
    }


def buy(ledger: Ledger, id: str, contract: str, *, whole: bool = True) -> None:
    order = ledger.reserve(
        at=1, account=ACCOUNT, client_id=id, contract=contract, side="buy", direction="up", size=2, price=0.5
    )
    if whole:
        ledger.confirm(order.order, 2)
        ledger.fill(order, 2, 3)


def buy_more(facts: dict[str, Any], id: str, pid: int, worker: str) -> None:
    """One more order of a further worker."""
    ledger = Ledger()
    for number in range(3):
        buy(ledger, id if number == 2 else f"{number}", f"BTC-c-{number}")
    facts["ledger"] = [*facts["ledger"], *ledger.records[len(facts["ledger"]) :]]
    facts["sent"].append(OrderRequest(id, pid, 4))
    facts["pids"][worker] = pid
    facts["book"]["orders"][id] = "BTC-c-2"
    facts["book"]["fills"]["f-3"] = 2
    facts["book"]["held"] += 2


def found(tmp_path: Path, builder: JournalBuilder, facts: dict[str, Any]) -> list[str]:
    builder.write(tmp_path / "journal")
    return violations(Evidence(journal=read(tmp_path / "journal"), **facts))


def test_a_correct_episode_has_no_violation(tmp_path: Path) -> None:
    assert found(tmp_path, *in_order(tmp_path)) == []


def _again(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    ledger = Ledger()
    id = next(iter(facts["book"]["orders"]))
    buy(ledger, id, "BTC-c-0")
    with pytest.raises(Exception, match="taken"):
        buy(ledger, id, "BTC-c-0")
    facts["ledger"] = [*facts["ledger"], ledger.records[-1]]


def _half(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    ledger = Ledger()
    buy(ledger, "x", "BTC-c-9", whole=False)
    facts["ledger"] = [*facts["ledger"], msgspec.structs.replace(ledger.records[0], order="o-9")]


def _contract_twice(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    ledger = Ledger()
    buy(ledger, "x", "BTC-c-0", whole=False)
    facts["ledger"] = [*facts["ledger"], msgspec.structs.replace(ledger.records[0], order="o-9")]


def _unknown(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["sent"].append(OrderRequest("9-9-9", 101, 5))


def _stranger(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["sent"].append(OrderRequest(facts["sent"][0].client_id, 102, 5))


def _unleased(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["unleased"].append("order 1-1-0 by pid 7, while pid 8 had the lease")


def _forgotten(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["book"]["orders"].popitem()


def _invented(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["book"]["orders"]["7-7-7"] = "BTC-c-7"


def _fill_lost(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["book"]["fills"].popitem()


def _fill_twice(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["book"]["held"] += 2


def _wrong_code(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["deployed"].append(DeploymentOutcome(3, "v2", "v3", "aborted", "v3"))


def _unfinished(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["deployed"].append(DeploymentOutcome(3, "v2", "v3", "", "v2"))


def _tick_twice(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    builder.tick(seq=builder.seq)


def _not_told(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    builder.decide()
    builder.lead("w3", "failover", in_doubt=()).tick()


def _flip_unseen(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["spoilt"] = {(1, 99)}


def _taken_back(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["deployed"].append(DeploymentOutcome(3, "v2", "v3", "aborted", "v2", unfelt=True))


def _paused(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["pauses"] = [_lacks_frames(1, 99)]


def _paused_twice(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["spoilt"] = {(1, 99)}
    facts["pauses"] = [_lacks_frames(1, 99), _lacks_frames(1, 99)]


def _paused_elsewhere(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["spoilt"] = {(1, 99)}
    facts["pauses"] = [_lacks_frames(1, 9)]


def _paused_silently(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["spoilt"] = {(1, 99)}
    facts["pauses"] = [PauseNote("", "", "", 0)]


def _paused_by_somebody(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["spoilt"] = {(1, 99)}
    facts["pauses"] = [PauseNote("pause", "kim", _lacks_frames(1, 99).why, 5)]


def _entered_paused(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    builder.segment(vitals=Vitals(paused=True)).lead("w3", "failover")
    builder.conclude(builder.decide(id="3-9-9")).tick()


def _lacks_frames(segment: int, byte: int) -> PauseNote:
    return PauseNote(
        "journal", "", f"it goes to frame 7; segment {segment} is damaged at byte {byte}: a record", 5
    )


def _died_of_trouble(builder: JournalBuilder, facts: dict[str, Any]) -> None:
    facts["died"] = [WorkerDeath("w2", "No space left on device")]


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (_again, "was sent twice"),
        (_half, "was left in half"),
        (_contract_twice, "BTC-c-0 was bought 2 times"),
        (_unknown, "order 9-9-9 has no decision in the journal"),
        (_stranger, "came from pid 102"),
        (_unleased, "while pid 8 had the lease"),
        (_forgotten, "is not in the state"),
        (_invented, "order 7-7-7 is in the state and not in the ledger"),
        (_fill_lost, "fill f-2 is not in the state"),
        (_fill_twice, "the bot holds 6, and was filled 4"),
        (_wrong_code, "deployment 3 is aborted, and v3 leads instead of v2"),
        (_unfinished, "deployment 3 has not ended"),
        (_taken_back, "deployment 3 of good code is aborted"),
        (_paused, "the bot is paused, and nothing was done that is a reason for it: journal: "),
        (_paused_twice, "the bot is paused, and nothing was done that is a reason for it: journal: "),
        (_paused_elsewhere, "the bot is paused, and nothing was done that is a reason for it: journal: "),
        (
            _paused_silently,
            "the bot is paused, and nothing was done that is a reason for it: unknown cause: ",
        ),
        (_paused_by_somebody, "the bot is paused, and nothing was done that is a reason for it: pause: "),
        (_entered_paused, "3-9-9 was opened while the bot was paused"),
        (_died_of_trouble, "w2, which led, died: No space left"),
        (_tick_twice, "ticks ran twice"),
        (_not_told, "its successor was not informed"),
        (_flip_unseen, "a bit was flipped in segment 1 at byte 99, and the audit does not report it"),
    ],
)
def test_each_kind_of_violation_is_found(
    tmp_path: Path, harm: Callable[[JournalBuilder, dict[str, Any]], None], problem: str
) -> None:
    builder, facts = in_order(tmp_path)
    harm(builder, facts)
    assert any(problem in item for item in found(tmp_path, builder, facts)), found(tmp_path, builder, facts)


def _flipped(tmp_path: Path, *, lost: int) -> list[str]:
    """The violations when a bit flipped after the first two leaders, and the third was paused until `resume`."""
    builder, facts = in_order(tmp_path)
    builder.segment(vitals=Vitals(paused=True)).lead("w3", "failover").ticks(2)
    builder.frame("command", paused=False).conclude(builder.decide(id="3-9-9")).tick()
    buy_more(facts, "3-9-9", 103, "w3")
    first, _ = builder.write(tmp_path / "journal")
    if lost:
        write_segment(tmp_path / "journal", 1, builder.segments[0][:-lost])
    facts["spoilt"] = {(1, first.stat().st_size)}
    facts["pauses"] = [_lacks_frames(1, first.stat().st_size)]
    with first.open("ab") as file:
        file.write(SPOILT)
    return violations(Evidence(journal=read(tmp_path / "journal"), **facts))


def test_a_flipped_bit_pauses_the_bot_and_loses_nothing_that_was_written(tmp_path: Path) -> None:
    assert _flipped(tmp_path, lost=0) == []


def test_a_lost_frame_is_found_even_where_a_bit_was_flipped(tmp_path: Path) -> None:
    found = _flipped(tmp_path, lost=1)
    assert any("opens with the state as of frame" in item for item in found), found


def test_a_release_torn_by_a_power_cut_need_not_lead_again(tmp_path: Path) -> None:
    builder, facts = in_order(tmp_path)
    facts["deployed"].append(DeploymentOutcome(3, "v2", "v3", "aborted", "v1", torn=frozenset({"v2"})))
    assert found(tmp_path, builder, facts) == []


def test_the_death_of_a_worker_that_never_led_is_no_violation(tmp_path: Path) -> None:
    builder, facts = in_order(tmp_path)
    facts["died"] = [WorkerDeath("w9", "No space left on device")]
    assert found(tmp_path, builder, facts) == []


def test_a_seed_decides_the_plan_and_every_fault_kind_hits_each_of_its_targets() -> None:
    assert plan(17) == plan(17)
    faults = [fault for seed in range(1500) for move in plan(seed).moves for fault in move.faults]
    assert {(fault.kind, fault.target) for fault in faults} == {
        (kind, target) for kind, whom in KINDS.items() for target in whom
    }
    assert {fault.step for fault in faults} == set(STEPS)
    assert {(fault.kind, fault.how) for fault in faults if fault.how} == {
        (kind, how) for kind, variants in HOW.items() for how in variants if how
    }


def test_even_seeds_plan_only_faults_of_a_single_process() -> None:
    even = {fault.kind for seed in range(0, 500, 2) for move in plan(seed).moves for fault in move.faults}
    assert even == set(OF_A_PROCESS)
    assert plan(2, kinds=frozenset({"full"})).moves[0].faults[0].kind == "full"


def test_only_the_requested_faults_are_planned() -> None:
    wanted = plan(3, kinds=frozenset({"kill"}), targets=frozenset(TARGETS) - {"supervisor", "standby"})
    assert not wanted.standby
    assert {fault.kind for move in wanted.moves for fault in move.faults} == {"kill"}
