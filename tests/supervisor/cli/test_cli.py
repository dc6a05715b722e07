"""What every verb has in common: how it ends, in words, in JSON and in the exit code."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from neverblink.protocol.commands import Code, Fault
from neverblink.supervisor.cli.command import SHARED
from neverblink.supervisor.cli.command_group import COMMANDS, GROUPS, neverblink
from neverblink.supervisor.cli.exit_codes import Exit, exit_of_fault

from ..fake_supervisor import FakeSupervisor

REMOTE = (
    "abort", "acknowledge", "commands", "deploy", "down", "halt", "lock", "pause", "rebase-clock", "restart", "resume",
    "rollback", "send", "settings", "status", "top", "unlock",
)  # fmt: skip
"""The commands that only ask the supervisor."""


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(neverblink, [str(arg) for arg in args])


def json_of(result: Result) -> dict[str, object]:
    """The one JSON object on stdout, which is all there is."""
    assert result.stdout.count("\n") == 1
    return msgspec.json.decode(result.stdout, type=dict[str, object])


def test_help_lists_every_command_in_its_group() -> None:
    result = run("--help")
    assert result.exit_code == 0
    sections = dict(re.findall(r"^(\w+):\n((?:  .*\n)+)", result.stdout, re.MULTILINE))
    assert list(sections)[-len(GROUPS) :] == ["Develop", "Run", "Deploy", "Observe", "Operate", "Administer"]
    for group, commands in GROUPS.items():
        assert re.findall(r"^  ([\w-]+) ", sections[group], re.MULTILINE) == list(commands)
    assert sum(map(len, GROUPS.values())) == len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_shared_options(name: str) -> None:
    command = neverblink.get_command(click.Context(neverblink), name)
    for parts in command.commands if isinstance(command, click.Group) else [""]:
        result = run(name, *parts.split(), "--help")
        assert result.exit_code == 0
        assert all(option in result.stdout for option in ("--json", "--home", "--project"))
        remote = (not parts and name in REMOTE) or name == "feed" or (name == "state" and parts != "export")
        assert all((option in result.stdout) is remote for option in ("  --server TCP", "  --key PATH"))


def test_the_error_for_an_unknown_command_suggests_the_closest_one() -> None:
    for wrong, right in (("statsu", "status"), ("reload", "deploy"), ("stop", "down")):
        result = run(wrong)
        assert result.exit_code == Exit.BAD_INPUT
        assert f"did you mean `neverblink {right}`?" in result.stderr


def test_shared_options_may_come_before_the_command(tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path, {"pause": {"paused": True}}):
        for early in (["--home", tmp_path, "--json"], ["--json", f"--home={tmp_path}"]):
            assert json_of(run(*early, "pause", "-m", "thin market")) == {"paused": True}
        assert run("--home", "/nowhere", "pause", "--home", tmp_path).exit_code == Exit.DONE
    # `journal show` is a command of two words.
    assert f"home {tmp_path}" in run("--home", tmp_path, "journal", "show").stderr
    assert run("--home", tmp_path, "--help").stdout == run("--help").stdout
    alone = run("--home", "x")
    assert alone.exit_code == Exit.BAD_INPUT
    assert "--home needs a command, as in `neverblink status --home x`" in alone.stderr
    assert "there is no option --frce" in run("--frce", "pause").stderr


def test_every_command_has_every_shared_option() -> None:
    for name in ("status", "deploy"):
        command = neverblink.get_command(click.Context(neverblink), name)
        assert command is not None
        options = {option: param for param in command.params for option in param.opts}
        assert all(
            getattr(options[option], "is_flag", False) is not valued for option, valued in SHARED.items()
        )


@pytest.mark.parametrize(
    ("expected", "meant"),
    [("warn", "warning"), ("WARNING", "warning"), ("err", "error"), ("fatal", "error"), ("inf", "info")],
)
def test_the_error_for_an_unknown_choice_suggests_the_closest_one(expected: str, meant: str) -> None:
    result = run("logs", "--level", expected)
    assert result.exit_code == Exit.BAD_INPUT
    assert f"did you mean {meant}?" in result.stderr
    assert "did you mean" not in run("logs", "--level", "purple").stderr


def test_a_wrong_option_is_reported_in_one_line() -> None:
    result = run("deploy", "--frce", "x")
    assert result.exit_code == Exit.BAD_INPUT
    assert result.stderr.startswith("neverblink: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("code", get_args(Code))
def test_every_fault_has_an_exit_code(code: Code, tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path, {"pause": Fault(code, "it is so", {"deployment": 4})}):
        result = run("pause", "--home", tmp_path)
        assert result.exit_code == exit_of_fault(code) != Exit.DONE
        assert result.stderr == "neverblink: it is so\n"
        assert result.stdout == ""
        error = json_of(run("pause", "--home", tmp_path, "--json"))["error"]
        assert error == {
            "exit": result.exit_code,
            "kind": exit_of_fault(code).name.lower(),
            "message": "it is so",
            "facts": {"fault": {"code": code, "message": "it is so", "facts": {"deployment": 4}}},
        }


def test_the_error_without_a_supervisor_names_the_home_and_the_remedy(tmp_path: Path) -> None:
    result = run("pause", "--home", tmp_path)
    assert result.exit_code == Exit.UNREACHABLE
    assert result.stderr == (
        f"neverblink: home {tmp_path}: no supervisor runs here: start it with `neverblink up`, or name another --home\n"
    )


def test_the_error_without_a_project_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("pause")
    assert result.exit_code == Exit.BAD_INPUT
    assert "neverblink init" in result.stderr


def test_a_mistake_in_the_configuration_is_reported_in_one_line_with_the_closest_key(tmp_path: Path) -> None:
    (tmp_path / "neverblink.toml").write_text('bot = "bot:Bot"\n[handoff]\nprobatoin = "3s"\n')
    (tmp_path / "bot.py").write_text("")
    result = run("deploy", tmp_path)
    assert result.exit_code == Exit.BAD_INPUT
    assert 'handoff.probatoin: there is no such key: did you mean "probation"?' in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_bug_is_reported_in_one_line_and_its_traceback_is_kept(tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path, {"rollback": "not what a supervisor answers"}):
        result = run("rollback", "--home", tmp_path)
    assert result.exit_code == Exit.BROKEN
    assert result.stderr.count("\n") == 1
    found = re.fullmatch(r"neverblink: unexpected TypeError: .* \(details: (\S+)\)\n", result.stderr)
    assert found
    kept = Path(found[1])
    assert "Traceback" in kept.read_text()
    kept.unlink()


def test_the_home_is_found_from_a_subdirectory_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "neverblink.toml").write_text('bot = "bot:Bot"\n')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    with FakeSupervisor(tmp_path / ".neverblink", {"pause": {"paused": True}}):
        assert json_of(run("pause", "--json")) == {"paused": True}
        monkeypatch.chdir("/")
        assert json_of(run("pause", "--json", "--project", tmp_path)) == {"paused": True}
        monkeypatch.setenv("NEVERBLINK_HOME", str(tmp_path / ".neverblink"))
        assert json_of(run("pause", "--json")) == {"paused": True}


def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "neverblink.supervisor.cli", "completion", "bash"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(30) == 0
    process.stderr.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_for_a_shell(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_NEVERBLINK_COMPLETE" in result.stdout


def test_the_key_of_a_client_is_written_outside_the_project(tmp_path: Path) -> None:
    project = tmp_path / "fox"
    project.mkdir()
    environment = {"HOME": str(tmp_path / "anna"), "XDG_CONFIG_HOME": ""}
    words = ["keys", "generate", "anna", "--home", str(project / ".neverblink"), "--json"]
    made = CliRunner().invoke(neverblink, words, env=environment)
    assert made.exit_code == Exit.DONE, made.output
    file = tmp_path / "anna" / ".config" / "neverblink" / "keys" / "anna.key"
    assert json.loads(made.stdout)["file"] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in project.iterdir()] == [".neverblink"]
    refused = CliRunner().invoke(neverblink, words, env={"HOME": "", "XDG_CONFIG_HOME": ""})
    assert refused.exit_code == Exit.BAD_INPUT
    assert "name the key's file with --out" in refused.stderr


def test_check_reports_the_contents_of_a_release_and_problems_with_the_environment_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "bot.py").write_text("class Bot: ...\n")
    (tmp_path / "trades.db").write_text("")
    (tmp_path / "neverblink.toml").write_text('name = "fox"\nbot = "bot:Bot"\nenv_file = "keys.env"\n')
    words = ["check", str(tmp_path), "--no-rehearsal", "--json"]
    missing = json.loads(CliRunner().invoke(neverblink, words).stdout)
    found = {check["check"]: check for check in missing["checks"]}
    assert not found["env_file"]["ok"]
    assert "is not there: create it" in found["env_file"]["detail"]
    assert found["release"]["detail"].startswith("2 files, ")
    assert "not in the release: trades.db" in found["release"]["detail"]
    (tmp_path / "keys.env").write_text("A=1\n")
    (tmp_path / "keys.env").chmod(0o644)
    answer = json.loads(CliRunner().invoke(neverblink, words).stdout)
    found = {check["check"]: check for check in answer["checks"]}
    assert "chmod 600" in found["env_file"]["detail"]


@pytest.mark.parametrize("group", ["hook", "journal"])
def test_a_command_group_shows_its_help_by_itself(group: str) -> None:
    alone = run(group)
    assert alone.exit_code == Exit.DONE
    assert alone.stdout == run(group, "--help").stdout
    assert "  status  " in alone.stdout or "  verify  " in alone.stdout
    assert run(group, "nosuch").exit_code == Exit.BAD_INPUT


def test_help_and_the_help_option_print_the_same() -> None:
    assert run("help").stdout == run("--help").stdout
    assert run("help", "deploy").stdout == run("deploy", "--help").stdout
    assert run("help", "journal", "show").stdout == run("journal", "show", "--help").stdout
    assert "did you mean `neverblink deploy`" in run("help", "deplo").stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("pause", "--reason", "x"),
            "there is no option --reason: did you mean --why? (see neverblink pause --help)",
        ),
        (("deploy", "--dryrun", "."), "there is no option --dryrun: did you mean --dry-run?"),
        (("pause", "--xyz"), "there is no option --xyz (see neverblink pause --help)"),
        (
            ("completion", "ksh"),
            "'ksh' is not one of 'bash', 'zsh', 'fish' (see neverblink completion --help)",
        ),
        (("completion", "bsh"), "did you mean bash?"),
    ],
)
def test_a_hint_names_only_close_words(words: tuple[str, ...], expected: str) -> None:
    wrong = run(*words)
    assert wrong.exit_code == Exit.BAD_INPUT
    assert expected in wrong.stderr


@pytest.mark.parametrize("option", ["--server", "--key"])
@pytest.mark.parametrize(
    "words",
    [(name,) for name in COMMANDS if name not in (*REMOTE, "feed", "hook", "journal", "state")]
    + [("journal", "show"), ("hook", "status"), ("state", "export")],
    ids=" ".join,
)
def test_a_local_command_refuses_a_server(tmp_path: Path, words: tuple[str, ...], option: str) -> None:
    more = {
        "schema": ["status"],
        "completion": ["bash"],
        "adopt": [tmp_path / "script.py"],
        "init": [tmp_path / "fox"],
        "hook": [tmp_path],
        "backup": [tmp_path / "copy"],
    }.get(words[0], [])
    refused = run(*words, option, "tcp://127.0.0.1:1", *more)
    assert refused.exit_code == Exit.BAD_INPUT
    assert (
        f"`{' '.join(words)}` works only on the bot's machine; run it there, without {option}"
        in refused.stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_reads_the_home_refuses_a_server_from_the_environment(tmp_path: Path) -> None:
    environment = {"NEVERBLINK_SERVER": "tcp://127.0.0.1:1"}
    refused = CliRunner().invoke(neverblink, ["logs", "--home", str(tmp_path)], env=environment)
    assert refused.exit_code == Exit.BAD_INPUT
    assert "`logs` works only on the bot's machine; run it there, without NEVERBLINK_SERVER" in refused.stderr


def test_a_command_that_needs_no_bot_ignores_a_server_from_the_environment(tmp_path: Path) -> None:
    environment = {"NEVERBLINK_SERVER": "tcp://127.0.0.1:1"}
    made = CliRunner().invoke(neverblink, ["init", str(tmp_path / "fox")], env=environment)
    assert made.exit_code == Exit.DONE, made.output


def test_a_command_to_copy_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "next: cd 'my bot' && neverblink up" in run("init", "my bot").stdout


def test_the_help_of_top_has_its_keys() -> None:
    text = run("top", "--help").stdout
    for key in ("q, Ctrl-C, Ctrl-D  quit", "p  ", "d  ", "r  "):
        assert f"  {key}" in text


@pytest.mark.parametrize("verb", ["up", "status", "deploy ."])
def test_a_missing_project_is_reported_by_its_path(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "neverblink.toml").write_text('bot = "bot:Bot"\n')
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, expected in (("nope", "there is no such directory"), ("empty", "it has no neverblink.toml")):
        result = run(*verb.split(), "--project", name)
        assert result.exit_code == Exit.BAD_INPUT
        assert f"--project {tmp_path / name}: {expected}" in result.stderr
