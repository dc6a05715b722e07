"""A user's working tree, and the bare repository it is pushed to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from threading import Condition, Thread

from .live import WITHIN, CliResult, Live

__all__ = ["HANDED", "Push", "Pushing"]

HANDED = re.compile(r"=====> handed over at tick (\d+) in \S+ ms, (\d+) missed")
"""The last line of a successful push: the tick, and how many were missed."""


class Push:
    """A `git push` that runs, with what it prints: git's own words and the hook's, all of them on stderr."""

    def __init__(self, argv: list[str], where: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            argv,
            cwd=where,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._said = b""
        self._open = True
        self._more = Condition()
        self._thread = Thread(target=self._take, daemon=True)
        self._thread.start()

    def prints(self, text: str) -> None:
        """Wait until it has printed this."""
        with self._more:
            self._more.wait_for(lambda: text in self.output or not self._open, WITHIN)
            assert text in self.output, f"the push did not print {text!r}:\n{self.output}"

    def kill(self) -> None:
        """End git on the pusher's side, as a terminal that goes away does; what it started is not asked."""
        self._process.send_signal(signal.SIGKILL)

    def ends(self) -> CliResult:
        try:
            code = self._process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the push has not ended:\n{self.output}") from None
        self._thread.join(WITHIN)
        return CliResult(code, "", self.output)

    @property
    def output(self) -> str:
        return self._said.decode(errors="replace").replace("remote: ", "")

    def _take(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while data := os.read(stream.fileno(), 65536):
                with self._more:
                    self._said += data
                    self._more.notify_all()
        with self._more:
            self._open = False
            self._more.notify_all()


class Pushing:
    """A repository `work` with the remote `live`, beside the bot's home."""

    def __init__(self, live: Live, *options: str) -> None:
        self.live = live
        self.work = live.tmp / "work"
        self.bare = live.tmp / "live.git"
        self._environment = {
            **{name: value for name, value in live.environment.items() if not name.startswith("GIT_")},
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            **{f"GIT_{who}_NAME": "Anna" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "anna@example.org" for who in ("AUTHOR", "COMMITTER")},
        }
        self.work.mkdir()
        self.git("init", "--quiet")
        self.git("symbolic-ref", "HEAD", "refs/heads/main")
        self.git("init", "--quiet", "--bare", str(self.bare))
        self.git("remote", "add", "live", str(self.bare))
        self.install(*options)

    def use(self, variable: str, value: str) -> None:
        """Have git see this variable from now on."""
        self._environment[variable] = value

    def install(self, *options: str) -> None:
        done = self.live.run("hook", "install", self.bare, *options)
        assert done.code == 0, done

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.work, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, code: Path, subject: str) -> str:
        """Commit the project in `code` as it is; return the commit's id."""
        for file in code.iterdir():
            (self.work / file.name).write_bytes(file.read_bytes())
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")

    def change(self, subject: str) -> str:
        """Commit a change that changes nothing; return the commit's id."""
        with (self.work / "bot.py").open("a") as file:
            file.write(f"# {subject}\n")
        self.git("commit", "--quiet", "--all", "--message", subject)
        return self.git("rev-parse", "HEAD")

    def start(self, *words: str) -> Push:
        return Push(["git", "push", *words], self.work, self._environment)

    def push(self, *words: str) -> CliResult:
        """`git push WORDS`, to its end; by default `live main`."""
        return self.start(*(words or ("live", "main"))).ends()

    def tip(self, branch: str = "main") -> str:
        """What the branch is at in the bare repository, "" when it is not there."""
        return self.git("ls-remote", str(self.bare), f"refs/heads/{branch}").partition("\t")[0]
