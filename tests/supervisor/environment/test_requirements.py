"""What a release's files ask for, and what makes it another environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.supervisor.config.config import ConfigError, load
from neverblink.supervisor.environment.requirements import Requirements, wanted

PROJECT = '[project]\nname = "fox"\nversion = "1"\ndependencies = ["ccxt>=4"]\n'
LOCK = 'version = 1\n[[package]]\nname = "fox"\nversion = "1"\nsource = { virtual = "." }\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "neverblink.toml").write_text('name = "fox"\nbot = "bot:Fox"\n')
    (tmp_path / "bot.py").write_text("v = 1\n")
    return tmp_path


def read_requirements(place: Path, **files: str) -> Requirements | None:
    """What is asked for with these files; `_` before the ending is the dot, and before it `-`."""
    for name, text in files.items():
        stem, _, ending = name.rpartition("_")
        (place / f"{stem.replace('_', '-')}.{ending}").write_text(text)
    return wanted(place, load(place))


def requirements(place: Path, **files: str) -> Requirements:
    found = read_requirements(place, **files)
    assert found is not None
    return found


def test_without_any_file_there_are_no_requirements(place: Path) -> None:
    assert read_requirements(place) is None
    assert read_requirements(place, pyproject_toml="[tool.ruff]\nline-length = 100\n") is None


def test_a_lock_takes_precedence_over_a_project_and_a_project_over_requirements(place: Path) -> None:
    assert requirements(place, requirements_txt="ccxt").kind == "requirements"
    assert requirements(place, pyproject_toml=PROJECT).kind == "project"
    assert requirements(place, uv_lock=LOCK).kind == "lock"


def test_a_configured_interpreter_or_none_means_no_requirements(place: Path) -> None:
    (place / "requirements.txt").write_text("ccxt")
    for line in ('python = "python3"', 'environment = "none"'):
        (place / "neverblink.toml").write_text(f'name = "fox"\nbot = "bot:Fox"\n{line}\n')
        assert read_requirements(place) is None


def test_one_requirements_file_is_used_and_several_are_refused(place: Path) -> None:
    assert requirements(place, requirements_live_txt="ccxt").file == "requirements-live.txt"
    with pytest.raises(ConfigError, match="environment: say which one"):
        read_requirements(place, requirements_dev_txt="pytest")
    assert requirements(place, requirements_txt="ccxt").file == "requirements.txt"
    (place / "neverblink.toml").write_text(
        'bot = "bot:Fox"\nname = "fox"\nenvironment = "requirements-dev.txt"'
    )
    assert requirements(place).file == "requirements-dev.txt"
    (place / "neverblink.toml").write_text('bot = "bot:Fox"\nname = "fox"\nenvironment = "nothing.txt"')
    with pytest.raises(ConfigError, match=r'no "nothing\.txt" here'):
        read_requirements(place)


def test_the_python_is_the_pinned_one_or_the_one_that_the_project_requires(place: Path) -> None:
    assert requirements(place, requirements_txt="ccxt").python == ""
    assert requirements(place, pyproject_toml=f'{PROJECT}requires-python = ">=3.12"\n').python == ">=3.12"
    (place / ".python-version").write_text("# ours\n3.13\n")
    assert requirements(place).python == "3.13"


def test_only_a_change_of_an_input_makes_another_environment(place: Path) -> None:
    first = requirements(place, pyproject_toml=PROJECT)
    for same in (
        PROJECT.replace('version = "1"', 'version = "2"'),
        f'{PROJECT}description = "a bot"\n[tool.ruff]\nline-length = 99\n',
    ):
        assert requirements(place, pyproject_toml=same).digest == first.digest
    (place / "bot.py").write_text("v = 2\n")
    assert requirements(place).digest == first.digest
    others = [
        requirements(place, pyproject_toml=PROJECT.replace(">=4", ">=5")).digest,
        requirements(place, pyproject_toml=f'{PROJECT}requires-python = ">=3.12"\n').digest,
        requirements(place, pyproject_toml=f'{PROJECT}[dependency-groups]\ndev = ["pytest"]\n').digest,
        requirements(place, pyproject_toml=f"{PROJECT}[tool.uv]\nno-index = true\n").digest,
        requirements(place, pyproject_toml=PROJECT, uv_toml="no-index = true\n").digest,
    ]
    assert len({first.digest, *others}) == 6


def test_included_files_and_local_packages_of_the_release_are_inputs(place: Path) -> None:
    (place / "base.txt").write_text("ccxt==4\n")
    first = requirements(place, requirements_txt="-r base.txt\n")
    assert (first.files[:2], first.tree) == (("requirements.txt", "base.txt"), False)
    (place / "base.txt").write_text("ccxt==5\n")
    assert requirements(place).digest != first.digest
    (place / "libs" / "prices").mkdir(parents=True)
    (place / "libs" / "prices" / "p.py").write_text("")
    for line in ("./libs/prices", "-e libs/prices", "prices @ file:libs/prices", "--find-links libs/"):
        local = requirements(place, requirements_txt=f"{line}\n")
        assert local.tree, line
        (place / "libs" / "prices" / "p.py").write_text(line)
        assert requirements(place).digest != local.digest
    source = f'{PROJECT}[tool.uv.sources]\nprices = {{ path = "libs/prices" }}\n'
    assert requirements(place, pyproject_toml=source).tree
    lock = f'{LOCK}[[package]]\nname = "prices"\nversion = "1"\nsource = {{ directory = "libs/prices" }}\n'
    assert requirements(place, uv_lock=lock).tree
    assert not requirements(place, uv_lock=LOCK, pyproject_toml=PROJECT).tree


@pytest.mark.parametrize(
    ("line", "worker"),
    [
        ("ccxt", "ours"),
        ("neverblink-extras==1", "ours"),
        ("neverblink", "named"),
        ("neverblink  # ours", "named"),
        ('neverblink ; python_version > "3"', "named"),
        ("neverblink==0.1.0", "pinned"),
        ("neverblink>=0.1", "pinned"),
        ("neverblink @ https://example.org/neverblink.whl", "pinned"),
    ],
)
def test_a_pinned_neverblink_is_used(place: Path, line: str, worker: str) -> None:
    assert requirements(place, requirements_txt=line).worker == worker
    project = quoted(line)
    if project:
        assert requirements(place, pyproject_toml=PROJECT.replace('"ccxt>=4"', project)).worker == worker


def quoted(line: str) -> str:
    """The line as it stands in a pyproject.toml; "" for one with a comment."""
    return "" if "#" in line else f"'{line}'"


def test_the_group_dev_is_for_the_check_and_groups_that_the_project_lists_are_for_the_bot(
    place: Path,
) -> None:
    config = Path(place, "neverblink.toml")
    config.write_text('bot = "bot:Fox"\nname = "fox"\n')
    groups = f'{PROJECT}[dependency-groups]\ndev = ["pytest"]\nlive = ["neverblink==1"]\n'
    for text, bots, checks in (
        (groups, (), ("dev",)),
        (f'{groups}[tool.uv]\ndefault-groups = ["live"]\n', ("live",), ("live",)),
        (f'{groups}[tool.uv]\ndefault-groups = "all"\n', ("dev", "live"), ("dev", "live")),
    ):
        Path(place, "pyproject.toml").write_text(text)
        for lock in ("", LOCK):
            Path(place, "uv.lock").unlink(missing_ok=True)
            if lock:
                Path(place, "uv.lock").write_text(lock)
            found = [wanted(place, load(place), development=check) for check in (False, True)]
            assert [item.groups for item in found if item] == [bots, checks]


def test_a_lock_with_a_neverblink_pins_it(place: Path) -> None:
    lock = f'{LOCK}[[package]]\nname = "neverblink"\nversion = "0.1.0"\nsource = {{ registry = "x" }}\n'
    assert requirements(place, pyproject_toml=PROJECT, uv_lock=lock).worker == "pinned"
    (place / "uv.lock").unlink()
    groups = f'{PROJECT}[dependency-groups]\ndev = ["pytest"]\nlive = ["neverblink==1"]\n'
    more = requirements(place, pyproject_toml=f'{groups}[tool.uv]\ndefault-groups = ["live"]\n')
    assert (more.groups, more.worker) == (("live",), "pinned")


def test_an_unreadable_file_is_named(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"pyproject\.toml: is not valid TOML"):
        read_requirements(place, pyproject_toml="[project")


@pytest.mark.parametrize(
    "line",
    [
        "../lib",
        "-e ../lib",
        "lib @ file:///opt/lib",
        "/opt/lib.whl",
        "-r ../base.txt",
        "./a/../../lib",
        "file:../lib",
    ],
)
def test_a_requirement_outside_the_release_is_named_with_the_remedy(place: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"requirements\.txt: .* leads out of the release.*libs/NAME"):
        read_requirements(place, requirements_txt=f"ccxt>=4\n{line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "--cert /etc/ssl/cert.pem",
        "lib @ https://example.org/lib.whl",
        "lib @ git+https://example.org/lib.git",
        "./libs/lib",
        "-e libs/lib  # see ../README",
        "a==1 ; python_version >= '3.11'",
    ],
)
def test_a_requirement_inside_the_release_or_from_an_index_is_accepted(place: Path, line: str) -> None:
    (place / "libs" / "lib").mkdir(parents=True)
    assert read_requirements(place, requirements_txt=line) is not None


def test_a_source_of_a_project_outside_the_release_is_named(place: Path) -> None:
    for source in ('lib = { path = "../lib" }', 'lib = [{ path = "/opt/lib" }]'):
        with pytest.raises(ConfigError, match=r"pyproject\.toml: .* leads out of the release"):
            read_requirements(place, pyproject_toml=f"{PROJECT}[tool.uv.sources]\n{source}\n")
    with pytest.raises(ConfigError, match=r"pyproject\.toml: .* leads out of the release"):
        read_requirements(place, pyproject_toml=PROJECT.replace("ccxt>=4", "lib @ file:///opt/lib"))
    lock = LOCK + '[[package]]\nname = "lib"\nversion = "1"\nsource = { directory = "../lib" }\n'
    with pytest.raises(ConfigError, match=r"uv\.lock: .* leads out of the release"):
        read_requirements(place, pyproject_toml=PROJECT, uv_lock=lock)


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(place: Path) -> None:
    plain = requirements(place, requirements_txt="ccxt>=4\n")
    (place / "requirements.txt").write_bytes(b"\xef\xbb\xbfneverblink\r\nccxt>=4\r\n")
    assert requirements(place).worker == "named"
    assert plain.worker == "ours"
    (place / ".python-version").write_bytes(b"\xef\xbb\xbf3.12\r\n")
    assert requirements(place).python == "3.12"
    (place / "neverblink.toml").write_bytes(b'\xef\xbb\xbfname = "fox"\r\nbot = "bot:Fox"\r\n')
    (place / "pyproject.toml").write_bytes(b"\xef\xbb\xbf" + PROJECT.replace("\n", "\r\n").encode())
    assert requirements(place).kind == "project"


@pytest.mark.parametrize("name", ["neverblink.toml", "pyproject.toml", "requirements.txt", ".python-version"])
def test_a_file_in_another_encoding_is_named_with_its_encoding(place: Path, name: str) -> None:
    (place / "requirements.txt").write_text("ccxt>=4\n")
    for data, says in (
        ("# ccxt".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("# ccxt".encode("utf-16-le"), "is UTF-16 or binary: save it as UTF-8"),
        (b"# one\n# caf\xe9\n", r"is not UTF-8 \(byte 0xe9 in line 2\): save it as UTF-8"),
    ):
        (place / name).write_bytes(data)
        with pytest.raises(ConfigError, match=rf"{name}: {says}"):
            read_requirements(place)
