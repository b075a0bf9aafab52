"""The error tree: every failure a user can meet is one of these, one sentence and a hint.

EdgeqError                 exit 1
├── UsageError             exit 2   options that contradict each other or name nothing
├── MissingExtraError      exit 1   an optional part of edgeq is not installed
├── SourceError            exit 1   the model file cannot be read as a model
├── LoweringError          exit 1   the model cannot be expressed in TensorFlow Lite
├── UnsupportedLayerError  exit 1   quantization-aware training does not know a layer
├── DataError              exit 1   the samples do not fit the model
├── QuantizationError      exit 1   the quantizer refused or crashed
├── CertificateError       exit 1   the exported file is not what was requested
├── DeviceError            exit 1   the run on a device failed
├── ClusterError           exit 1   the cluster does not answer
├── OutputError            exit 1   the result cannot be written
├── HistoryError           exit 1   the database of records cannot be read or written
├── TrackingError          exit 1   a tracking server refused a record or does not answer
├── PackageError           exit 1   a package cannot be made from the model
│   ├── RefusedModelError     exit 1   the runtime of a package does not run the model
│   ├── DamagedPackageError   exit 3   a package is damaged, or is not a package
│   └── UnjudgedPackageError  exit 4   a package is missing, or from a newer version
├── RecordError            exit 4   a record cannot be read or judged
└── GateError              exit 3   the model is well-formed and misses a budget
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

_MOST_NAMES = 1000  # of a folder, to look for the one that was meant


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A question with the nearest known name and a blank behind it; "" if none is near.

    The shortest name that contains all of `given` goes before names with a similar spelling.
    """
    import difflib  # for errors alone

    names = list(known)
    part = given.lower()
    close = sorted((name for name in names if len(part) > 2 and part in name.lower()), key=len)
    close = close or difflib.get_close_matches(part, names, n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


def nearest_path(path: Path) -> str:
    """A question with the file or folder of the nearest name, as `did_you_mean` asks it."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _MOST_NAMES)]
    except (OSError, ValueError):  # there is no such folder, either
        return ""
    import difflib  # for errors alone

    close = [] if path.name in names else difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.with_name(close[0]).as_posix()!r}? " if close else ""


class EdgeqError(Exception):
    """States what is wrong; `hint` says what to do, `details` keeps a tool's output.

    Args:
        message: one sentence, with the offending value in it.
        hint: what the user can type or change, or None when there is nothing to add.
        details: verbatim output of the tool that failed, shown with `-v`.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, details: str | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"


class UsageError(EdgeqError):
    """Raised before work starts, when options contradict each other or name nothing."""

    exit_code = 2


def unknown_name(
    what: str, given: str, known: Iterable[str], *, use: str | None = None
) -> UsageError:
    """The error for an unknown name; its hint is the nearest known one.

    Args:
        what: the kind of name, such as "scheme".
        given: the name.
        known: the names that there are.
        use: what to use, if it is more than one of `known`.
    """
    names = list(known)
    return UsageError(
        f"Unknown {what} {given!r}; use {use or 'one of ' + ', '.join(names)}.",
        hint=did_you_mean(given, names).strip() or None,
    )


class MissingExtraError(EdgeqError):
    """Raised when a command needs an optional dependency; the hint is the pip command."""


class SourceError(EdgeqError):
    """Raised when a model file is missing, damaged, untrusted or of an unknown format."""


def missing_model(path: Path) -> SourceError:
    """The error for a model file that is missing, with the nearest name."""
    return SourceError(
        f"{path} does not exist.", hint=nearest_path(path).strip() or "Check the path."
    )


class LoweringError(EdgeqError):
    """Raised when a readable model cannot be expressed in TensorFlow Lite operators."""


class UnsupportedLayerError(EdgeqError):
    """Raised when quantization-aware training does not know a layer, which it names."""


class DataError(EdgeqError):
    """Raised when samples are missing, unreadable or do not fit the model's inputs.

    Args:
        preprocess: the texts of `--preprocess` with which they would fit, empty if none would.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        details: str | None = None,
        preprocess: tuple[str, ...] = (),
    ):
        super().__init__(message, hint=hint, details=details)
        self.preprocess = preprocess


class QuantizationError(EdgeqError):
    """Raised when ranges cannot be collected or the quantizer refuses the model."""


class CertificateError(EdgeqError):
    """Raised when the exported file, read back, is not what was requested."""


class DeviceError(EdgeqError):
    """Raised when a device is unreachable, lacks a runtime, or the run on it died."""


class ClusterError(EdgeqError):
    """Raised when a Dask cluster does not answer, or is gone in the middle of the work."""


class OutputError(EdgeqError):
    """Raised when a result cannot be written to the user's path."""


class PackageError(EdgeqError):
    """Raised when a package cannot be made from a model."""


class RefusedModelError(PackageError):
    """Raised when the runtime that a package is for refuses a model, or crashes on it."""


class DamagedPackageError(PackageError):
    """Raised when a package is damaged, is not a package, or could do harm: it must not ship."""

    exit_code = 3


class UnjudgedPackageError(PackageError):
    """Raised when a package cannot be judged: it cannot be opened, or is from a newer version."""

    exit_code = 4


class HistoryError(EdgeqError):
    """Raised when the database of records is missing, locked, damaged, full or of the future."""


class TrackingError(EdgeqError):
    """Raised when a tracking server does not answer or refuses a record."""


class RecordError(EdgeqError):
    """Raised when a record is damaged, of a newer schema, or cannot be judged."""

    exit_code = 4


class GateError(EdgeqError):
    """Raised when a well-formed model misses a budget the user set."""

    exit_code = 3


class SandboxWarning(UserWarning):
    """This system lacks a part of the sandbox in which model files are opened."""
