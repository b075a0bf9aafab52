"""A model compiled for an Arm Ethos-U by Vela, in a child process; figures as Vela states them.

It may be in another environment: the file of a foreign model is opened there, not here.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from edgeq.children.child import Child, time_limit_s
from edgeq.children.other_python import OtherPython, find_python
from edgeq.errors import MissingExtraError, SourceError, unknown_name
from edgeq.files import scratch
from edgeq.tflite.model_file import ModelFile
from edgeq.values import EthosFit

VARIABLE = "EDGEQ_VELA_PYTHON"
PACKAGE = "ethos-u-vela"
ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)

_LOG_BYTES, _LOG_TAIL_CHARACTERS = 1 << 22, 8192
_MOST_CSV_BYTES = 1 << 26
_OWN_ERROR = re.compile(r'^ethosu\.vela\.errors\.\w+: "?(?:Error: )?(.*?)"?$')
_COUNTS = re.compile(r"^(CPU|NPU) operators = (\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class EthosTarget:
    """An accelerator, and Vela's configuration for it.

    Attributes:
        accelerator: one of `ACCELERATORS`.
        system_config: in `config`; None for Vela's default of the accelerator.
        memory_mode: the same.
        config: name or path of the configuration file, e.g. "Arm/vela.ini".
    """

    accelerator: str
    system_config: str | None = None
    memory_mode: str | None = None
    config: str | None = None


def find() -> OtherPython:
    """Find a Python with Vela: this one, or the one in EDGEQ_VELA_PYTHON.

    Raises:
        MissingExtraError: neither has it; the hint is how to get it.
    """
    absent = "Vela, which compiles for Arm Ethos-U, is not installed here."
    return find_python("ethosu", PACKAGE, VARIABLE, absent, "vela")


def compile_model(model: ModelFile, target: EthosTarget) -> EthosFit:
    """Compile a model for an accelerator, and read what Vela states about it.

    Args:
        model: the `.tflite`.

    Raises:
        MissingExtraError: Vela is not installed, or in a release that writes other files.
        SourceError: Vela refuses the model, crashes, or takes too long.
        UsageError: an unknown accelerator.
    """
    if target.accelerator not in ACCELERATORS:
        raise unknown_name("accelerator", target.accelerator, ACCELERATORS)
    runtime = find()
    with scratch.folder() as folder:
        (folder / "model.tflite").write_bytes(model.content)
        log = _run(runtime, folder, target, str(model.path))
        try:
            return _read(folder / "out", runtime, target, log)
        except (KeyError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise MissingExtraError(
                f"Vela {runtime.version} does not write what edgeq reads: {what}.",
                hint=f'Install a release that edgeq knows: pip install "{PACKAGE}<6".',
            ) from error


def _read(folder: Path, runtime: OtherPython, target: EthosTarget, log: str) -> EthosFit:
    """Read what Vela has written into a folder.

    Raises:
        KeyError, ValueError: other files or columns.
    """
    figures = next(iter(_rows(folder, "model_summary_*.csv")), {})
    counts = {side: int(count) for side, count in _COUNTS.findall(log)}
    on_cpu = [row for row in _rows(folder, "model_per-layer.csv") if row["Target"] == "CPU"]
    return EthosFit(
        vela=runtime.version,
        accelerator=target.accelerator,
        system_config=figures["system_config"],
        memory_mode=figures["memory_mode"],
        npu_operators=counts["NPU"],
        cpu_operators=counts["CPU"],
        on_cpu=tuple(f"{row['Original Operator']} {row['Name']}" for row in on_cpu),
        figures={name: value for name, value in figures.items() if name not in _IDENTITY},
    )


_IDENTITY = ("experiment", "network", "accelerator_configuration", "system_config", "memory_mode")


def _rows(folder: Path, pattern: str) -> list[dict[str, str]]:
    found = [*folder.glob(pattern)]
    if len(found) != 1:
        raise ValueError(f"there are {len(found)} files {pattern}")
    path = found[0]
    if path.stat().st_size > _MOST_CSV_BYTES:
        raise SourceError(f"Vela wrote {path.stat().st_size:,} bytes into {path.name}.")
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return list(csv.DictReader(file, restval=""))


def _run(runtime: OtherPython, folder: Path, target: EthosTarget, shown_as: str) -> str:
    limit_s = time_limit_s()
    config = target.config
    if config is not None and Path(config).is_file():
        config = str(Path(config).absolute())  # Vela runs in `folder`
    options = {
        "--config": config,
        "--system-config": target.system_config,
        "--memory-mode": target.memory_mode,
    }
    chosen = [part for name, value in options.items() if value for part in (name, value)]
    with Child(
        [
            "-m", "ethosu.vela", "model.tflite", "--accelerator-config", target.accelerator,
            "--output-dir", "out", "--verbose-performance", *chosen,
        ],
        folders=[folder],
        python=runtime.python,
        cwd=folder,
        deadline_s=limit_s,
    ) as child:  # fmt: skip
        status = child.wait()
        log = child.log(_LOG_BYTES)
        if child.is_late:
            raise SourceError(
                f"Vela did not finish {shown_as} in {limit_s:g} s.", hint=child.hint(None)
            )
        if status == 0 and _COUNTS.search(log):
            return log
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        said = _OWN_ERROR.sub(r"\1", lines[-1]) if lines else "without a message"
        is_half = target.config and not (target.system_config and target.memory_mode)
        how = f"{child.ending} on" if status < 0 else "does not compile"
        raise SourceError(
            f"Vela {runtime.version} {how} {shown_as}: {said[:500].rstrip('.')}.",
            hint="Add --system-config and --memory-mode of that file." if is_half else None,
            details=log[-_LOG_TAIL_CHARACTERS:],
        )
