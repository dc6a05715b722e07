"""What a release holds: the project's code, and not its secrets, logs, databases and what its own files keep out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from neverblink.supervisor.release.copy_tree import remove_tree
from neverblink.supervisor.release.ignore import FILE_NAME, Ignore, IgnoreError, looks_secret
from neverblink.supervisor.release.releases import ReleaseError, ReleaseStore

from ..repository import Repository


@pytest.fixture
def releases(tmp_path: Path) -> ReleaseStore:
    directory = tmp_path / "home" / "releases"
    directory.mkdir(parents=True)
    return ReleaseStore(directory)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "foresight"
    directory.mkdir()
    (directory / "bot.py").write_text("class Bot: ...\n")
    return directory


def write(project: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


def made(releases: ReleaseStore, project: Path) -> tuple[set[str], list[str]]:
    log: list[str] = []
    release = releases.make(project, "bot:Bot", warn=log.append)
    names = {str(path.relative_to(release.path)) for path in release.path.rglob("*") if path.is_file()}
    return names - {".release.json"}, log


def test_secrets_logs_and_databases_are_left_out_and_reported(releases: ReleaseStore, project: Path) -> None:
    out = (
        ".env",
        ".env.local",
        "anna.key",
        "deep/er/id_rsa",
        "bot.log",
        "bot.log.1",
        "trades.db",
        "trades.db-wal",
    )
    write(project, *out, ".env.example", "prices.csv")
    names, log = made(releases, project)
    assert names == {"bot.py", ".env.example", "prices.csv"}
    assert len(log) == 1
    assert log[0].startswith("not in the release: .env, .env.local, anna.key, bot.log, bot.log.1 and 3 more.")
    assert "NEVERBLINK_DATA" in log[0]
    assert f"write !.env into {FILE_NAME}" in log[0]


def test_the_ignore_file_excludes_and_includes_files(releases: ReleaseStore, project: Path) -> None:
    write(project, "data/a.csv", "data/b.csv", "model.bin", "ca.key", "notes/x.md", "notes/keep.md")
    write(project, FILE_NAME, text="# research\n/data/\n*.bin\n!ca.key\nnotes/*\n!notes/keep.md\n")
    names, log = made(releases, project)
    assert names == {"bot.py", "ca.key", "notes/keep.md", FILE_NAME}
    assert log == []


def test_files_ignored_by_git_are_left_out_and_tracked_files_included(
    releases: ReleaseStore, project: Path
) -> None:
    write(project, "build/x.txt", "sub/cache/y.txt", "sub/ok.txt", "kept.bin", "loose.bin")
    write(project, ".gitignore", text="build/\n*.bin\n")
    write(project, "sub/.gitignore", text="cache/\n")
    for words in (["init", "-q"], ["add", "-f", "kept.bin"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    names, log = made(releases, project)
    assert names == {"bot.py", "kept.bin", "sub/ok.txt", ".gitignore", "sub/.gitignore"}
    assert log == []


def test_the_ignore_file_overrides_git(releases: ReleaseStore, project: Path) -> None:
    write(project, "_version.py")
    write(project, ".gitignore", text="_version.py\n")
    write(project, FILE_NAME, text="!_version.py\n")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    assert "_version.py" in made(releases, project)[0]


def test_a_project_ignored_as_a_whole_by_an_outer_repository_is_complete(
    tmp_path: Path, releases: ReleaseStore, project: Path
) -> None:
    write(tmp_path, ".gitignore", text="*\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert made(releases, project)[0] == {"bot.py"}


def test_a_release_of_a_commit_has_the_committed_files_even_if_they_are_ignored(
    tmp_path: Path,
) -> None:
    from neverblink.supervisor.release.source import CommitSource, release_of

    project = Repository(tmp_path / "project")
    (project.path / "neverblink.toml").write_text('bot = "bot:Bot"\n')
    write(project.path, "bot.py", "lib/prices.py", ".env")
    write(project.path, ".gitignore", text=".neverblink/\nlib/\n")
    project.git("add", "-f", ".")
    id = project.commit("all of it")
    # Within the repository, in a directory that it ignores, as a home is.
    home = project.path / ".neverblink" / "releases"
    home.mkdir(parents=True)
    log: list[str] = []
    release, _ = release_of(
        CommitSource(project.path / ".git", id, "", "", ""), ReleaseStore(home), log.append
    )
    assert (release.path / "lib" / "prices.py").is_file()
    assert not (release.path / ".env").exists()
    assert [line.partition(":")[0] for line in log] == ["not in the release"]


@pytest.mark.parametrize("bot", ["bot:Bot", "pkg.bot:Bot"])
def test_a_rule_that_excludes_the_bot_itself_is_named(
    releases: ReleaseStore, project: Path, bot: str
) -> None:
    write(project, "pkg/bot.py", "pkg/__init__.py")
    write(project, FILE_NAME, text="bot.py\npkg/\n")
    with pytest.raises(ReleaseError, match=rf"is kept out of releases by \{FILE_NAME} \(.*\), and bot = "):
        releases.make(project, bot)


@pytest.mark.parametrize(
    ("content", "problem"), [(b"\xff\xfeb\0o\0t\0", "is not UTF-8"), (b"a\n!\nb", '"!" is not a pattern')]
)
def test_an_unreadable_ignore_file_is_named(
    releases: ReleaseStore, project: Path, content: bytes, problem: str
) -> None:
    (project / FILE_NAME).write_bytes(content)
    with pytest.raises(ReleaseError, match=problem):
        releases.make(project, "bot:Bot")


def test_an_ignore_file_with_a_bom_and_windows_line_ends_is_read(project: Path) -> None:
    (project / FILE_NAME).write_bytes(b"\xef\xbb\xbfdata/\r\n*.bin\r\n")
    ignore = Ignore.of(project)
    assert ignore.rule("data", directory=True) is not None
    assert ignore.rule("x.bin") is not None
    assert ignore.rule("data.py") is None


@pytest.mark.parametrize(
    ("name", "text", "secret"),
    [
        ("conf/credentials.json", "{}", True),
        ("deploy.pem", "-----BEGIN RSA PRIVATE KEY-----\nMII", True),
        ("deploy.pem", "-----BEGIN CERTIFICATE-----\nMII", False),
        ("config.py", 'API_SECRET = "c29tZXRoaW5nIHNlY3JldA=="', True),
        ("config.py", 'API_SECRET = os.environ["BINANCE_API_SECRET"]', False),
        ("aws.ini", "id = AKIAIOSFODNN7EXAMPLE", True),
        ("bot.py", "password: str = ''", False),
        ("tokens.py", "class Token: ...", False),
    ],
)
def test_possible_secrets_are_distinguished_from_other_text(
    tmp_path: Path, name: str, text: str, secret: bool
) -> None:
    write(tmp_path, name, text=text)
    assert bool(looks_secret(name, tmp_path / name)) == secret


def test_a_warning_names_a_possible_secret_in_a_release(releases: ReleaseStore, project: Path) -> None:
    write(project, "config.py", text='API_KEY = "c29tZXRoaW5nIHNlY3JldA=="\n')
    names, log = made(releases, project)
    assert "config.py" in names
    assert len(log) == 1
    assert log[0].startswith("this looks like a secret, and is in the release: config.py")


def test_a_large_file_is_reported_with_its_size(releases: ReleaseStore, project: Path) -> None:
    with open(project / "candles.csv", "wb") as file:
        file.truncate(30 * 1024**2)
    log = made(releases, project)[1]
    assert len(log) == 1
    assert log[0].startswith("large files in the release: candles.csv (30")


def test_patterns_have_the_syntax_of_gitignore(project: Path) -> None:
    with pytest.raises(IgnoreError, match="is not a pattern"):
        Ignore(["!"])


@pytest.mark.skipif(
    os.geteuid() == 0, reason="permissions do not bind root: see tests/whole/test_read_only_release.py"
)
def test_a_release_is_read_only(releases: ReleaseStore, project: Path) -> None:
    write(project, "lib/prices.py")
    release = releases.make(project, "bot:Bot")
    for directory in (release.path, release.path / "lib"):
        with pytest.raises(PermissionError):
            (directory / "trades.db").touch()


def test_a_read_only_release_can_be_removed(releases: ReleaseStore, project: Path) -> None:
    write(project, "lib/prices.py")
    release = releases.make(project, "bot:Bot")
    remove_tree(release.path)
    assert not release.path.exists()
