"""bin/chaos: run episodes and report what was found.

bin/chaos                        20 episodes, from seed 1 on
bin/chaos --episodes 500         the long run
bin/chaos --seed 17              that episode again
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from .episode import EpisodeResult, play
from .machine import lacking
from .plan import KINDS, TARGETS, Episode, plan
from .report import line_of, summary, table

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the episodes; return 0 without a violation, else 1."""
    asked = _parser().parse_args(arguments)
    kinds, targets = frozenset(asked.kind or KINDS), frozenset(asked.target or TARGETS)
    for kind in sorted(kinds & lacking().keys()):
        sys.stderr.write(f"left out: {kind}: {lacking()[kind]}\n")
    kinds -= lacking().keys()
    if not kinds:
        return 2
    first = asked.seed if asked.seed is not None else 1
    count = asked.episodes or (20 if asked.seed is None else 1)
    began = time.monotonic()
    found: list[EpisodeResult] = []
    try:
        for seed in range(first, first + count):
            episode = plan(seed, kinds=kinds, targets=targets)
            found.append(_play(episode, asked.keep, verbose=count == 1, event_driven=asked.event_driven))
            sys.stderr.write(line_of(found[-1]) + "\n")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
    text = summary(found)
    if not asked.json:
        sys.stdout.write(table(found) + f"\n{len(found)} episodes in {time.monotonic() - began:.0f} s\n")
    sys.stdout.write(msgspec.json.encode(text).decode() + "\n")
    return 1 if text["violations"] else 0


def _play(episode: Episode, keep: Path | None, *, verbose: bool, event_driven: bool) -> EpisodeResult:
    if verbose:
        sys.stderr.write(msgspec.json.format(msgspec.json.encode(episode), indent=1).decode() + "\n")
    place = Path(tempfile.mkdtemp(prefix=f"chaos-{episode.seed}-"))
    found = play(episode, place, event_driven=event_driven)
    if found.violations and keep is not None:
        shutil.rmtree(keep / f"seed-{episode.seed}", ignore_errors=True)
        keep.mkdir(parents=True, exist_ok=True)
        shutil.move(place, keep / f"seed-{episode.seed}")
    shutil.rmtree(place, ignore_errors=True)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chaos",
        description="A real bot, a seeded nemesis, and an exchange that judges. The seed decides what is done to whom "
        "and at which step; not what the scheduler makes of it.",
    )
    parser.add_argument("--episodes", type=int, default=0, help="how many (default: 20, or 1 with --seed)")
    parser.add_argument(
        "--seed", type=int, help="of the first episode; alone, it replays that one (default: 1)"
    )
    parser.add_argument(
        "--kind", action="append", choices=sorted(KINDS), help="only this kind of fault; may be repeated"
    )
    parser.add_argument(
        "--target", action="append", choices=sorted(TARGETS), help="only these victims; may be repeated"
    )
    parser.add_argument(
        "--event-driven", action="store_true", help="a bot without ticks, which a timer and events call"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the homes of episodes that failed in DIR"
    )
    parser.add_argument(
        "--json", action="store_true", help="nothing on stdout but the last line, which is JSON"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
