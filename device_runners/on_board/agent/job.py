"""Jobs, events and errors that the agent and edgeq exchange, all as JSON.

A job is a folder with `job.json`, which names files relative to that folder. Events are lines on
stdout; the last one is {"event": "end"}, so that a reader knows that a stream is complete. The
result is `result.json`.
"""

from __future__ import annotations

import json
from typing import Any

PROTOCOL = 1  # version of the format of jobs and results


class JobError(Exception):
    """A failure with a stable code, for the result."""

    def __init__(self, code: str, message: str, details: str = ""):
        super().__init__(message)
        self.code = code
        self.details = details

    def plain(self) -> dict[str, Any]:
        """The error as JSON."""
        return {"code": self.code, "message": str(self), "details": self.details}


def emit(event: str, **fields: Any) -> None:
    """Print one event."""
    print(json.dumps(dict(fields, event=event)), flush=True)
