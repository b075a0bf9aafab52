"""Reads requests from stdin and answers them on stdout."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import Any

from .cache import KeeperError
from .frames import frames, write_all
from .requests import Keeper


def answer(keeper: Keeper, line: bytes) -> tuple[dict[str, Any], bytes]:
    """Do what a line requests; the reply, and the bytes of a file that follow it."""
    request = json.loads(line.decode())
    try:
        found = getattr(keeper, request["call"])(**request["arguments"])
        return ({"ok": None}, found) if isinstance(found, bytes) else ({"ok": found}, b"")
    except KeeperError as error:
        return {"error": {"code": error.code, "message": str(error)}}, b""
    except subprocess.TimeoutExpired as error:
        return {"error": {"code": "agent_failed", "message": str(error)}}, b""
    except OSError as error:
        code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "os"
        return {"error": {"code": code, "message": str(error)}}, b""


def main() -> None:
    """Answer requests until stdin ends."""
    source = sys.stdin.buffer
    replies = os.dup(1)
    os.dup2(2, 1)
    keeper = Keeper(source)
    for line in iter(source.readline, b""):
        try:
            for part in frames(*answer(keeper, line)):
                write_all(replies, part)
        except (EOFError, BrokenPipeError):
            break
