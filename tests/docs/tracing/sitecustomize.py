"""Notes which of our functions a process calls: Python imports this file first when its directory is on PYTHONPATH.

One file for each process in the directory WALKS: first its command line, then `TIME FILE FUNCTION` for each call, at
most one in 30 ms for the same function. What runs while a module is imported is not noted.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any

_PACKAGES = ("/protocol/", "/supervisor/", "/worker/")
_PAUSE = 30_000_000


def _trace(directory: str, root: str) -> None:
    out = open(f"{directory}/{os.getpid()}.txt", "a", buffering=1)  # noqa: SIM115 - open as long as the process is
    out.write(" ".join(sys.orig_argv) + "\n")
    files: dict[CodeType, str] = {}
    noted: dict[CodeType, int] = {}
    local = threading.local()

    def file_of(code: CodeType) -> str:
        _, installed, name = code.co_filename.partition("/site-packages/neverblink/")
        if installed:
            return name
        inside = code.co_filename.removeprefix(root)
        ours = inside != code.co_filename and inside.startswith(_PACKAGES)
        return inside.lstrip("/") if ours and "/bots/" not in inside else ""

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return"):
            return
        if (name := files.get(code)) is None:
            name = files[code] = file_of(code)
        if not name:
            return
        if code.co_name == "<module>":
            if frame.f_globals.get("__name__") != "__main__":
                local.imports = getattr(local, "imports", 0) + (1 if event == "call" else -1)
        elif event == "call" and not getattr(local, "imports", 0):
            now = time.time_ns()
            if now - noted.get(code, 0) > _PAUSE:
                noted[code] = now
                out.write(f"{now} {name} {code.co_qualname}\n")

    threading.setprofile(note)
    sys.setprofile(note)


if "WALKS" in os.environ:
    _trace(os.environ["WALKS"], os.environ["WALKS_ROOT"])
