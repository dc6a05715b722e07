"""The two files of a home: `status.json` says what is, `control.json` holds requests.

For what cannot ask over a socket: a script, a cron job, a tool that knows files. What is asked for here becomes the
same command that every other surface builds, and goes to the same place.
"""

from __future__ import annotations

from .control_files import ControlFiles
from .json_shapes import StatusFile, control_schema, status_schema
from .request_files import RequestFiles

__all__ = ["ControlFiles", "RequestFiles", "StatusFile", "control_schema", "status_schema"]
