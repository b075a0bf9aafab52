"""`edgeq history`: records kept in a database."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import click

from edgeq.cli.printing import hand_over, say, show, show_json
from edgeq.cli.words import Group, example
from edgeq.errors import UsageError
from edgeq.files import storage
from edgeq.history import Filter, History, find_place
from edgeq.history.commits import AUTO, find_commit
from edgeq.history.export_import import export_records
from edgeq.history.item import Item
from edgeq.history.store import WAIT_S
from edgeq.history.values import METRICS, Addition, Place
from edgeq.render import history as shown
from edgeq.render.differences import show_difference

_DEFAULT_LAST = 20
_CANNOT_JUDGE = 4
_AGO = re.compile(r"(\d{1,5})([dhw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

database_options = (
    click.option(
        "--database", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH",
        help="The history to use.  [default: EDGEQ_HISTORY, this project's, or yours]",
    ),
    click.option(
        "--wait", default=WAIT_S, show_default=True, type=click.FloatRange(0, 3600),
        metavar="SECONDS", help="Wait this long for another process.",
    ),
)  # fmt: skip
filter_options = (
    click.option("--model", metavar="NAME|PATH|DIGEST", help="Records that name this model."),
    click.option("--device", help="Records of this device."),
    click.option("--kind", help="Records of this kind, e.g. compare."),
    click.option("--tag", help="Records with this tag."),
    click.option(
        "--since", metavar="DATE|AGO",
        help="Records since then: 2026-11-01, 2026-11-01T12:00:00Z (UTC), or 36h, 30d, 4w ago.",
    ),
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")


def _with(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(
    cls=Group,
    epilog=example(
        "edgeq history add model.tflite.json compare.json --tag v1.2",
        "edgeq history trend p50 --model model.tflite",
    ),
)
def command() -> None:
    """Keep records, compare them, and see figures over time."""


@contextmanager
def _opened(given: dict[str, Any], *, make: bool = False) -> Iterator[tuple[History, Place]]:
    place = find_place(given["database"])
    with History(place.path, make=make, wait_s=given["wait"]) as history:
        yield history, place


def _filter(given: dict[str, Any], last: int | None = None) -> Filter:
    since = None if given["since"] is None else parse_since(given["since"])
    return Filter(given["model"], given["device"], given["kind"], given["tag"], since, last)


def parse_since(text: str) -> str:
    """`--since` as UTC: a date, a moment, or a time ago.

    Raises:
        UsageError: neither.
    """
    if ago := _AGO.fullmatch(text):
        moment = datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    else:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError as error:
            raise UsageError(
                f"--since {text!r} is not a date.",
                hint="Write 2026-11-01, 2026-11-01T12:00:00Z, or 36h, 30d, 4w.",
            ) from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---------------------------------------------------------------- into it


@command.command("add", short_help="Add records to the history.")
@click.argument(
    "paths", metavar="RECORD...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--tag", "tags", multiple=True, metavar="TEXT", help="A tag, for example v1.2. Repeatable."
)
@click.option(
    "--commit", metavar="SHA|auto",
    help="Git commit of the records; auto takes GITHUB_SHA, CI_COMMIT_SHA, GIT_COMMIT, or the "
    "commit of this checkout.",
)  # fmt: skip
@click.option("--mlflow", metavar="URI", help="Log them to this MLflow server, too.")
@click.option(
    "--experiment", default="edgeq", show_default=True, metavar="NAME", help="Experiment in MLflow."
)
@click.option("-v", "--verbose", is_flag=True, help="Show all answers of the server.")
@_with(*database_options, json_option)
def add(paths: tuple[Path, ...], **given: Any) -> None:
    """Add records to the history: those beside a model, and those that -o wrote.

    A .tflite means the record beside it.

    A record that the history has is not added again, but gets the tags and the commit. A file that
    is not a record is refused, the others are kept, and the status is 4.
    """
    commit = find_commit() if given["commit"] == AUTO else given["commit"]
    log = _tracker(given)
    items = (Item(str(path), None, given["tags"], commit, None) for path in paths)
    with _opened(given, make=True) as (history, place):
        additions = _add(partial(history.add_items, items), place, as_json=given["as_json"])
        if log is not None:
            log(history, additions)
    _end(additions)


def _tracker(given: dict[str, Any]) -> Callable[[History, tuple[Addition, ...]], None] | None:
    """Open MLflow first, so that nothing is added if it is not installed."""
    if given["mlflow"] is None:
        return None
    from edgeq.history.tracking import MlflowTracker

    tracker = MlflowTracker(given["mlflow"], given["experiment"])

    def log(history: History, additions: tuple[Addition, ...]) -> None:
        numbers = dict.fromkeys(item.number for item in additions if item.number is not None)
        for number in numbers:
            entry = history.find(str(number))
            run = tracker.log(history.read(entry), history.content(entry), entry)
            word = "logged" if run.is_new else "known "
            say(f"{word} {entry.number:>5}  {run.address}", err=given["as_json"])

    return log


@command.command("import", short_help="Add all records of a folder or archive.")
@click.argument("source", metavar="FOLDER|ARCHIVE", type=click.Path(path_type=Path))
@_with(*database_options, json_option)
def import_(source: Path, **given: Any) -> None:
    """Keep every record of a folder, or of a .zip or .tar archive, such as export has made.

    Records that the history has do not change; files that are not records are refused, and the
    status is 4. The process that opens the archive cannot start programs, open sockets or write
    your files.
    """
    from edgeq.history import importing

    with (
        _opened(given, make=True) as (history, place),
        importing.opened(source) as records,
    ):
        additions = _add(partial(history.add_ready, records), place, as_json=given["as_json"])
    _end(additions)


def _add(
    add_all: Callable[..., tuple[Addition, ...]], place: Place, *, as_json: bool
) -> tuple[Addition, ...]:
    seen: list[Addition] = []

    def tell(addition: Addition) -> None:
        seen.append(addition)
        if addition.error is not None:
            say(f"refused: {addition.error}", err=True)
        elif not as_json:
            say(shown.show_addition(addition))

    try:
        additions = add_all(on_added=tell)
    except KeyboardInterrupt:
        # The last records may be written, but not reported yet.
        say(f"Interrupted; at least {shown.show_additions(seen, place)}", err=True)
        raise SystemExit(128 + signal.SIGINT) from None
    if as_json:
        show_json(shown.history_json("additions", additions, place))
    else:
        say(shown.show_additions(additions, place))
    return additions


def _end(additions: tuple[Addition, ...]) -> None:
    if any(item.error is not None for item in additions):
        raise SystemExit(_CANNOT_JUDGE)


# ---------------------------------------------------------------- out of it


@command.command("list")
@_with(*filter_options)
@click.option(
    "--last", type=click.IntRange(min=1), metavar="N", help="The newest N.  [default: 20]"
)
@click.option("--all", "show_all", is_flag=True, help="All of them.")
@_with(*database_options, json_option)
def list_(last: int | None, show_all: bool, **given: Any) -> None:
    """Show records, the newest first."""
    if last is not None and show_all:
        raise UsageError("--last and --all contradict each other.", hint="Remove one of them.")
    with _opened(given) as (history, place):
        listing = history.list(_filter(given, None if show_all else last or _DEFAULT_LAST))
    if given["as_json"]:
        show_json(shown.listing_json(listing, place))
    else:
        show(shown.show_listing(listing, place))


@command.command("show", short_help="Print a record.")
@click.argument("name", metavar="ID")
@_with(*database_options, json_option)
def show_one(name: str, **given: Any) -> None:
    """Print a record as the command that wrote it did; with --json its bytes.

    ID is its number or the first 7 or more characters of its digest.
    """
    from edgeq.render.records import show_record

    with _opened(given) as (history, _):
        entry = history.find(name)
        if given["as_json"]:
            content = history.content(entry)
            if sys.stdout.isatty():
                show_json(content)
            else:
                hand_over(content)
            return
        record = history.read(entry)
    show(show_record(record))


@command.command("diff")
@click.argument("before", metavar="ID")
@click.argument("after", metavar="ID")
@_with(*database_options, json_option)
def diff(before: str, after: str, **given: Any) -> None:
    """Show the figures of two records side by side.

    Figures of other devices, runtimes, threads or data are shown and not compared. Status 4 when
    nothing can be compared.
    """
    with _opened(given) as (history, place):
        found = history.diff(before, after)
    if given["as_json"]:
        show_json(shown.history_json("diff", found, place))
    else:
        show(show_difference(found))
    if all(change.obstacle is not None for change in found.changes):
        raise SystemExit(_CANNOT_JUDGE)


@command.command("trend", short_help="Show a figure over time.")
@click.argument("metric", metavar="METRIC")
@_with(*filter_options)
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The newest N of a series.")
@_with(*database_options, json_option)
def trend(metric: str, last: int | None, **given: Any) -> None:
    """Show a figure over time; figures that cannot be compared are separate series.

    METRIC is accuracy-drop, accuracy, sqnr, size, p50, p90, speed-up or peak-memory. --model NAME
    treats all files with this name as one model, in any folder.
    """
    with _opened(given) as (history, place):
        found = history.trend(metric, _filter(given, last))
    if given["as_json"]:
        show_json(shown.history_json("trend", found, place))
        return
    if not found.series:
        title = METRICS[metric].title
        raise UsageError(f"None of these records has the figure {title}.")
    show(shown.show_trend(found))


@command.command("export", short_help="Write records to files.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_with(*filter_options, *database_options)
def export(folder: Path, **given: Any) -> None:
    """Write records to files of a new FOLDER, byte for byte, with an index of tags and commits."""
    with _opened(given) as (history, _):
        written = export_records(history, folder, _filter(given))
    say(f"Wrote {len(written)} records to {folder}")


@command.command("remove", short_help="Remove records.")
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@_with(*database_options)
def remove(names: tuple[str, ...], **given: Any) -> None:
    """Remove records from the history, all named ones or none; their files stay."""
    with _opened(given) as (history, _):
        for entry in history.remove(names):
            say(f"removed {entry.number:>5}  {entry.sha256[:7]}  {entry.kind}  {entry.file}")


@command.command("check", short_help="Look for damage.")
@_with(*database_options, json_option)
def check(**given: Any) -> None:
    """Read everything. The exit status is 1 if something is damaged."""
    with _opened(given) as (history, place):
        found = history.check()
    if given["as_json"]:
        show_json(shown.history_json("check", storage.to_plain(found), place))
    else:
        show(shown.show_check(found, place))
    if found.problems:
        raise SystemExit(1)
