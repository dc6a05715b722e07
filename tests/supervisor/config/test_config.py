from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from neverblink.supervisor.config.config import (
    Config,
    ConfigError,
    DeploySettings,
    HandoffSettings,
    LogSettings,
    NoConfig,
    load,
)

BOT = 'bot = "bot:Foresight"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "foresight"
    directory.mkdir()
    return directory


def write(project: Path, text: str, file: str = "neverblink.toml") -> Path:
    (project / file).write_text(text)
    return project


def refusal(project: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(write(project, text))
    assert caught.value.path == project / "neverblink.toml"
    assert "\n" not in caught.value.message
    return caught.value


def test_only_the_bot_is_required(project: Path) -> None:
    config = load(write(project, BOT))
    assert config == Config(
        path=project / "neverblink.toml", name="foresight", bot="bot:Foresight", python=sys.executable
    )
    assert config.directory == project
    assert config.handoff == HandoffSettings()
    assert config.keep.releases == 5


def test_every_key_can_be_set(project: Path) -> None:
    config = load(
        write(
            project,
            """
            name = "sniper.2"
            bot = "bots.sniper:make"
            python = "python3.13"
            environment = "requirements-live.txt"
            durability = "always"
            [deploy]
            check = "pytest -q tests/smoke"
            check_within = "30s"
            build_within = "1h"
            [handoff]
            start_within = "2m"
            rehearse_within = "1m30s"
            boundary_within = "10m"
            lease_within = "500ms"
            probation = "5s"
            hang_after = "1.5s"
            [keep]
            releases = 9
            [journal]
            segment = "1MiB"
            keep = "1.5GB"
            keep_for = "2d"
            [log]
            format = "json"
            size = "64KiB"
            keep = 1
            """,
        )
    )
    s = 1_000_000_000
    assert config.environment == "requirements-live.txt"
    assert config.deploy == DeploySettings("pytest -q tests/smoke", 30_000_000_000, 3_600_000_000_000)
    assert (config.name, config.bot, config.python, config.durability) == (
        "sniper.2",
        "bots.sniper:make",
        "python3.13",
        "always",
    )
    assert msgspec.structs.astuple(config.handoff) == (120 * s, 90 * s, 600 * s, s // 2, 5 * s, s * 3 // 2)
    assert config.keep.releases == 9
    assert msgspec.structs.astuple(config.journal) == (2**20, 1_500_000_000, 2 * 86_400 * s)
    assert config.log == LogSettings("json", 65_536, 1)


def test_a_journal_of_large_segments_keeps_two_of_them(project: Path) -> None:
    config = load(write(project, BOT + '[journal]\nsegment = "1GiB"'))
    assert (config.journal.segment, config.journal.keep) == (2**30, 2**31)


def test_a_configuration_can_be_in_pyproject(project: Path) -> None:
    config = load(
        write(project, f"[tool.neverblink]\n{BOT}[tool.neverblink.keep]\nreleases = 2", "pyproject.toml")
    )
    assert config.path == project / "pyproject.toml"
    assert config.keep.releases == 2


def test_a_pyproject_without_our_table_is_not_a_configuration(project: Path) -> None:
    write(project, "[tool.ruff]\nline-length = 100", "pyproject.toml")
    assert load(write(project, BOT)).bot == "bot:Foresight"


def test_two_configurations_are_refused(project: Path) -> None:
    write(project, "[tool.neverblink]\n" + BOT, "pyproject.toml")
    assert "keep one of the two" in refusal(project, BOT).message


def test_a_missing_configuration_is_reported_with_the_remedy(project: Path) -> None:
    with pytest.raises(NoConfig, match="neverblink init"):
        load(project)
    write(project, "", "pyproject.toml")
    with pytest.raises(NoConfig):
        load(project)


def test_a_project_that_is_not_a_directory_is_named(project: Path) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        load(project / "nowhere")
    write(project, BOT)
    with pytest.raises(ConfigError, match="it is a file: expected the bot's directory"):
        load(project / "neverblink.toml")


@pytest.mark.parametrize(
    ("line", "key", "mend"),
    [
        ('bto = "bot:B"', "bto", 'did you mean "bot"?'),
        (
            'colour = "red"',
            "colour",
            "expected one of name, bot, command, python",
        ),
        ('[handoff]\nprobaton = "5s"', "handoff.probaton", 'did you mean "probation"?'),
        ('[handoff]\nstart-within = "5s"', "handoff.start-within", 'did you mean "start_within"?'),
        ("[keep]\nrelease = 3", "keep.release", 'did you mean "releases"?'),
        ('[handoff]\nprobation = "5 parsecs"', "handoff.probation", '"5 parsecs" is not a duration'),
        (
            "[handoff]\nprobation = 5",
            "handoff.probation",
            'is 5: expected a duration with its unit, in quotes, as "20s"',
        ),
        ("[handoff]\nprobation = true", "handoff.probation", 'is true: expected a duration, as "20s"'),
        ('[handoff]\nprobation = "0s"', "handoff.probation", "expected more than nothing"),
        ('[handoff]\nprobation = "-5s"', "handoff.probation", "expected more than nothing"),
        ('handoff = "fast"', "handoff", 'is "fast": expected a table, [handoff]'),
        ('[keep]\nreleases = "5"', "keep.releases", "expected a whole number from 1"),
        ("[keep]\nreleases = true", "keep.releases", "is true: expected a whole number"),
        ("[keep]\nreleases = 0", "keep.releases", "is 0: expected a whole number from 1"),
        ('[log]\nsize = "1kB"', "log.size", 'is "1kB": expected 64KiB to 1TiB'),
        ("[log]\nkeep = 0", "log.keep", "is 0: expected a whole number from 1 to 1000"),
        ('[log]\nformat = "xml"', "log.format", 'is "xml": expected one of text, json'),
        ('[journal]\nkeeps = "1GB"', "journal.keeps", 'did you mean "keep"?'),
        (
            "[journal]\nsegment = 64",
            "journal.segment",
            'is 64: expected a size with its unit, in quotes, as "16MiB"',
        ),
        ("[journal]\nsegment = true", "journal.segment", 'is true: expected a size, as "16MiB"'),
        (
            '[journal]\nsegment = "big"',
            "journal.segment",
            '"big" is not a size: write something like "16MiB"',
        ),
        ('[journal]\nsegment = "1kB"', "journal.segment", 'is "1kB": expected 64KiB to 1GiB'),
        ('[journal]\nkeep = "16MiB"', "journal.keep", 'is "16MiB": expected 32MiB to 1024TiB'),
        (
            "[journal]\nkeep_for = 30",
            "journal.keep_for",
            'expected a duration with its unit, in quotes, as "30d"',
        ),
        ('[listen]\ntcp = "7777"', "listen.tcp", 'is "7777": expected ADDRESS:PORT, as in "127.0.0.1:7777"'),
        ("[listen]\nport = 7777", "listen.port", "there is no such key"),
        ("standby = 2", "standby", "is 2: expected a whole number from 0 to 1"),
        ('durability = "maybe"', "durability", 'is "maybe": expected one of process, interval, always'),
        ("name = 5", "name", "is 5: expected a text in quotes"),
        ('name = "../etc"', "name", "expected up to 64 letters"),
        ('[deploy]\ncheck = "say \'no"', "deploy.check", "No closing quotation"),
        ('[deploy]\nchecks = "x"', "deploy.checks", 'did you mean "check"?'),
        ('python = ""', "python", 'is "": expected a text in quotes'),
        ("python = []", "python", "is a list: expected a text in quotes"),
        ('command = "node worker.js"', "command", "expected a list of texts"),
        ('python = "python3"\ncommand = ["node"]', "command", "cannot stand beside python"),
    ],
)
def test_a_mistake_is_reported_with_its_key_and_the_remedy(
    project: Path, line: str, key: str, mend: str
) -> None:
    error = refusal(project, BOT + line)
    assert error.key == key
    assert mend in error.message
    assert f"neverblink.toml: {key}: " in error.message


@pytest.mark.parametrize(
    "bot", ["bot", "bot.py", "bot:", ":Bot", "bot:Bot()", "my-bot:Bot", "a..b:C", "bot:9"]
)
def test_the_bot_must_be_a_module_and_a_name(project: Path, bot: str) -> None:
    error = refusal(project, f'bot = "{bot}"')
    assert error.key == "bot"
    assert "expected MODULE:NAME" in error.message


def test_the_error_for_a_missing_bot_shows_how_to_name_one(project: Path) -> None:
    assert 'bot = "bot:Foresight"' in refusal(project, "").message


def test_a_directory_name_that_is_not_a_valid_bot_name_requires_a_name(tmp_path: Path) -> None:
    project = tmp_path / "my first bot!"
    project.mkdir()
    assert 'write name = "my-first-bot"' in refusal(project, BOT).message


@pytest.mark.parametrize("text", ["bot = ", "= 1"])
def test_invalid_toml_is_reported(project: Path, text: str | bytes) -> None:
    (project / "neverblink.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load(project)


def test_the_path_of_an_interpreter_is_relative_to_the_project_also_in_a_release(
    project: Path, tmp_path: Path
) -> None:
    release = tmp_path / "release"
    release.mkdir()
    text = BOT + 'name = "foresight"\npython = "../envs/py/bin/python"'
    assert load(write(project, text)).python == str(tmp_path / "envs/py/bin/python")
    assert load(write(release, text), project).python == str(tmp_path / "envs/py/bin/python")


def test_a_command_stands_in_place_of_the_interpreter(project: Path) -> None:
    config = load(write(project, BOT + 'command = ["node", "worker.js"]'))
    assert config.command == ("node", "worker.js")
    assert (config.bot, config.module, config.environment) == ("bot:Foresight", "", "none")
    assert load(write(project, BOT)).module == "bot:Foresight"


def test_a_release_has_the_name_of_its_project(project: Path, tmp_path: Path) -> None:
    release = tmp_path / "20260101T000000Z-00000000"
    release.mkdir()
    assert load(write(release, BOT), project).name == "foresight"


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("", "auto"),
        ('python = "python3.13"', "none"),
        ('python = "python3.13"\nenvironment = "auto"', "auto"),
        ('environment = "none"', "none"),
    ],
)
def test_a_configured_interpreter_is_used(project: Path, text: str, environment: str) -> None:
    assert load(write(project, BOT + text)).environment == environment
