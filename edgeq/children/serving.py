"""The loop of a child that answers calls on a session.

    {"call": "load", "arguments": {...}}  ->  {"ok": {...}}  or  {"error": {...}}

Requests come on stdin, a line of JSON each; replies go to a descriptor, because stdout and stderr
belong to the libraries. The file imports the standard library only: `entry.py` brings it to scripts
that another Python runs, in which edgeq may be missing.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

# Ends the message of an error of native code, which wrote its reason to the log only.
NO_MESSAGE = "no message"


class CallError(Exception):
    """An error of edgeq, raised where edgeq is not installed.

    Args:
        kind: name of its class.
        message: a sentence.
        hint: what to do.
    """

    def __init__(self, kind: str, message: str, hint: str | None = None):
        super().__init__(message)
        self.kind, self.message, self.hint = kind, message, hint


def first_line(error: BaseException) -> str:
    """The first line of another library's message, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300].rstrip(".")


def serve(session: Any, descriptor: int, runtime_error: str = "LoweringError") -> None:
    """Answer calls until the other side closes.

    Args:
        session: its methods take and return plain JSON.
        descriptor: for replies.
        runtime_error: the class of edgeq's errors that a RuntimeError becomes; the errors of other
            libraries become a LoweringError.
    """
    with os.fdopen(descriptor, "w", encoding="utf-8") as replies:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                call = getattr(session, request["call"])
                reply: dict[str, Any] = {"ok": call(**request["arguments"])}
            except Exception as error:  # noqa: BLE001 -- everything goes back to the parent
                is_runtime = isinstance(error, RuntimeError)
                plain = {
                    "type": runtime_error if is_runtime else "LoweringError",
                    "message": f"{type(error).__name__}: {first_line(error)}.",
                    "hint": None,
                    "details": traceback.format_exc(),
                }
                if hasattr(error, "hint"):  # CallError, or EdgeqError where edgeq is installed
                    plain["type"] = getattr(error, "kind", type(error).__name__)
                    for key in ("message", "hint", "details"):
                        plain[key] = getattr(error, key, plain[key])
                reply = {"error": plain}
            replies.write(json.dumps(reply) + "\n")
            replies.flush()


def run_in_batches(
    arrays: str, out: str, shapes: list[list[int]], run: Callable[[dict[int, Any]], list[Any]]
) -> None:
    """Run a model on stored inputs, one batch at a time.

    Args:
        arrays: path of an `.npz` file with the inputs, named by their positions.
        out: path of the `.npz` file to write, with the outputs named in the same way.
        shapes: of all inputs of the model, the batch size first.
        run: from one batch of inputs, by position, to the outputs.
    """
    import numpy

    with numpy.load(arrays, allow_pickle=False) as stored:
        given = {int(name): stored[name] for name in stored.files}
    first = min(given)
    batch = shapes[first][0]
    parts = []
    for start in range(0, len(given[first]), batch):
        parts.append(run({i: array[start : start + batch] for i, array in given.items()}))
    joined: dict[str, Any] = {
        str(i): numpy.concatenate(values) for i, values in enumerate(zip(*parts, strict=True))
    }
    numpy.savez(out, **joined)
