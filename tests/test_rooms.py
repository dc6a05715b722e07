"""The rooms: which may import which, and that a class name means one class."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

ROOMS: dict[str, str] = {
    "protocol": "",
    "protocol/handoff": "protocol",
    "protocol/cluster": "protocol",
    "protocol/state": "protocol",
    # worker
    "worker/codecs": "protocol",
    "worker/model": "protocol protocol/state worker/codecs",
    "worker/io": "protocol worker/model",
    "worker/journal": "protocol worker/io",
    "worker/replication": "protocol worker/model worker/io worker/journal",
    "worker/engine": "protocol protocol/state worker/model worker/io worker/journal worker/replication",
    "worker/feeds": "protocol worker/io",
    "worker/runtime": (
        "protocol worker/codecs worker/model worker/feeds worker/io worker/journal worker/replication worker/engine"
    ),
    "worker/worker": "protocol worker/codecs worker/model worker/io worker/engine worker/runtime",
    "worker/join": "protocol worker/codecs worker/model worker/io worker/engine worker/runtime",
    "worker": "protocol worker/codecs worker/model worker/io worker/worker worker/join",
    "worker/adapters": "protocol worker/model worker/io worker/join worker/worker",
    "worker/simulation": (
        "protocol protocol/handoff worker/io worker/journal worker/engine worker/runtime worker/worker"
    ),
    "worker/testing": "protocol protocol/handoff worker/engine worker/worker worker/simulation",
    "worker/main": "protocol worker/io worker/runtime worker/worker worker/join",
    "worker/check": (
        "protocol worker/io worker/runtime worker/worker worker/main worker/model worker/journal worker/replication"
    ),
    "worker/alone": "protocol worker/io worker/runtime worker/worker worker/main",
    "worker/shell": "protocol worker/io worker/runtime worker/worker worker/main worker/check",
    "worker/__main__": "protocol worker/io worker/main worker/check worker/alone worker/shell",
    # supervisor
    "supervisor": "",
    "supervisor/system": "protocol",
    "supervisor/adopt": "protocol",
    "supervisor/config": "protocol supervisor/system",
    "supervisor/store": "protocol supervisor/system",
    "supervisor/audit": "protocol protocol/state",
    "supervisor/release": "protocol supervisor/system supervisor/config supervisor/store",
    "supervisor/state": (
        "protocol protocol/state supervisor/system supervisor/store supervisor/audit supervisor/release"
    ),
    "supervisor/environment": "protocol supervisor/system supervisor/config supervisor/store supervisor/release",
    "supervisor/sockets": "protocol supervisor/system supervisor/config supervisor/store",
    "supervisor/terminal": "protocol supervisor/system supervisor/store",
    "supervisor/control_files": "protocol supervisor/system supervisor/config supervisor/store",
    "supervisor/workers": (
        "protocol supervisor/system supervisor/config supervisor/store supervisor/audit supervisor/release"
    ),
    "supervisor/handoff": (
        "protocol protocol/handoff supervisor/system supervisor/config supervisor/release supervisor/workers"
    ),
    "supervisor/bot": (
        "protocol protocol/handoff supervisor/system supervisor/config supervisor/store supervisor/release "
        "supervisor/workers supervisor/handoff"
    ),
    "supervisor/feeds": (
        "protocol supervisor/system supervisor/config supervisor/store supervisor/release supervisor/workers "
        "supervisor/bot"
    ),
    "supervisor/notify": "protocol supervisor/system supervisor/config supervisor/terminal supervisor/bot",
    "supervisor/deploy": (
        "protocol protocol/handoff supervisor/system supervisor/config supervisor/store supervisor/release "
        "supervisor/environment supervisor/sockets supervisor/workers supervisor/handoff supervisor/bot"
    ),
    "supervisor/api": (
        "protocol protocol/state supervisor/state supervisor/system supervisor/config supervisor/store "
        "supervisor/sockets supervisor/terminal "
        "supervisor/workers supervisor/bot supervisor/feeds supervisor/notify supervisor/deploy"
    ),
    "supervisor/hook": (
        "protocol protocol/handoff supervisor/system supervisor/store supervisor/release supervisor/terminal "
        "supervisor/workers supervisor/api"
    ),
    "supervisor/web": (
        "protocol protocol/state supervisor/state supervisor/system supervisor/config supervisor/store "
        "supervisor/audit supervisor/sockets supervisor/terminal supervisor/api"
    ),
    "supervisor/daemon": (
        "protocol supervisor/system supervisor/config supervisor/store supervisor/release supervisor/environment "
        "supervisor/sockets supervisor/control_files supervisor/workers supervisor/handoff supervisor/bot "
        "supervisor/feeds supervisor/notify supervisor/deploy supervisor/api supervisor/web"
    ),
    "supervisor/cli": (
        "supervisor/adopt "
        "protocol protocol/handoff protocol/state supervisor/state supervisor/system supervisor/config "
        "supervisor/store supervisor/audit "
        "supervisor/release supervisor/environment supervisor/sockets supervisor/terminal supervisor/control_files "
        "supervisor/workers supervisor/bot supervisor/notify supervisor/deploy supervisor/api supervisor/hook "
        "supervisor/web supervisor/daemon"
    ),
    "supervisor/demo": (
        "protocol supervisor/system supervisor/store supervisor/terminal supervisor/api supervisor/cli"
    ),
}
"""Each room with the rooms that it may import, from the ground up: a row names only rooms of rows above it.

A file beside the rooms is a room of its own, but for protocol/, whose files are one.
"""


def files() -> Iterator[Path]:
    for package in ("protocol", "worker", "supervisor"):
        yield from (path for path in (ROOT / package).rglob("*.py") if "bots" not in path.parts)


def room_of(module: tuple[str, ...]) -> str:
    """The room of a module, by its dotted name without `neverblink`."""
    if len(module) == 1 or (
        module[0] == "protocol" and len(module) == 2 and module[1] not in ("handoff", "state")
    ):
        return module[0]
    return "/".join(module[:2])


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules of ours that a file imports, lazy imports and those for type checkers included."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1] + tuple((node.module or "").split("."))
            elif node.module and node.module.split(".")[0] == "neverblink":
                base = tuple(node.module.split(".")[1:])
            else:
                continue
            base = tuple(part for part in base if part)
            for name in node.names:
                inner = (*base, name.name)
                is_module = (ROOT.joinpath(*inner).with_suffix(".py")).is_file() or (
                    ROOT.joinpath(*inner) / "__init__.py"
                ).is_file()
                yield inner if is_module else base
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("neverblink."):
                    yield tuple(name.name.split(".")[1:])


def arrows() -> dict[tuple[str, str], list[str]]:
    """Each import from one room into another, with the files that make it."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in files():
        here = room_of(module_of(path))
        for module in imported(path):
            if (there := room_of(module)) != here:
                found[here, there].append(str(path.relative_to(ROOT)))
    return found


def test_a_room_imports_only_rooms_below_it() -> None:
    above: list[str] = []
    for room, allowed in ROOMS.items():
        assert not set(allowed.split()) - set(above), f"{room}: its row names a room that is not above it"
        above.append(room)
    wrong = {
        f"{a} imports {b} in {', '.join(sorted(set(by)))}"
        for (a, b), by in arrows().items()
        if b not in ROOMS.get(a, "").split()
    }
    assert not wrong, "move the import, or what it imports; the table in this file says what may import what"


def test_every_room_is_in_the_table() -> None:
    assert {room_of(module_of(path)) for path in files()} == set(ROOMS)


def test_every_class_name_is_unique() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for path in files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(str(path.relative_to(ROOT)))
    assert not {name: paths for name, paths in where.items() if len(paths) > 1}


def test_an_installed_neverblink_has_every_package() -> None:
    """An editable install finds a package that pyproject.toml does not list; a wheel lacks it."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "packages"
    ]
    assert {".".join(("neverblink", *path.relative_to(ROOT).parent.parts)) for path in files()} == set(
        listed
    ) - {"neverblink.bin", "neverblink.examples"}
