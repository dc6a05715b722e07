"""Queries to git, with real repositories."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from neverblink.protocol.commands import Deploy
from neverblink.supervisor.config.config import NoConfig
from neverblink.supervisor.release import git
from neverblink.supervisor.release.git import GitError
from neverblink.supervisor.release.releases import ReleaseError, ReleaseStore
from neverblink.supervisor.release.source import CommitSource, release_of, source_of
from neverblink.supervisor.store.history_rows import CommitNote
from neverblink.supervisor.system.disk import DiskFull, need
from neverblink.supervisor.system.errors import Refusal

from ..repository import Repository

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "fox")
    made.write(bot_py="v = 1\n", neverblink_toml='name = "fox"\nbot = "bot:Fox"\n')
    return made


@pytest.fixture
def releases(tmp_path: Path) -> ReleaseStore:
    directory = tmp_path / "home" / "releases"
    directory.mkdir(parents=True)
    return ReleaseStore(directory)


def commit(repository: Repository, id: str, **more: str) -> CommitSource:
    request = Deploy(repository=str(repository.directory), commit=id, ref="main", **more)  # pyright: ignore[reportArgumentType]
    source = source_of(request)
    assert isinstance(source, CommitSource)
    return source


def test_a_release_of_a_commit_has_the_committed_files(
    repository: Repository, releases: ReleaseStore
) -> None:
    id = repository.commit("earlier exits")
    repository.write(bot_py="v = 2\n", notes_txt="not committed")
    release, config = release_of(commit(repository, id), releases)
    assert release.id.endswith(f"Z-{id[:8]}")
    assert release.note == CommitNote(id, "earlier exits", "Anna <anna@example.org>", "main")
    assert release.origin == str(repository.path)
    assert (release.path / "bot.py").read_text() == "v = 1\n"
    assert {".release.json", "bot.py", "neverblink.toml"} == {*os.listdir(release.path)} - {"__pycache__"}
    assert config.path == release.path / "neverblink.toml"
    assert os.listdir(releases.directory) == [release.id]
    assert releases.find(id[:10]) == releases.get(release.id) == release


def test_the_bot_can_be_in_a_directory_of_a_commit(repository: Repository, releases: ReleaseStore) -> None:
    repository.write(bots__fox__bot_py="v = 3\n", bots__fox__neverblink_toml='bot = "bot:Fox"\n')
    source = commit(repository, repository.commit("two bots"), directory="bots/fox")
    release, config = release_of(source, releases)
    assert (release.path / "bot.py").read_text() == "v = 3\n"
    assert config.name == "fox"
    with pytest.raises(GitError, match="bots/wolf"):
        release_of(commit(repository, source.id, directory="bots/wolf"), releases)


def test_a_bare_repository_in_the_environment_of_a_hook_works(
    repository: Repository, releases: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = repository.commit("one")
    bare = tmp_path / "live.git"
    repository.git("clone", "-q", "--bare", str(repository.path), str(bare))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", "nowhere")
    release, _ = release_of(source_of(Deploy(repository=str(bare), commit=id)), releases)
    assert git.resolve(bare, "main") == git.FoundCommit(bare, id, "main", "", False)
    assert release.commit == id
    assert release.origin == str(bare)


def test_the_quarantine_of_a_push_can_be_read(
    repository: Repository, releases: ReleaseStore, tmp_path: Path
) -> None:
    repository.commit("one")
    bare = tmp_path / "live.git"
    repository.git("clone", "-q", "--bare", str(repository.path), str(bare))
    repository.write(bot_py="v = 2\n")
    id = repository.commit("two")
    apart = repository.directory / "objects"
    source = source_of(Deploy(repository=str(bare), commit=id, objects=str(apart)))
    release, _ = release_of(source, releases)
    assert (release.path / "bot.py").read_text() == "v = 2\n"
    with pytest.raises(GitError, match=r"bad object|not"):
        release_of(source_of(Deploy(repository=str(bare), commit=id)), releases)


def test_a_warning_names_a_submodule(repository: Repository, releases: ReleaseStore) -> None:
    id = repository.commit("one")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{id},libs/prices")
    repository.git("commit", "-q", "-m", "with a submodule")
    warnings: list[str] = []
    release, _ = release_of(
        commit(repository, repository.git("rev-parse", "HEAD")), releases, warnings.append
    )
    assert ["libs/prices is a submodule" in warning for warning in warnings] == [True]
    assert os.listdir(release.path / "libs" / "prices") == []


def test_a_git_lfs_pointer_in_place_of_a_file_is_refused(
    repository: Repository, releases: ReleaseStore
) -> None:
    repository.write(model_bin=POINTER)
    with pytest.raises(GitError) as problem:
        release_of(commit(repository, repository.commit("a model")), releases)
    message = problem.value.message
    assert re.match(r"commit \w{8} \(main\): model\.bin: only a pointer of Git LFS", message)
    assert os.listdir(releases.directory) == []


def test_a_file_that_git_lfs_cannot_fetch_is_named_with_the_remedy(
    repository: Repository, releases: ReleaseStore
) -> None:
    if shutil.which("git-lfs") is None:
        pytest.skip("no git-lfs here: install it to see what it says when a file is missing")
    repository.write(model_bin=POINTER.replace("oid sha256:00", f"oid sha256:{'0' * 64}"))
    (repository.path / ".gitattributes").write_text("*.bin filter=lfs -text\n")
    id = repository.commit("a model")
    for key in ("smudge", "clean"):
        repository.git("config", f"filter.lfs.{key}", f"git-lfs {key} -- %f")
    repository.git("config", "filter.lfs.process", "git-lfs filter-process")
    repository.git("config", "filter.lfs.required", "true")
    with pytest.raises(GitError) as problem:
        release_of(commit(repository, id), releases)
    message = problem.value.message
    assert re.match(r"commit \w{8} \(main\): model\.bin: git-lfs can't get it: bring its files", message), (
        message
    )
    assert os.listdir(releases.directory) == []


def test_a_link_to_the_outside_of_a_commit_is_refused(repository: Repository, releases: ReleaseStore) -> None:
    (repository.path / "secrets").symlink_to("/etc")
    with pytest.raises(ReleaseError, match="secrets: is a link to /etc"):
        release_of(commit(repository, repository.commit("a link")), releases)
    assert os.listdir(releases.directory) == []


def test_a_commit_without_a_configuration_is_reported(repository: Repository, releases: ReleaseStore) -> None:
    (repository.path / "neverblink.toml").unlink()
    with pytest.raises(NoConfig) as problem:
        release_of(commit(repository, repository.commit("no config")), releases)
    assert problem.value.message.startswith("commit ")
    assert str(releases.directory) not in problem.value.message


@pytest.mark.parametrize("id", ["main", "--help", "0" * 40, "HEAD"])
def test_an_incomplete_commit_id_is_refused(id: str, repository: Repository, releases: ReleaseStore) -> None:
    repository.commit("one")
    with pytest.raises(GitError):
        release_of(commit(repository, id), releases)


def test_a_tree_is_not_accepted_as_a_commit(repository: Repository, releases: ReleaseStore) -> None:
    repository.commit("one")
    with pytest.raises(GitError):
        release_of(commit(repository, repository.git("rev-parse", "HEAD^{tree}")), releases)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({}, "nothing to deploy is given"),
        ({"path": "/a", "commit": "b"}, "path and commit are given"),
        ({"path": "a"}, "absolute"),
        ({"commit": "a"}, "repository"),
        ({"commit": "a", "repository": "/r", "directory": "../b"}, "inside the commit"),
        ({"commit": "a", "repository": "/r", "objects": "o"}, "objects"),
    ],
)
def test_a_deploy_with_too_many_or_too_few_keys_is_refused(keys: dict[str, str], problem: str) -> None:
    with pytest.raises(Refusal, match=problem) as refused:
        source_of(Deploy(**keys))  # pyright: ignore[reportArgumentType]
    assert refused.value.fault.code == "bad-input"


def test_a_commit_name_is_resolved_in_the_surrounding_repository(repository: Repository) -> None:
    id = repository.commit("one")
    inside = repository.path / "bots"
    inside.mkdir()
    (inside / "x.py").write_text("")
    found = git.resolve(inside, "HEAD")
    assert found == git.FoundCommit(repository.directory, id, "main", "bots", True)
    again = repository.commit("two")
    assert git.resolve(repository.path, "main~1") == git.FoundCommit(
        repository.directory, id, "main~1", "", False
    )
    assert git.resolve(repository.path, "nothing") is None
    assert git.resolve(repository.path, "--all") is None
    assert [note.subject for note in git.log(repository.directory, id, again)] == ["two"]


def test_a_commit_name_outside_a_repository_is_refused(tmp_path: Path) -> None:
    if subprocess.run(["git", "rev-parse"], cwd=tmp_path, capture_output=True, check=False).returncode == 0:
        pytest.skip("the temporary directory lies in a repository")
    assert git.resolve(tmp_path, "HEAD") is None


def test_free_disk_space_is_checked_first(tmp_path: Path) -> None:
    need(tmp_path, 1, "a release")
    with pytest.raises(DiskFull, match="no room for a release"):
        need(tmp_path, 1 << 60, "a release")


def test_a_subject_as_long_as_a_file_is_shortened(repository: Repository) -> None:
    first, id = repository.commit("first"), repository.commit("x" * 10_000)
    (listed,) = git.log(repository.directory, first, id)
    for note in (git.describe(repository.directory, id), listed):
        assert note.subject == "x" * 199 + "…"
