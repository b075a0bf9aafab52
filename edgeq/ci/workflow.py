"""Commands to GitHub's runner: outputs of a step, and messages at the job."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from edgeq.escaping import printable


def set_outputs(**values: str) -> None:
    """Set outputs of the current step; a value may have several lines."""
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as stream:
        for name, value in values.items():
            # No value can contain a random delimiter, and so end itself and set another output.
            end = secrets.token_hex(16)
            stream.write(f"{name}<<{end}\n{value}\n{end}\n")


def tell(kind: str, text: str) -> None:
    """Show a message at the job.

    Args:
        kind: "notice", "warning" or "error".
        text: on one line; the runner decodes %25 as a percent sign.
    """
    print(f"::{kind}::{printable(text).replace('%', '%25')}", flush=True)
