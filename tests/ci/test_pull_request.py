"""The comment on a pull request, with a server that answers as GitHub's documentation says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeq.ci import pull_request
from tests.ci.github import Api, read_outputs

STRANGER = {"login": "stranger", "type": "User"}
MARKER = '<!-- edgeq ["model", "gate", "a- -> b"] -->'

EVENT = '{"pull_request": {"number": 7}}'
Post = Callable[..., str]


@pytest.fixture
def post(
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Post:
    """Run the step, and return its messages at the job."""

    def run(
        text: str, token: str = "writes", event: str = '{"pull_request": {"number": 7}}'
    ) -> str:
        (tmp_path / "event.json").write_text(event)
        (tmp_path / "summary.md").write_text(text, encoding="utf-8")
        for name, value in {
            "GITHUB_API_URL": api.url, "GITHUB_REPOSITORY": "me/models", "GITHUB_TOKEN": token,
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_EVENT_NAME": "schedule",
            "GITHUB_WORKFLOW": "model", "GITHUB_JOB": "gate", "EDGEQ_COMMENT_NAME": "a--> b",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        pull_request.main(str(tmp_path / "summary.md"))
        return capsys.readouterr().out

    return run


def test_the_comment_is_found_among_many_and_changed(api: Api, post: Post, tmp_path: Path) -> None:
    for number in range(120):
        api.add(f"talk {number}", STRANGER)
    api.comments[3]["user"] = None  # whose account is gone
    assert post("first") == f"The verdict is in {api.comments[120]['html_url']}\n"
    post("zweitens \u00fc")
    assert [comment["body"] for comment in api.comments[120:]] == [f"{MARKER}\nzweitens \u00fc"]
    pages = [f"GET /repos/me/models/issues/7/comments?per_page=100&page={page}" for page in (1, 2)]
    assert api.requests == [*pages, "POST /repos/me/models/issues/7/comments",
                            *pages, "PATCH /repos/me/models/issues/comments/121"]  # fmt: skip
    assert (
        read_outputs((tmp_path / "output").read_text())["comment"]
        == (api.comments[120]["html_url"])
    )


def test_what_a_stranger_wrote_is_left_alone(api: Api, post: Post) -> None:
    """Its author could change it later; a comment with a member's own token is ours."""
    api.add(f"{MARKER}\nthis ships", STRANGER, "CONTRIBUTOR")
    api.add('<!-- edgeq ["model", "other", ""] -->\nof another job')
    post("no")
    assert [comment["body"] for comment in api.comments[2:]] == [f"{MARKER}\nno"]
    api.comments[2].update(user=STRANGER, author_association="MEMBER")
    post("still no")
    assert len(api.comments) == 3 and api.comments[2]["body"].endswith("still no")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ((500, b'{"message": "Server Error"}'), "GitHub answered 500, Server Error"),
        ((502, b"<html>"), "GitHub answered 502, Bad Gateway"),
        ((301, b"{}"), "GitHub answered 301, Moved Permanently"),
        ((200, b"<html>"), "Expecting value"),
        ((404, b'["100%"]'), "GitHub answered 404, Not Found"),
    ],
)
def test_trouble_is_told_and_fails_nothing(
    api: Api, post: Post, broken: tuple[int, bytes], told: str
) -> None:
    api.broken = broken
    shown = post("text")
    assert shown.startswith("::warning::The comment was not written: ") and told in shown
    assert len(api.requests) == 1  # the token follows no redirect


def test_without_a_server_a_token_or_a_pull_request(api: Api, post: Post) -> None:
    assert "GitHub answered 401, Bad credentials" in post("text", token="wrong")
    assert post("text", event=json.dumps({"ref": "refs/heads/main"})) == (
        "There is no pull request in this event (schedule).\n"
    )
    assert len(api.requests) == 1
    api.shutdown()
    api.server_close()
    assert "Connection refused" in post("text")
