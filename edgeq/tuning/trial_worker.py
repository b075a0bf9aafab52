"""The child process that tries recipes; its argument is the folder of the store.

One JSON line {"task", "want"} in, one line {"ok": ...} or {"failure": ...} out, until stdin closes.
The request names an entry of `_ANSWERS`. Output of libraries goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeq.children import sandbox
from edgeq.errors import EdgeqError
from edgeq.tuning.content_store import Store
from edgeq.tuning.trial import make_file, rank_operators, read_task, try_task
from edgeq.tuning.workbench import Workbench

_ANSWERS: dict[str, Callable[..., Any]] = {
    "trial": try_task,
    "file": lambda task, bench: {"sha256": bench.store.put(make_file(task, bench))},
    "effects": rank_operators,
}


def answer(request: dict[str, Any], bench: Workbench) -> dict[str, Any]:
    """Do what a line asks for; a recipe that cannot be made is an answer, too."""
    task = read_task(request["task"])
    try:
        return {"ok": _ANSWERS[request["want"]](task, bench)}
    except EdgeqError as error:
        return {"failure": error.message}
    except (RuntimeError, ValueError) as error:  # the interpreter's own way to refuse
        text = str(error).strip().splitlines()
        return {"failure": text[-1] if text else repr(error)}


def main() -> None:
    """Answer line after line."""
    sandbox.confine_as_planned()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    bench = Workbench(Store(Path(sys.argv[1])))
    for line in sys.stdin:
        replies.write(json.dumps(answer(json.loads(line), bench)) + "\n")
        replies.flush()
