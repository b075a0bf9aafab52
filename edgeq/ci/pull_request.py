"""The last step of `action.yml`: the summary as one comment of the pull request, kept up to date.

`python -m edgeq.ci.pull_request SUMMARY.md` never fails a job: if GitHub refuses, a message at the
job reports it. The verdict and the summary are there in any case.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from edgeq.ci.workflow import set_outputs, tell

_TIMEOUT_S = 30
_PER_PAGE = 100  # the most that GitHub lists on a page
_MOST_PAGES = 30
_MAY_WRITE = ("OWNER", "MEMBER", "COLLABORATOR")
_READ_ONLY = (
    "The token cannot write to the pull request, as for pull requests from forks; the verdict is "
    "in the job's summary. Otherwise give the job 'permissions: pull-requests: write'."
)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the token belongs to this address only."""

    def redirect_request(self, *given: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def comment(text: str, marker: str, number: int) -> str:
    """Write a comment to a pull request, or change the one that has the marker.

    Args:
        text: Markdown.
        marker: an HTML comment, in the first line.

    Returns:
        The comment's address for a browser.

    Raises:
        OSError: GitHub does not answer, or refuses (urllib.error.HTTPError).
    """
    repository = f"/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    body = {"body": f"{marker}\n{text}"}
    for found in _comments(f"{repository}/{number}/comments"):
        # Anybody can write the marker, and change their own comment later.
        author = found["user"] or {}  # none, if the account is gone
        is_ours = author.get("type") == "Bot" or found["author_association"] in _MAY_WRITE
        if is_ours and (found.get("body") or "").startswith(marker):
            changed = _request("PATCH", f"{repository}/comments/{found['id']}", body)
            return str(changed["html_url"])
    return str(_request("POST", f"{repository}/{number}/comments", body)["html_url"])


def _comments(path: str) -> Iterator[dict[str, Any]]:
    for page in range(1, _MOST_PAGES + 1):
        found = _request("GET", f"{path}?per_page={_PER_PAGE}&page={page}")
        yield from found
        if len(found) < _PER_PAGE:
            return


def _request(method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        os.environ["GITHUB_API_URL"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
            "Content-Type": "application/json",
            "User-Agent": "edgeq",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
        return json.load(answer)


def main(summary: str) -> None:
    """Comment on the pull request of the event, if there is one and the token may."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    number = event.get("pull_request", {}).get("number")
    if number is None:
        print(f"There is no pull request in this event ({os.environ['GITHUB_EVENT_NAME']}).")
        return
    # One comment for each job of a workflow, and for each model of a job.
    names = (os.environ[name] for name in ("GITHUB_WORKFLOW", "GITHUB_JOB", "EDGEQ_COMMENT_NAME"))
    marker = f"<!-- edgeq {json.dumps([*names]).replace('--', '- -')} -->"
    try:
        where = comment(Path(summary).read_text(encoding="utf-8"), marker, number)
    except urllib.error.HTTPError as error:
        said = _message(error)
        if error.code == 403:
            tell("notice", f"{_READ_ONLY} GitHub's answer: {said}")
        else:
            tell("warning", f"The comment was not written: GitHub answered {error.code}, {said}")
    except (OSError, HTTPException, ValueError) as error:
        tell("warning", f"The comment was not written: {error}")
    else:
        set_outputs(comment=where)
        print(f"The verdict is in {where}")


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return error.reason


if __name__ == "__main__":
    main(sys.argv[1])
