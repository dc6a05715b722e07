"""The two files of a home: `status.json` holds the status, `control.json` holds requests.

For clients that cannot use a socket: a script, a cron job, a tool that works with files. A request becomes the same
command that every other client sends, and goes to the same dispatcher.
"""

from __future__ import annotations

from .control_files import ControlFiles
from .json_shapes import StatusFile, control_schema, status_schema
from .request_files import RequestFiles

__all__ = ["ControlFiles", "RequestFiles", "StatusFile", "control_schema", "status_schema"]
