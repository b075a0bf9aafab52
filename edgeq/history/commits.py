"""The git commit that records belong to, when the user asks for it."""

from __future__ import annotations

import os
import subprocess

from edgeq.errors import UsageError

AUTO = "auto"

# Set by GitHub Actions, GitLab and Jenkins.
_VARIABLES = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")
_GIT_S = 10


def find_commit() -> str:
    """The commit that a CI service names, or the one that is checked out here.

    Raises:
        UsageError: there is neither.
    """
    for name in _VARIABLES:
        if value := os.environ.get(name):
            return value
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=_GIT_S,
        )  # fmt: skip
        words = done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        done, words = None, str(error)
    if done is None or done.returncode != 0:
        raise UsageError(
            f"--commit auto finds no commit: none of {', '.join(_VARIABLES)} is set, and git "
            "finds none here.",
            hint="Name it: --commit SHA",
            details=words,
        )
    return done.stdout.strip()
