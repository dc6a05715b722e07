"""The results of a chaos run, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from .episode import EpisodeResult
from .plan import KINDS, STEPS

__all__ = ["line_of", "summary", "table"]


def summary(found: Sequence[EpisodeResult]) -> dict[str, Any]:
    """The last line: what was done, and with what result."""
    kinds = Counter(kind for item in found for kind, _, _ in item.faults)
    outcomes = Counter(outcome for item in found for outcome in item.outcomes)
    missed = [count for item in found for count in item.missed]
    return {
        "episodes": len(found),
        "violations": sum(len(item.violations) for item in found),
        "failed_seeds": [item.seed for item in found if item.violations],
        "faults": dict(sorted(kinds.items())),
        "deploys": {outcome: outcomes[outcome] for outcome in ("done", "aborted", "rolled_back")},
        "missed_by_failover": {"p50": round(median(missed)), "max": max(missed)}
        if missed
        else {"p50": 0, "max": 0},
    }


def line_of(found: EpisodeResult) -> str:
    """One episode on a line, and each violation on its own line."""
    faults = ", ".join(f"{kind} {target} in {step}" for kind, target, step in found.faults) or "no fault"
    outcomes = " ".join(found.outcomes) or "no deployment"
    head = f"seed {found.seed}: {faults}; {outcomes}; {found.took:.1f} s"
    wrong = [f"  VIOLATION: {violation}" for violation in found.violations]
    return "\n".join([head, *wrong, *([f"  replay: bin/chaos --seed {found.seed}"] if wrong else [])])


def table(found: Sequence[EpisodeResult]) -> str:
    """Faults by kind and step."""
    counts = Counter((kind, step) for item in found for kind, _, step in item.faults)
    rows = [f"{'':12}" + "".join(f"{step:>14}" for step in STEPS)]
    rows += [f"{kind:12}" + "".join(f"{counts[kind, step]:>14}" for step in STEPS) for kind in KINDS]
    return "\n".join(rows)
