"""Records on the MLflow tracking server that a team already has.

One run for each record: its figures as metrics, its options as parameters, digests and validity as
tags, and the record itself as an artifact.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from edgeq.errors import MissingExtraError, TrackingError
from edgeq.files import scratch
from edgeq.history.figures import summarize
from edgeq.history.values import METRICS, Entry, Summary
from edgeq.records.reading import Record, walk
from edgeq.values import BenchRun, ConvertOptions, DataRef
from edgeq.wording import file_name

_DIGEST_TAG = "edgeq.record_sha256"
_MOST_CHARACTERS = 500  # of a parameter, on servers of before MLflow 2.10
_BATCH = 100  # parameters and tags in one request, by MLflow's limits
_NAME = re.compile(r"[^\w.\- /]")

_MOST_WORDS = 240  # characters of a server's answer in our sentence; -v shows all of it

# By default MLflow tries for minutes before it says that nobody answers, and prints addresses.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True)
class TrackedRun:
    """The place of a record on the server.

    Attributes:
        address: for a browser if the server has a web address, otherwise the run's id.
        is_new: False when the server had this record already.
    """

    address: str
    is_new: bool


class MlflowTracker:
    """An experiment of a tracking server.

    Args:
        uri: as MLflow takes it, e.g. "http://host:5000".
        experiment: created if it does not exist.

    Raises:
        MissingExtraError: MLflow is not installed here.
    """

    def __init__(self, uri: str, experiment: str):
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise MissingExtraError(
                "--mlflow needs MLflow, which is not installed here.",
                hint='Install it with: pip install "edgeq[mlflow]"',
            ) from error
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        self._uri, self._experiment, self._error = uri, experiment, MlflowException
        with self._explaining():
            self._client = MlflowClient(tracking_uri=uri)

    def log(self, record: Record, content: bytes, entry: Entry) -> TrackedRun:
        """Log a record, once: a server that has it already keeps its run.

        Args:
            content: the record's bytes.
            entry: of the history, for its tags and commit.

        Raises:
            TrackingError: the server does not answer or rejects it; its run is then marked FAILED.
        """
        with self._explaining():
            found = self._client.get_experiment_by_name(self._experiment)
            experiment = str(
                self._client.create_experiment(self._experiment)
                if found is None
                else found.experiment_id
            )
            known = self._client.search_runs(
                [experiment],
                f"tags.`{_DIGEST_TAG}` = '{record.sha256}' and attributes.status = 'FINISHED'",
                max_results=1,
            )
            if known:
                return TrackedRun(self._address(experiment, known[0].info.run_id), False)
            run = self._log(experiment, record, content, entry)
            return TrackedRun(self._address(experiment, run), True)

    def _log(self, experiment: str, record: Record, content: bytes, entry: Entry) -> str:
        from mlflow.entities import Metric, Param, RunTag

        summary, moment = summarize(record), _milliseconds(entry.moment)
        run = self._client.create_run(
            experiment,
            start_time=moment,
            run_name=f"{record.kind} {file_name(entry.model or '')}".strip(),
        )
        identity = str(run.info.run_id)
        try:
            metrics = [
                Metric(name, value, moment, 0) for name, value in metrics_of(summary).items()
            ]
            params = [Param(name, value) for name, value in params_of(record, summary).items()]
            tags = [RunTag(name, value) for name, value in tags_of(record, entry, summary).items()]
            self._client.log_batch(identity, metrics=metrics[:1000], tags=tags[:_BATCH])
            for start in range(0, len(params), _BATCH):
                self._client.log_batch(identity, params=params[start : start + _BATCH])
            with scratch.folder() as folder:
                target = folder / f"{record.kind}-{record.sha256[:10]}.json"
                target.write_bytes(content)
                self._client.log_artifact(identity, str(target))
        except BaseException:
            self._client.set_terminated(identity, status="FAILED")
            raise
        self._client.set_terminated(identity, status="FINISHED", end_time=moment)
        return identity

    def _address(self, experiment: str, run: str) -> str:
        if not self._uri.startswith("http"):
            return f"run {run}"
        return f"{self._uri.rstrip('/')}/#/experiments/{experiment}/runs/{run}"

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Raise the server's and the network's errors as `TrackingError`."""
        try:
            yield
        except (self._error, OSError) as error:
            words = " ".join(str(error).split())
            raise TrackingError(
                f"MLflow at {self._uri} rejected the record: {words[:_MOST_WORDS]}",
                hint="The record is in the history; run the same command again to log it.",
                details=str(error),
            ) from error


# ---------------------------------------------------------------- the contents of a run


def metrics_of(summary: Summary) -> dict[str, float]:
    """Figures by name with their units.

    Those of the model that the record is about, on its first device, have plain names such as
    `latency_p50_ms`; others begin with the model's name, and the device's where there are several.
    An SQNR without error is left out, since it has no number.
    """
    found: dict[str, float] = {}
    for figure in summary.figures:
        if not math.isfinite(figure.value):
            continue
        name = METRICS[figure.metric].column
        is_main = (figure.model, figure.model_sha256) == summary.model
        if not (is_main and figure.device in (None, summary.device)):
            device = figure.device if len(summary.devices) > 1 else None
            parts = (device, file_name(figure.model), name)
            name = _NAME.sub("_", "/".join(part for part in parts if part is not None))
        found.setdefault(name, figure.value)
    return found


def params_of(record: Record, summary: Summary) -> dict[str, str]:
    """The parameters of a run: models, data, options, threads, runtime."""
    found: dict[str, str] = {"kind": record.kind}
    if summary.model is not None:
        found["model"] = summary.model[0]
    if record.provenance is not None:
        found["edgeq"] = record.provenance.edgeq
    for item in walk(record.value):
        if isinstance(item, DataRef):
            found.setdefault("data", item.source)
        elif isinstance(item, ConvertOptions):
            for part in dataclasses.fields(item):
                if (value := getattr(item, part.name)) not in (None, ()):
                    found.setdefault(part.name, str(value))
        elif isinstance(item, BenchRun):
            found.setdefault("threads", str(item.threads))
            found.setdefault("runtime", f"{item.runtime.name} {item.runtime.version}")
    for figure in summary.figures:
        for condition in figure.conditions:
            found.setdefault(condition.name, condition.shown)
    return {name: value[:_MOST_CHARACTERS] for name, value in found.items()}


def tags_of(record: Record, entry: Entry, summary: Summary) -> dict[str, str]:
    """The tags of a run: the record's identity and validity."""
    found = {
        _DIGEST_TAG: record.sha256,
        "edgeq.kind": record.kind,
        "edgeq.validity": record.validity,
        "edgeq.reason_codes": " ".join(record.reason_codes),
        "edgeq.device": " ".join(summary.devices),
        "edgeq.tags": entry.tags,
    }
    if summary.model is not None:
        found["edgeq.model_sha256"] = summary.model[1]
    if record.provenance is not None:
        found["edgeq.environment_sha256"] = record.provenance.environment_sha256
    data = next((item for item in walk(record.value) if isinstance(item, DataRef)), None)
    if data is not None:
        found["edgeq.data_sha256"] = data.sha256
    if entry.git_commit is not None:
        found["mlflow.source.git.commit"] = entry.git_commit
    return {name: value for name, value in found.items() if value}


def _milliseconds(moment: str) -> int:
    try:
        return int(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1000)
    except ValueError:  # a record that somebody else made
        return int(time.time() * 1000)
