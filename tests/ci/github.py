"""GitHub for tests: runs a composite action's steps in a shell, and answers as its REST API does.

There is no GitHub here. The API follows https://docs.github.com/en/rest/issues/comments, version
2022-11-28; expressions are only those that this repository's files have.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_NAME = re.compile(r"(?:inputs|steps|github|runner)(?:\.[\w-]+)+")


@dataclass
class Runner:
    """A job's machine.

    Attributes:
        workspace: the checked-out repository.
        action: the action's checkout, GITHUB_ACTION_PATH.
        folder: of the runner's own files.
        uses: outputs of each action that another repository has, by its name without a version.
        github: values of the context `github`.
        environment: variables of every step.
        given_steps: outputs of steps that have run before, by id; they are not run again.
    """

    workspace: Path
    action: Path
    folder: Path
    uses: Mapping[str, Mapping[str, str]]
    github: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    given_steps: Mapping[str, dict[str, str]] = field(default_factory=dict)
    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    log: str = ""

    def run_action(self, given: Mapping[str, str]) -> dict[str, str]:
        """Run an action's steps; `status` is that of the first step that failed, or "0".

        Args:
            given: the `with` of a workflow.

        Returns:
            The action's outputs, and `status`.
        """
        plan = yaml.safe_load((self.action / "action.yml").read_text())
        assert given.keys() <= plan["inputs"].keys()
        self.inputs = {
            name: given.get(name, self.evaluate(str(about.get("default", ""))))
            for name, about in plan["inputs"].items()
        }
        status = 0
        for number, step in enumerate(plan["runs"]["steps"]):
            name = step.get("id", f"step {number}")
            if not self._is_wanted(step.get("if", "success()"), status):
                continue
            self.ran.append(name)
            if name in self.given_steps:
                self.steps[name] = self.given_steps[name]
            elif "uses" in step:
                settings = {key: self.evaluate(str(text)) for key, text in step["with"].items()}
                assert all(settings.values()), settings
                self.steps[name] = dict(self.uses[step["uses"].partition("@")[0]])
            else:
                ended = self.run_step(name, step)
                status = status or ended
        outputs = {key: self.evaluate(about["value"]) for key, about in plan["outputs"].items()}
        return {**outputs, "status": str(status)}

    def run_step(self, name: str, step: Mapping[str, Any]) -> int:
        """Run a `run:` step in GitHub's shell, and read the outputs that it sets."""
        assert "${{" not in step["run"], "an expression in a script is code from its value"
        files = {variable: self.folder / variable.lower() for variable in
                 ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}  # fmt: skip
        files["GITHUB_OUTPUT"].write_text("")
        files["GITHUB_STEP_SUMMARY"].touch()
        variables = {key: self.evaluate(str(text)) for key, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.workspace, check=False, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=280,
            env={
                **os.environ, **self.environment, **{key: str(path) for key, path in files.items()},
                "GITHUB_ACTIONS": "true", "GITHUB_ACTION_PATH": str(self.action),
                "GITHUB_WORKSPACE": str(self.workspace), "RUNNER_TEMP": str(self.folder),
                **variables,
            },
        )  # fmt: skip
        self.log += done.stdout
        self.steps[name] = read_outputs(files["GITHUB_OUTPUT"].read_text())
        return done.returncode

    @property
    def summary(self) -> str:
        """The job's summary, as the runner has received it."""
        return (self.folder / "github_step_summary").read_text()

    def evaluate(self, text: str) -> str:
        """A text with its expressions replaced by their values."""
        return _EXPRESSION.sub(lambda found: self._look_up(found[1]), text)

    def _look_up(self, name: str) -> str:
        context, *rest = name.split(".")
        if context == "inputs":
            return self.inputs[rest[0]]
        if context == "steps":  # a step that did not run has no outputs
            return self.steps.get(rest[0], {}).get(rest[2], "")
        return {"github": self.github, "runner": {"os": "Linux", "arch": "X64"}}[context][rest[0]]

    def _is_wanted(self, condition: str, status: int) -> bool:
        inside = _EXPRESSION.sub(r"\1", condition)
        python = _NAME.sub(lambda found: repr(self._look_up(found[0])), inside)
        python = python.replace("!cancelled()", "True").replace("&&", " and ")
        return bool(eval(python.replace("success()", str(not status)).replace("always()", "True")))


def read_outputs(text: str) -> dict[str, str]:
    """The outputs in a file of GITHUB_OUTPUT: NAME=VALUE, or NAME<<END with lines up to END."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, is_long, end = line.partition("<<")
        if is_long and "=" not in name:
            found[name] = "\n".join(iter(lambda: next(lines), end))
        else:
            name, _, found[name] = line.partition("=")
    return found


BOT = {"login": "github-actions[bot]", "type": "Bot"}


class Api(ThreadingHTTPServer):
    """The comments of one repository's pull request 7.

    Attributes:
        comments: as the API returns them.
        requests: method and path of each one.
        broken: a status and a body that every answer has.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.broken: tuple[int, bytes] | None = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, body: str, user: Any = BOT, association: str = "NONE") -> dict[str, Any]:
        number = len(self.comments) + 1
        where = f"https://github.com/me/models/pull/7#issuecomment-{number}"
        found = {"id": number, "body": body, "user": user, "html_url": where,
                 "author_association": association}  # fmt: skip
        self.comments.append(found)
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = {name: int(value[0]) for name, value in parse_qs(where.query).items()}
        size, page = min(query.get("per_page", 30), 100), query.get("page", 1)
        self._answer("GET", [(r"/repos/me/models/issues/7/comments", lambda: (
            200, self.server.comments[(page - 1) * size : page * size]))])  # fmt: skip

    def do_POST(self) -> None:
        self._answer("POST", [(r"/repos/me/models/issues/7/comments", lambda: (
            201, self.server.add(self._body())))])  # fmt: skip

    def do_PATCH(self) -> None:
        def change() -> tuple[int, Any]:
            found = self.server.comments[int(self.path.rpartition("/")[2]) - 1]
            found["body"] = self._body()
            return 200, found

        self._answer("PATCH", [(r"/repos/me/models/issues/comments/\d+", change)])

    def _body(self) -> str:
        plain = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert plain.keys() == {"body"} and len(plain["body"]) <= 65_536
        return str(plain["body"])

    def _answer(self, method: str, routes: Any) -> None:
        self.server.requests.append(f"{method} {self.path}")
        status, plain = 404, {"message": "Not Found"}
        token = self.headers["Authorization"].removeprefix("Bearer ")
        if "User-Agent" not in self.headers or token not in ("writes", "reads"):
            status, plain = 401, {"message": "Bad credentials"}
        elif token == "reads" and method != "GET":
            status, plain = 403, {"message": "Resource not accessible by integration"}
        else:
            assert self.headers["Accept"] == "application/vnd.github+json"
            assert self.headers["X-GitHub-Api-Version"] == "2022-11-28"
            for pattern, make in routes:
                if re.fullmatch(pattern, urlsplit(self.path).path):
                    status, plain = make()
        content = json.dumps(plain).encode()
        if self.server.broken is not None:
            status, content = self.server.broken
        self.send_response(status)
        if status in (301, 307):
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *given: Any) -> None:
        pass
