"""A board that the first edgeq 0.1 has used: this keeper takes over what that one left there.

`keeper_of_0_1.txt` is that keeper, as it was sent.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeq.device_runners.on_board.keeper.cache import KeeperError
from edgeq.device_runners.on_board.keeper.jobs import FORGOTTEN_S
from edgeq.device_runners.on_board.keeper.requests import Keeper

OLD = Path(__file__).with_name("keeper_of_0_1.txt")
# In the place of its agent: runs until the test lets it end.
AGENT = """
import pathlib, sys, time
print('{"event": "progress"}', flush=True)
folder = pathlib.Path(sys.argv[2])
while not (folder / "end").exists():
    time.sleep(0.05)
(folder / "result.json").write_text("{}")
print('{"event": "end"}', flush=True)
"""


class OldKeeper:
    """The old keeper in a process, as its connection saw it."""

    def __init__(self, cache: Path):
        self.process = subprocess.Popen(
            [sys.executable, OLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )

    def call(self, call: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        line = json.dumps({"call": call, "arguments": arguments}) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        while not (answer := self.process.stdout.readline()).startswith(b"{"):
            assert answer, "the old keeper ended"
        return json.loads(answer)["ok"]

    def end(self) -> None:
        """Close its stdin, as the end of the connection does."""
        self.process.communicate(timeout=10)


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """Today's keeper, on a board where the old one has started a job "old"."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old = OldKeeper(tmp_path)
    root = Path(old.call("hello")["root"])
    (root / "files" / "agent").write_text(AGENT)
    (root / "files" / "model").write_text("model")
    with tarfile.open(root / "files" / "inputs", "w") as tar:
        tar.addfile(tarfile.TarInfo("job.json"))
    old.call("start", job="old", python=sys.executable, agent="agent",
             files={"model.tflite": "model"}, inputs="inputs")  # fmt: skip
    old.end()
    made = Keeper(io.BytesIO())
    made.hello()
    assert made.root == root
    yield made
    made.finish("old")


def follow(keeper: Keeper, offset: int = 0) -> dict[str, Any]:
    """The last of a job's replies."""
    while (reply := keeper.poll("old", offset, wait_s=1))["state"] == "running":
        offset = reply["offset"]
    return reply


def test_a_run_of_the_old_keeper_is_followed_to_its_end(keeper: Keeper) -> None:
    while not (reply := keeper.poll("old", 0, wait_s=1))["events"]:
        pass
    assert (reply["state"], reply["events"]) == ("running", '{"event": "progress"}\n')
    (keeper.root / "jobs" / "old" / "work" / "end").write_text("")
    reply = follow(keeper, reply["offset"])
    assert (reply["state"], reply["returncode"], reply["rebooted"]) == ("ended", 0, False)
    assert set(keeper.outputs("old")) == {"end", "result.json"}
    keeper.finish("old")
    assert keeper.poll("old", 0, 0)["state"] == "unknown"


def test_a_run_of_the_old_keeper_is_protected_and_can_be_ended(keeper: Keeper) -> None:
    with pytest.raises(KeeperError, match="old") as caught:
        keeper.forget()
    assert caught.value.code == "busy"
    os.utime(keeper.root / "jobs/old", (0, 0))
    keeper.hello()  # deletes old jobs, but not those that run
    assert keeper.poll("old", 0, 0)["state"] == "running"
    keeper.finish("old")
    assert not (keeper.root / "jobs/old").exists()
    keeper.forget()
    assert list((keeper.root / "files").iterdir()) == []


def test_an_old_run_that_ended_long_ago_is_deleted(keeper: Keeper) -> None:
    folder = keeper.root / "jobs/old"
    (folder / "work/end").write_text("")
    follow(keeper)
    long_ago = time.time() - FORGOTTEN_S - 60
    os.utime(folder, (long_ago, long_ago))
    keeper.hello()
    assert not folder.exists()


def test_files_and_environments_of_the_old_keeper_are_used(keeper: Keeper) -> None:
    assert keeper.missing({"model": 5}) == []
    old = OldKeeper(Path(os.environ["XDG_CACHE_HOME"]))
    old.call("hello")
    with tarfile.open(keeper.root / "files" / "archive", "w") as tar:
        tar.addfile(tarfile.TarInfo("module.py"))
    old.call("make_environment", name="made", archive="archive")
    old.end()
    assert keeper.hello()["environments"] == ["made"]
    keeper.make_environment("made", "archive")  # it is not made again
