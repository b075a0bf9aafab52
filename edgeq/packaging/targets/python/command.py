"""`python -m PACKAGE`: the smoke test, a prediction, or a folder that is watched."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .interpreter import Runner
from .tensors import Array

_MOST_BYTES = 300_000_000
_ROUNDING = 1e-6  # of a sigmoid, in another numpy
_GOLDEN = Path(__file__).with_name("golden")


def main(model: type[Runner]) -> int:
    """Do what the command line requests; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {model.NAME}",
        description="Without a file: the smoke test. It runs the samples that came with the model "
        "and compares with what was measured when it was packaged.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="a raw sample: .npy, or .npz with an array for each input; .wav for a sound",
    )
    parser.add_argument(
        "--watch",
        type=Path,
        metavar="FOLDER",
        help="predict each .npy, .npz or .wav that appears there: NAME.npy into NAME.npy.json",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes that are listed")
    parser.add_argument("--version", action="version", version=f"{model.NAME} {model.VERSION}")
    options = parser.parse_args()
    try:
        runner = model(options.threads)
        if options.watch is not None:
            watch(runner, options.watch, options.top)
        if options.file is None:
            return smoke_test(runner)
        print(json.dumps(predict(runner, options.file, options.top), indent=1, allow_nan=False))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(printable(f"{model.NAME}: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def printable(text: str) -> str:
    """A line on which no name, of a file or in the model, steers a terminal or begins another."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


# ---------------------------------------------------------------- predictions


def predict(runner: Runner, path: Path, top: int) -> dict[str, Any]:
    """Run the model on a file: output name to values, or to its top classes.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: it holds no sample of this model.
        RuntimeError: a kernel refuses the values.
    """
    tensors = runner.run(runner.prepare(_load(runner, path)))
    found: dict[str, Any] = {}
    for output in runner.OUTPUTS:
        tensor = tensors[output.name]
        if output.labels:
            try:
                found[output.name] = _as_json(output.scores(tensor).top(top))
                continue
            except ValueError:  # many rows, as in a segmentation: values say more than a ranking
                pass
        found[output.name] = _as_json(output.real(tensor).tolist())
    for name, values in runner.results(tensors).items():
        if runner.BOXES is not None and name == runner.BOXES.name:
            found[name] = list(map(asdict, runner.BOXES.list(values)))
        else:
            found[name] = _as_json(values.tolist())
    return found


def _as_json(values: Any) -> Any:
    """The same in what JSON has: it has no NaN and no infinity, so these are null."""
    if isinstance(values, (list, tuple)):
        return [_as_json(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _load(runner: Runner, path: Path) -> dict[str, Any]:
    is_sound = _is_sound(runner, path)
    loaded = path if is_sound else _read_arrays(path)
    if isinstance(loaded, dict):
        return loaded
    if is_sound and path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} has more than {_MOST_BYTES:,} bytes.")
    if len(runner.INPUTS) > 1:
        names = ", ".join(item.name for item in runner.INPUTS)
        raise ValueError(f"{path} is one array; save an .npz with {names}.")
    return {runner.INPUTS[0].name: loaded}


def _is_sound(runner: Runner, path: Path) -> bool:
    """Whether a file is a sound for the only input, which takes one."""
    takes_sound = len(runner.INPUTS) == 1 and runner.INPUTS[0].front_end is not None
    return takes_sound and path.suffix.lower() == ".wav"


def _read_arrays(path: Path) -> Array | dict[str, Array]:
    if path.exists() and not path.is_file():  # a named pipe would be waited for
        raise ValueError(f"{path} is not a file.")
    try:
        size = _unpacked_bytes(path)
        if size > _MOST_BYTES:
            raise ValueError(f"it takes {size:,} bytes, and a sample at most {_MOST_BYTES:,}")
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except OSError:
        raise
    # A broken file ends numpy's parsers in many ways, among them EOFError, zipfile.BadZipFile,
    # zlib.error and MemoryError.
    except Exception as error:
        raise ValueError(f"{path} is not a complete .npy or .npz file: {error}") from error


def _unpacked_bytes(path: Path) -> int:
    """Bytes of a file in memory: a small one may unpack to a very large one."""
    size = path.stat().st_size
    if size > _MOST_BYTES or not zipfile.is_zipfile(path):
        return size
    with zipfile.ZipFile(path) as archive:
        return sum(item.file_size for item in archive.infolist())


def watch(runner: Runner, folder: Path, top: int) -> None:
    """Predict what appears in a folder, forever; a file that is not a sample is logged and skipped.

    A file has to appear whole: write it under another ending and rename it.
    """
    while True:
        for path in sorted(folder.iterdir()):
            # With the whole name in it, a.npy and a.npz have an answer each.
            target = path.with_name(f"{path.name}.json")
            is_sample = path.suffix in (".npy", ".npz") or _is_sound(runner, path)
            if not is_sample or target.exists():
                continue
            try:
                found = predict(runner, path, top)
            except (OSError, RuntimeError, ValueError) as error:
                if not path.exists():  # taken away meanwhile
                    continue
                said = f"{runner.NAME}: {path.name} was passed by: {error}"
                print(printable(said), file=sys.stderr)
                found = {"error": str(error)}
            fresh = path.with_name(f"{path.name}.json.new")
            fresh.write_bytes(json.dumps(found, allow_nan=False).encode() + b"\n")
            fresh.replace(target)
        time.sleep(0.5)


# ---------------------------------------------------------------- the smoke test


def smoke_test(runner: Runner) -> int:
    """Run the golden vectors; returns 0 when all are as they were measured, otherwise 1."""
    print(
        f"{runner.NAME} {runner.VERSION} on {platform.machine()}: {runner.runtime}, "
        f"Python {platform.python_version()}, numpy {np.__version__}"
    )
    found = hashlib.sha256(runner.file().read_bytes()).hexdigest()
    problems = [] if found == runner.SHA256 else ["the model is not the one that was packaged"]
    index = json.loads((_GOLDEN / "golden.json").read_text(encoding="utf-8"))
    for vector in index["vectors"]:
        lines, is_good = _check(runner, vector, index)
        print(f"sample {vector['index']}: {'PASS' if is_good else 'FAIL'}")
        for line in lines:
            print(printable(f"  {line}"))
        if not is_good:
            problems.append(f"sample {vector['index']}")
    print("PASS" if not problems else f"FAIL: {', '.join(problems)}")
    return 1 if problems else 0


def _check(
    runner: Runner, vector: Mapping[str, Any], index: Mapping[str, Any]
) -> tuple[list[str], bool]:
    """Preprocessing, model and real values of one vector, each on its own."""
    tolerances = index["tolerances"]
    raw, inputs, outputs, real, results_of, picture, sounds = (
        {name: _read(item) for name, item in vector[part].items()}
        for part in ("raw", "inputs", "outputs", "real", "results", "picture", "sounds")
    )
    given, results = runner.run(inputs), []
    for item in runner.INPUTS:
        name = item.name
        if item.front_end is not None:
            most = index["feature_tolerances"][name]["float64"]
            features = item.front_end(sounds[name])
            results.append(_compare(f"features of {name}", raw[name], features, most))
        results.append(_compare(f"input {name}", inputs[name], item.encode(raw[name]), 0.0))
    for output in runner.OUTPUTS:
        name = output.name
        wanted = outputs[name]
        results.append(
            _compare(f"output {name}", wanted, given[name].reshape(wanted.shape), tolerances[name])
        )
        values = output.real(wanted).astype(np.float32).reshape(real[name].shape)
        results.append(_compare(f"real values of {name}", real[name], values, 0.0))
    found = runner.results(outputs)
    for name, values in found.items():
        results.append(_compare(f"{name}", results_of[name][0], values, _ROUNDING))
    if runner.LETTERBOX is not None:
        size = int(picture["size"][0]), int(picture["size"][1])
        region = np.array(runner.LETTERBOX.place(size), np.int32)
        results.append(_compare("region of the picture", picture["region"], region, 0.0))
        if runner.BOXES is not None:
            rows = found[runner.BOXES.name].copy()
            rows[:, 1:5] = runner.LETTERBOX.back(rows[:, 1:5], size)
            name = f"{runner.BOXES.name} in the picture"
            results.append(_compare(name, picture["boxes"][0], rows, _ROUNDING))
    return [line for line, _ in results], all(is_good for _, is_good in results)


def _read(item: Mapping[str, Any]) -> Array:
    """An array, from little-endian bytes to this machine's order."""
    dtype = np.dtype(item["dtype"])
    content = (_GOLDEN / item["file"]).read_bytes()
    little = np.frombuffer(content, dtype.newbyteorder("<"))
    values: Array = little.astype(dtype).reshape(item["shape"])
    return values


def _compare(what: str, wanted: Array, given: Array, tolerance: float) -> tuple[str, bool]:
    if (wanted.dtype, wanted.shape) != (given.dtype, given.shape):
        return (
            f"{what}: {given.dtype} of {given.shape}, not {wanted.dtype} of {wanted.shape}",
            False,
        )
    apart = np.abs(wanted.astype(np.float64) - given.astype(np.float64))
    if wanted.dtype.kind == "f":
        apart = np.where((wanted == given) | (np.isnan(wanted) & np.isnan(given)), 0.0, apart)
    largest = float(apart.max(initial=0))
    line = (
        f"{what}: {np.count_nonzero(apart)} of {apart.size} values differ, by up to {largest:g} "
        f"({tolerance:g} accepted)"
    )
    return line, largest <= tolerance
