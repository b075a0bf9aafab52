"""Records out of a foreign folder or archive: a confined child opens it, inflates it, parses the
records and compresses them anew; the database stays with its parent.
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
    """What the child is told."""

    path: str


class End(Struct, frozen=True, tag=True):
    """What the child tells last; before, one `Ready` after the other."""


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
        RecordError: the child dies, or tells what makes no sense.
    """
    with foreign.Reader("edgeq.history.importing", source, RecordError) as child:
        child.send(Source(str(source)))
        yield _receive(child)


def _receive(child: foreign.Reader) -> Iterator[Ready]:
    while isinstance(told := child.receive(Ready | End), Ready):
        _require_known(told, child)
        yield told


def _require_known(ready: Ready, child: foreign.Reader) -> None:
    """Types hold already; figures go into columns by their names."""
    figures = () if ready.prepared is None else ready.prepared.summary.figures
    unknown = next((item.metric for item in figures if item.metric not in METRICS), None)
    if unknown is not None:
        raise child.nonsense(ValueError(f"there is no metric {unknown!r}"))
