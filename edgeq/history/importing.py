"""Read records from a foreign folder or archive in a confined child process.

The child opens the archive, parses the records and compresses them again; only its parent has the
database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from edgeq.children import foreign, sandbox
from edgeq.errors import RecordError
from edgeq.history import writing
from edgeq.history.export_import import read_source
from edgeq.history.values import METRICS
from edgeq.history.writing import Ready


class Source(Struct, frozen=True, tag=True):
    """The folder or archive to read."""

    path: str


class End(Struct, frozen=True, tag=True):
    """The last message of the child, after one `Ready` for each record."""


def main() -> None:
    """The child of `opened`."""
    with foreign.to_parent() as parent:
        source = parent.receive(Source)
        sandbox.confine_as_planned()
        for item in read_source(Path(source.path)):
            parent.send(writing.make_ready(item))
        parent.send(End())


@contextmanager
def opened(source: Path) -> Iterator[Iterator[Ready]]:
    """The records of a folder or an archive, read by a confined child; see `read_source`.

    Raises:
        RecordError: the child dies, or sends something that makes no sense.
    """
    with foreign.Reader("edgeq.history.importing", source, RecordError) as child:
        child.send(Source(str(source)))

        def receive() -> Iterator[Ready]:
            while isinstance(ready := child.receive(Ready | End), Ready):
                # The types are checked; figures go into columns by the names of their metrics.
                figures = () if ready.prepared is None else ready.prepared.summary.figures
                for figure in figures:
                    if figure.metric not in METRICS:
                        raise child.nonsense(ValueError(f"there is no metric {figure.metric!r}"))
                yield ready

        yield receive()
