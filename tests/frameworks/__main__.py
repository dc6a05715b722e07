"""Makes an environment for each package in this directory, and runs its tests: `bin/test --frameworks [PACKAGE ...]`.

An environment holds this checkout of neverblink and what the package's `requirements.txt` pins. It is kept in
`.venv-frameworks/` until one of the two changes. uv makes it when there is one, else venv and pip. Options, from the
first word that begins with a dash, go to pytest.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent.parent
_ENVIRONMENTS = _ROOT / ".venv-frameworks"


def main(argv: list[str]) -> int:
    packages = sorted(file.parent.name for file in _HERE.glob("*/requirements.txt"))
    wanted = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    unknown = [name for name in wanted if name not in packages]
    if unknown:
        print(f"no such package: {unknown[0]}; there are {', '.join(packages)}", file=sys.stderr)
        return 2
    failed: list[str] = []
    for package in wanted or packages:
        print(f"== {package}", flush=True)
        try:
            python = environment(package)
        except subprocess.CalledProcessError as problem:
            print(
                f"the environment of {package} could not be made: exit {problem.returncode}", file=sys.stderr
            )
            failed.append(package)
            continue
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-s",
                "-m",
                "deep or not deep",
                # A bot that acts once a minute takes some minutes through everything.
                "--timeout=900",
                str(_HERE / package),
                *argv[len(wanted) :],
            ],
            cwd=_ROOT,
            env={
                **os.environ,
                "NEVERBLINK_FRAMEWORKS": "1",
                f"NEVERBLINK_FRAMEWORK_{package.upper()}": str(python),
            },
        )
        if done.returncode:
            failed.append(package)
    if failed:
        print(f"FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def environment(package: str) -> Path:
    """The interpreter of the package's environment, which is made if necessary. Raises `CalledProcessError`."""
    place, requirements = _ENVIRONMENTS / package, _HERE / package / "requirements.txt"
    python, stamp = place / "bin" / "python", place / "stamp"
    asked = hashlib.sha256(
        requirements.read_bytes() + (_ROOT / "pyproject.toml").read_bytes() + sys.version.encode()
    )
    if stamp.exists() and stamp.read_text() == asked.hexdigest():
        return python
    shutil.rmtree(place, ignore_errors=True)
    uv = shutil.which(
        "uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    wanted = ["--requirement", str(requirements), "--editable", str(_ROOT)]
    if uv is not None:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(place)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *wanted], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    stamp.write_text(asked.hexdigest())
    return python


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
