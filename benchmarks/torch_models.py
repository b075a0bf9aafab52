"""Networks of torchvision and PyTorch, converted by `edgeq convert`: which become full INT8.

    python benchmarks/torch_models.py --torch-python PATH [--only NAME...] [--effort EFFORT]

PATH is a Python with torch, torchvision and litert-torch. `torch_nets.py` makes the `.pt2` files in
it, and edgeq converts them with it, like `edgeq convert NAME.pt2 --layout nhwc --preprocess ...`.
Pictures are coloured garments of 96x96 pixels, as in `families.py`; recurrent networks and encoders
take the rows of grey ones. The network is also built in Keras with the same weights for those in
`torch_in_keras.py`.

It exits with 1 if a network does not become full INT8, if a float form has less than 60 dB of
PyTorch's outputs, or if a file is more than 0.5 dB below the one from Keras.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch_in_keras
from cases import SAMPLES, UNLABELLED, garments, tinted

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.errors import EdgeqError
from edgeq.values import Conversion

LEAST_FLOAT_DB = 60.0
MOST_BELOW_DB = 0.5
SIZE = 96
_MEASURED = 32  # pictures for statistics and for PyTorch's outputs
_NORMALIZED = ("scale=1/255", "mean=0.485:0.456:0.406", "std=0.229:0.224:0.225")

NAMES = (
    *("convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5"),
    *("mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5"),
    *("squeezenet1_1", "swin_t"),
    *("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
    *("resnet", "unet", "gru", "gru_steps_first", "gru_both_ways"),
    *("lstm", "lstm_steps_first", "lstm_two_layers_both_ways", "encoder", "causal_encoder"),
)
_TAKE_ROWS = ("gru", "lstm", "encoder", "causal")


@dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        refusal: why there is no file; "" if there is one.
        float_db: least SQNR of the float form against PyTorch.
        islands: float operators inside of the file.
        db: SQNR of the worst part of the outputs.
        keras_db: of the same network from Keras; None if it is not built there.
    """

    name: str
    refusal: str = ""
    float_db: float = math.nan
    islands: int = 0
    transposes: int = 0
    operators: int = 0
    db: float = math.nan
    keras_db: float | None = None

    def is_good(self) -> bool:
        """Whether it meets the bounds."""
        is_near = self.keras_db is None or self.db >= self.keras_db - MOST_BELOW_DB
        is_whole = not self.refusal and not self.islands
        return is_whole and self.float_db >= LEAST_FLOAT_DB and is_near

    def __str__(self) -> str:
        if self.refusal:
            return f"| {self.name} | refused: {self.refusal} | | | | |"
        keras = "" if self.keras_db is None else f"{self.keras_db:.1f}"
        whole = "yes" if not self.islands else f"{self.islands} islands"
        counts = f"{self.float_db:.0f} | {self.operators} | {self.transposes}"
        return f"| {self.name} | {whole} | {counts} | {self.db:.1f} | {keras} |"


class Bench:
    """The files of the samples, and the conversions with them.

    Args:
        folder: for all files.
        python: that has PyTorch.
    """

    def __init__(self, folder: Path, python: Path, effort: str):
        self.folder, self._python, self._effort = folder, python, effort
        cal, test = garments("calibration"), garments("test")[:UNLABELLED]
        self._pictures = {"calibration": tinted(cal[:SAMPLES], SIZE), "test": tinted(test, SIZE)}
        rows = {"calibration": cal[:SAMPLES], "test": test}
        self._rows = {part: _as_rows(images) for part, images in rows.items()}
        measured = tinted(cal[-_MEASURED:], SIZE)
        np.savez(
            folder / "measured.npz",
            pictures=_normalized(measured).transpose(0, 3, 1, 2),
            rows=_as_rows(cal[-_MEASURED:]),
        )

    def make(self, names: Sequence[str]) -> None:
        """Have PyTorch write the programs that are not in the folder."""
        missing = [name for name in names if not (self.folder / f"{name}.pt2").exists()]
        script = Path(__file__).with_name("torch_nets.py")
        command = [self._python, script, self.folder / "measured.npz", self.folder, *missing]
        if missing:
            subprocess.run(command, check=True)

    def run(self, name: str) -> Row:
        """Convert one network from PyTorch, and from Keras if it is built there."""
        try:
            made = self._convert(name, self.folder / f"{name}.pt2")
        except EdgeqError as error:
            return Row(name, refusal=" ".join(str(error).replace("|", "/").split())[:300])
        assert made.quality is not None
        assert made.source.max_deviation is not None
        stored = dict(np.load(self.folder / f"{name}.npz"))
        keras_db = None
        if name in torch_in_keras.BUILT:
            source = self.folder / f"{name}.keras"
            torch_in_keras.BUILT[name](stored).save(source)
            quality = self._convert(name, source).quality
            assert quality is not None
            keras_db = worst_sqnr_db(quality)
        operators = made.certificate.operators
        return Row(
            name,
            "",
            _float_db(stored, made.source.max_deviation),
            made.certificate.float_islands,
            sum(item.name == "TRANSPOSE" for item in operators),
            len(operators),
            worst_sqnr_db(made.quality),
            keras_db,
        )

    def _convert(self, name: str, source: Path) -> Conversion:
        takes_rows = name.startswith(_TAKE_ROWS)
        samples = self._rows if takes_rows else self._pictures
        return edgeq.convert(
            source,
            self.folder / f"{source.name}.tflite",
            data={"x": samples["calibration"]},
            test_data={"x": samples["test"]},
            preprocess=() if takes_rows else _NORMALIZED,
            layout="source" if takes_rows or source.suffix == ".keras" else "nhwc",
            torch_python=str(self._python),
            effort=self._effort,
        )


def _as_rows(images: np.ndarray) -> np.ndarray:
    return images[..., 0].astype(np.float32) / np.float32(255)


def _normalized(images: np.ndarray) -> np.ndarray:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return ((images / 255 - np.array(mean)) / np.array(std)).astype(np.float32)


def _float_db(stored: dict[str, np.ndarray], deviation: float) -> float:
    """The least SQNR of the outputs if each value is wrong by the greatest deviation.

    Args:
        stored: PyTorch's outputs "output_N" for the measured samples.
        deviation: of the float form, relative to the largest value of an output.
    """
    worst = math.inf
    for name, values in stored.items():
        if name.startswith("output_"):
            rows = values.reshape(len(values), -1)
            spread = float(np.sqrt(np.mean((rows - rows.mean(0)) ** 2)))
            error = max(deviation, 1e-12) * float(np.abs(values).max())
            worst = min(worst, 20 * math.log10(spread / error))
    return worst


def measure(bench: Bench, names: Sequence[str]) -> Iterator[Row]:
    """Convert the networks one by one."""
    bench.make(names)
    for name in names:
        yield bench.run(name)


def main() -> int:
    """Print a table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", type=Path, required=True, metavar="PATH")
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, metavar="NAME")
    parser.add_argument("--effort", default="balanced", help="as in edgeq convert")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the programs")
    given = parser.parse_args()
    print("| network | full INT8 | float form, dB | operators | TRANSPOSE | SQNR, dB | Keras, dB |")
    print("|---|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="edgeq-torch-models-") as scratch:
        folder = given.cache or Path(scratch)
        folder.mkdir(exist_ok=True)
        rows = []
        for row in measure(Bench(folder, given.torch_python, given.effort), given.only):
            rows.append(row)
            print(row, flush=True)
    good = sum(row.is_good() for row in rows)
    print(f"{good} of {len(rows)} networks meet the bounds")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
