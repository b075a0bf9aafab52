"""The task `infer`: runs models over chunks of samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .child import PATIENCE_S, Child
from .job import JobError, emit


def run_infer(job: dict[str, Any], deadline: float | None) -> dict[str, Any]:
    """Run chunks of samples on several workers at once; finished chunks are not run again.

    The models of a job run side by side, so comparing two takes no longer than the slower one.
    """
    inference = Inference(job, deadline)
    try:
        inference.run()
    except JobError as error:
        for child in list(inference.workers):
            child.kill()
        return {"error": error.plain(), "model": inference.failing}
    return {"runtime": inference.runtime}


def start_ready(runtime: str | None) -> None:
    """Start a worker of a kept agent; it imports its runtime while others work."""
    child = Child(None)
    child.send("check", runtime=runtime)
    Child.idle.append(child)


class Inference:
    """Workers that run one chunk after the other until none is left."""

    def __init__(self, job: dict[str, Any], deadline: float | None):
        self.job, self.deadline = job, deadline
        # An earlier run of this job wrote all outputs of the other chunks.
        left = [
            chunk
            for chunk in job["chunks"]
            if not all(Path(path).exists() for path in chunk["outputs"].values())
        ]
        self.todo: list[list[Any]] = [[] for _ in job["models"]]
        for chunk in left:
            self.todo[chunk["model"]].append(chunk)
        self.done = len(job["chunks"]) - len(left)
        self.workers: dict[Child, int] = {}  # with the model that each has loaded
        self.runtime: dict[str, str] | None = None
        self.failing = 0

    def run(self) -> None:
        """Do all chunks.

        Raises:
            JobError: the first worker that fails.
        """
        busy = [number for number, chunks in enumerate(self.todo) if chunks]
        for place in range(min(self.job["workers"], sum(map(len, self.todo)))):
            self.failing = busy[place % len(busy)]
            self.load(self.take(), self.failing)
        while self.workers:
            Child.wait_for_any(list(self.workers), 1.0)
            for child in list(self.workers):
                self.failing = self.workers[child]
                child.check_time()
                reply = child.poll(0.0) if child.has_answered() else None
                if reply is not None:
                    self.go_on(child, reply["ok"])

    def take(self) -> Child:
        """A new worker; of a kept agent, one that waits."""
        patience_s = self.job.get("patience_s", PATIENCE_S)
        if Child.home is None:
            return Child(self.deadline, patience_s)
        if not Child.idle:
            start_ready(self.job.get("runtime"))
        child = Child.idle.pop(0)
        self.workers[child] = self.failing
        child.deadline, child.patience_s = self.deadline, patience_s
        child.receive()
        child.call("enter", folder=os.getcwd())  # noqa: PTH109
        return child

    def load(self, child: Child, number: int) -> None:
        """Have a worker load a model."""
        self.workers[child] = number
        options = {
            "runtime": self.job.get("runtime"),
            "threads": self.job["threads"],
            "kernels": self.job.get("kernels", "xnnpack"),
        }
        child.send("load", model=self.job["models"][number], **options)

    def go_on(self, child: Child, result: dict[str, Any] | None) -> None:
        """After a load or a chunk: the next chunk, another model's, or the end of this worker."""
        if result is not None:
            self.runtime = result["runtime"]
        else:
            self.done += 1
            emit("progress", step="run", done=self.done, total=len(self.job["chunks"]))
        own = self.todo[self.workers[child]]
        fullest = max(range(len(self.todo)), key=lambda number: len(self.todo[number]))
        if own:
            chunk = own.pop(0)
            child.send("infer", inputs=chunk["inputs"], outputs=chunk["outputs"])
        elif self.is_worth_loading(fullest):
            self.load(child, fullest)
        else:
            del self.workers[child]
            if Child.home is None:
                child.kill()
            else:
                child.send("rest")
                Child.idle.append(child)

    def is_worth_loading(self, number: int) -> bool:
        """Whether chunks of a model are left for one more worker.

        Running one chunk is faster than loading a model, if another worker has loaded it.
        """
        left = len(self.todo[number])
        return left > 1 or (left == 1 and number not in self.workers.values())
