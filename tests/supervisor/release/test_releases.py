from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from neverblink.supervisor.release.copy_tree import TreeError, copy_tree
from neverblink.supervisor.release.releases import (
    AmbiguousRelease,
    NoSuchRelease,
    Release,
    ReleaseError,
    ReleaseStore,
)

SECOND = 1_000_000_000
START = 1_795_532_400 * SECOND
"""2026-11-24 15:00:00 UTC."""


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def releases(tmp_path: Path, clock: Clock) -> ReleaseStore:
    directory = tmp_path / "home" / "releases"
    directory.mkdir(parents=True)
    return ReleaseStore(directory, clock)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "foresight"
    (directory / "lib").mkdir(parents=True)
    (directory / "bot.py").write_text("v = 1\n")
    (directory / "lib" / "prices.py").write_text("")
    return directory


def make(releases: ReleaseStore, clock: Clock, source: Path, version: int) -> Release:
    clock.now += SECOND
    (source / "bot.py").write_text(f"v = {version}\n")
    return releases.make(source, "bot:Foresight")


def names(directory: Path) -> set[str]:
    found = (path for path in directory.rglob("*") if path.name != "__pycache__")
    return {str(path.relative_to(directory)) for path in found}


def test_a_release_is_a_copy_named_by_time_and_content(releases: ReleaseStore, source: Path) -> None:
    release = releases.make(source, "bot:Foresight")
    assert release.id == f"20261124T150000Z-{release.digest[:8]}"
    assert release.path == releases.directory / release.id
    assert (release.made_at, release.origin, release.files, release.bytes) == (START, str(source), 2, 6)
    assert names(release.path) == {"bot.py", "lib", "lib/prices.py", ".release.json"}
    assert (release.path / "bot.py").read_text() == "v = 1\n"
    assert releases.list() == [release]
    assert releases.get(release.id) == release


def test_files_of_a_release_are_private_read_only_and_keep_the_executable_bit(
    releases: ReleaseStore, source: Path
) -> None:
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o700)
    before = os.umask(0)
    try:
        release = releases.make(source, "bot:Foresight")
    finally:
        os.umask(before)
    assert stat.S_IMODE((release.path / "bot.py").stat().st_mode) == 0o400
    assert stat.S_IMODE((release.path / "run.sh").stat().st_mode) == 0o500
    for directory in (release.path, release.path / "lib"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o500
        # Python keeps what it has compiled there.
        assert stat.S_IMODE((directory / "__pycache__").stat().st_mode) == 0o700


def test_files_that_are_not_code_are_left_out(releases: ReleaseStore, source: Path) -> None:
    for left in (
        ".git/HEAD",
        ".venv/pyvenv.cfg",
        "lib/__pycache__/x.pyc",
        ".neverblink/lease",
        "env311/pyvenv.cfg",
    ):
        (source / left).parent.mkdir(parents=True, exist_ok=True)
        (source / left).write_text("")
    os.mkfifo(source / "pipe")
    assert names(releases.make(source, "bot:Foresight").path) == {
        "bot.py",
        "lib",
        "lib/prices.py",
        ".release.json",
    }


def test_a_home_inside_the_source_is_not_copied_under_any_name(source: Path, clock: Clock) -> None:
    (source / "state" / "releases").mkdir(parents=True)
    releases = ReleaseStore(source / "state" / "releases", clock)
    first = releases.make(source, "bot:Foresight")
    clock.now += SECOND
    second = releases.make(source, "bot:Foresight")
    assert "state" not in names(first.path) | names(second.path)
    assert first.digest == second.digest


def test_a_home_is_refused_as_source(tmp_path: Path, releases: ReleaseStore) -> None:
    (tmp_path / "home" / "bot.py").write_text("")
    with pytest.raises(ReleaseError, match="is the home itself"):
        releases.make(tmp_path / "home", "bot:Foresight")


def test_the_digest_covers_names_contents_links_and_modes(
    releases: ReleaseStore, clock: Clock, source: Path
) -> None:
    def digest() -> str:
        clock.now += SECOND
        return releases.make(source, "bot:Foresight").digest

    seen = [digest()]
    assert digest() == seen[0]
    os.utime(source / "bot.py", (0, 0))
    assert digest() == seen[0]
    (source / "bot.py").chmod(0o755)
    seen.append(digest())
    (source / "lib" / "prices.py").rename(source / "lib" / "quotes.py")
    seen.append(digest())
    (source / "latest.py").symlink_to("bot.py")
    seen.append(digest())
    (source / "latest.py").unlink()
    (source / "latest.py").symlink_to("lib/quotes.py")
    seen.append(digest())
    assert len(set(seen)) == len(seen)


def test_the_same_code_in_the_same_second_is_the_same_release(releases: ReleaseStore, source: Path) -> None:
    assert releases.make(source, "bot:Foresight") == releases.make(source, "bot:Foresight")
    assert len(list(releases.directory.iterdir())) == 1


def test_a_release_can_be_made_from_a_release(releases: ReleaseStore, clock: Clock, source: Path) -> None:
    first = releases.make(source, "bot:Foresight")
    clock.now += SECOND
    second = releases.make(first.path, "bot:Foresight")
    assert second.digest == first.digest
    assert second.origin == str(first.path)


def test_links_inside_the_source_stay_links(releases: ReleaseStore, source: Path) -> None:
    (source / "lib" / "bot.py").symlink_to("../bot.py")
    release = releases.make(source, "bot:Foresight")
    assert os.readlink(release.path / "lib" / "bot.py") == "../bot.py"
    assert releases.intact(release)


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "lib/../../outside"])
def test_links_to_the_outside_are_refused_by_name(releases: ReleaseStore, source: Path, target: str) -> None:
    (source / "model.bin").symlink_to(target)
    with pytest.raises(ReleaseError, match=r"foresight: model\.bin: is a link .*copy its target"):
        releases.make(source, "bot:Foresight")
    assert names(releases.directory) == set()


@pytest.mark.parametrize(
    ("bot", "file"),
    [("bto:Foresight", "bto.py"), ("bots.sniper:Make", "bots/sniper.py"), ("bot.x:Y", "bot/x.py")],
)
def test_a_directory_without_the_bot_is_refused(
    releases: ReleaseStore, source: Path, bot: str, file: str
) -> None:
    with pytest.raises(ReleaseError, match=f"no {file} here"):
        releases.make(source, bot)


def test_a_bot_may_be_a_package(releases: ReleaseStore, source: Path) -> None:
    (source / "lib" / "__init__.py").write_text("")
    assert releases.make(source, "lib:Foresight")
    assert releases.make(source, "lib.prices:Foresight")


def test_a_source_that_is_not_a_directory_is_named(releases: ReleaseStore, source: Path) -> None:
    with pytest.raises(ReleaseError, match="not there"):
        releases.make(source / "nowhere", "bot:B")
    with pytest.raises(ReleaseError, match="expected a directory"):
        releases.make(source / "bot.py", "bot:B")


def test_a_tree_of_implausible_size_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TreeError, match="is it the right directory"):
        copy_tree(source, tmp_path / "copy", most_bytes=3)


def test_the_next_call_removes_the_remains_of_a_crash(releases: ReleaseStore, source: Path) -> None:
    half = releases.directory / ".new-4242-1"
    half.mkdir()
    (half / "bot.py").write_text("")
    (half / "bot.py").chmod(0o444)
    (releases.directory / ".old-20200101T000000Z-00000000").mkdir()
    assert releases.list() == []
    release = releases.make(source, "bot:Foresight")
    assert [entry.name for entry in releases.directory.iterdir()] == [release.id]


def test_a_release_changed_afterwards_is_not_intact(releases: ReleaseStore, source: Path) -> None:
    release = releases.make(source, "bot:Foresight")
    assert releases.intact(release)
    (release.path / "__pycache__" / "bot.pyc").write_text("")
    assert releases.intact(release)
    (release.path / "bot.py").unlink()
    (release.path / "bot.py").write_text("")
    assert not releases.intact(release)


def test_a_release_is_found_by_its_id_or_the_beginning_of_it(
    releases: ReleaseStore, clock: Clock, source: Path
) -> None:
    first, second = (make(releases, clock, source, version) for version in (1, 2))
    assert [release.id for release in releases.list()] == [second.id, first.id]
    assert releases.find(first.id) == first
    assert releases.find(first.id[:16]) == first
    assert releases.find(first.digest[:8]) == first
    releases.promote(first.id)
    releases.promote(second.id)
    assert releases.find("current") == second
    assert releases.find("previous") == first


def test_a_name_that_fits_no_release_or_several_is_refused(
    releases: ReleaseStore, clock: Clock, source: Path
) -> None:
    with pytest.raises(NoSuchRelease, match="there are none yet"):
        releases.find("2026")
    first, second = (make(releases, clock, source, version) for version in (1, 2))
    with pytest.raises(AmbiguousRelease, match="give a longer name") as ambiguous:
        releases.find("2026")
    assert ambiguous.value.matches == [second.id, first.id]
    for wanted in ("2027", "", "previous", "../releases", first.id + "0"):
        with pytest.raises(NoSuchRelease) as missing:
            releases.find(wanted)
        assert missing.value.name == wanted
        assert missing.value.known == [second.id, first.id]
    with pytest.raises(NoSuchRelease):
        releases.get("../releases/" + first.id)


def test_current_and_previous_follow_the_leader(releases: ReleaseStore, clock: Clock, source: Path) -> None:
    assert (releases.current(), releases.previous()) == (None, None)
    first, second = (make(releases, clock, source, version) for version in (1, 2))
    releases.promote(first.id)
    assert (releases.current(), releases.previous()) == (first.id, None)
    releases.promote(second.id)
    releases.promote(second.id)
    assert (releases.current(), releases.previous()) == (second.id, first.id)
    releases.promote(first.id)
    assert (releases.current(), releases.previous()) == (first.id, second.id)
    assert (releases.directory / "current" / "bot.py").read_text() == "v = 1\n"
    with pytest.raises(NoSuchRelease):
        releases.promote("20200101T000000Z-00000000")


def test_pruning_keeps_the_newest_releases_and_those_in_use(
    releases: ReleaseStore, clock: Clock, source: Path
) -> None:
    made = [make(releases, clock, source, version).id for version in range(7)]
    releases.promote(made[0])
    releases.promote(made[1])
    assert releases.prune(2, in_use=[made[2]]) == [made[3], made[4]]
    assert [release.id for release in releases.list()] == [made[6], made[5], made[2], made[1], made[0]]
    assert releases.prune(2, in_use=[made[2]]) == []


def test_a_moved_home_still_has_its_releases(releases: ReleaseStore, source: Path, tmp_path: Path) -> None:
    release = releases.make(source, "bot:Foresight")
    releases.promote(release.id)
    (tmp_path / "home").rename(tmp_path / "elsewhere")
    moved = ReleaseStore(tmp_path / "elsewhere" / "releases")
    assert moved.find("current").path == tmp_path / "elsewhere" / "releases" / release.id
