"""A child whose library is slow, or raises an error without a text after printing the reason."""

from __future__ import annotations

import sys
import time

from edgeq.children.serving import CallError, serve


class Session:
    def wait(self) -> None:
        time.sleep(60)

    def refuse(self, details: str) -> None:
        print("loading\nerror: 'tfl.conv_2d' op has no scale", file=sys.stderr, flush=True)
        error = CallError("QuantizationError", "It gave no reason.")
        error.details = details  # type: ignore[attr-defined]  # as the errors of edgeq have
        raise error


if __name__ == "__main__":
    serve(Session(), int(sys.argv[1]))
