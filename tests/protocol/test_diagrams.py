"""The diagrams of the two machines in docs/protocol.md are drawn from their tables; `--rewrite` draws them again."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from neverblink.protocol import seat, seat_events
from neverblink.protocol.handoff import handoff, handoff_events

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


State = TypeVar("State", bound=Enum)


class Rule(Protocol):
    @property
    def leads_to(self) -> tuple[Enum, ...]: ...


def draw(rules: Mapping[State, Mapping[type, Rule]], start: State) -> str:
    """Draw what leads from one state to another; events after which a state may stay as it is are in the tables."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {start.value}"]
    for state, answers in rules.items():
        ways: dict[Enum, list[str]] = {}
        for event, rule in answers.items():
            if event is handoff_events.HandoffResumed:
                # From anywhere to anywhere: the page says it in words.
                continue
            for after in rule.leads_to:
                if after is not state:
                    ways.setdefault(after, []).append(event.__name__)
        lines += [f"    {state.value} --> {after.value}: {', '.join(by)}" for after, by in ways.items()]
        if not answers:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join([*lines, "```"])


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("seat", draw(seat.RULES, seat_events.Role.JOINING)),
        ("handoff", draw(handoff.RULES, handoff_events.Phase.PREPARING)),
    ],
    ids=["seat", "handoff"],
)
def test_the_diagrams_on_the_page_match_the_machines(name: str, drawn: str, rewrite: bool) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(f"<!-- {name} diagram -->")
    assert begin, f"docs/protocol.md: expected a line <!-- {name} diagram -->"
    shown, end, after = rest.partition("<!-- end -->")
    assert end, f"docs/protocol.md: expected <!-- end --> after the {name} diagram"
    if rewrite:
        PAGE.write_text(f"{before}{begin}\n{drawn}\n{end}{after}", encoding="utf-8")
    else:
        assert shown.strip() == drawn, (
            "docs/protocol.md shows another machine: pytest --rewrite draws it again"
        )
