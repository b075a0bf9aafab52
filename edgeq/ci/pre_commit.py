"""The hook of `.pre-commit-hooks.yaml`: each changed `.tflite` has its record, and passes the gate.

`python -m edgeq.ci.pre_commit [--policy FILE] [--baseline FOLDER] FILE...`
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeq import cli
from edgeq.files import storage

# Names of records beside model.tflite, as `edgeq run` writes them; `gate` finds model.tflite.json.
_MEASURED = re.compile(r"(.+)\.(?:compare|bench|eval).*\.json")


def find_models(changed: Sequence[Path], policy: Path) -> list[Path]:
    """The models that changed files belong to.

    Args:
        changed: models, their records, or the policy, for every committed model with a
            record beside it.
        policy: the `edgeq.toml`.
    """
    found: dict[Path, None] = {}
    for path in changed:
        if path.suffix == ".tflite":
            found[path] = None
        elif path == policy:
            found.update(dict.fromkeys(_committed_models()))
        elif path.name.endswith(".tflite.json"):
            found[path.with_suffix("")] = None
        else:
            measured = _MEASURED.fullmatch(path.name)
            stem = path.stem if measured is None else measured[1]
            found[path.with_name(f"{stem}.tflite")] = None
    return [*found]


def _committed_models() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z", "--", "*.tflite"], check=True, capture_output=True
    )
    paths = [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name]
    return [path for path in paths if storage.record_beside(path).exists()]


def find_records(model: Path) -> Iterator[Path]:
    """The records of measurements beside a model: model.compare.json, model.bench-pi4.json..."""
    for path in sorted(model.parent.glob(f"{glob.escape(model.stem)}.*.json")):
        measured = _MEASURED.fullmatch(path.name)
        if measured is not None and measured[1] == model.stem:
            yield path


def main(words: Sequence[str]) -> int:
    """Gate the models that files belong to; the worst exit status."""
    parser = argparse.ArgumentParser(prog="edgeq-gate")
    parser.add_argument("--policy", type=Path, default=Path("edgeq.toml"))
    parser.add_argument("--baseline", type=Path, help="folder with the previous model's records")
    parser.add_argument("changed", nargs="*", type=Path)
    given = parser.parse_args(words)
    worst = 0
    for model in find_models(given.changed, given.policy):
        records = [*find_records(model)]
        command = ["gate", str(model), *map(str, records), "--policy", str(given.policy)]
        if given.baseline is not None:
            beside = storage.record_beside(model)
            for record in (beside, *records):
                command += ["--baseline", str(given.baseline / record.name)]
        try:
            cli.main(command)
        except SystemExit as ended:
            worst = max(worst, int(ended.code or 0))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
