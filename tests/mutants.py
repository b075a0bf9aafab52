"""Small faults put into the core one at a time: which of them does no test notice?

`scripts/mutants` runs it; docs/decisions/0011-mutation-tester.md says why it is made so.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import hashlib
import importlib
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cosmic_ray.plugins
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = ROOT / "tests" / "mutants_equivalent.toml"
AIM_PERCENT = 85.0

# Tests of test_certificate.py that read a model from elsewhere.
_REAL_MODELS = (
    "test_mlperfs_own_int8_keyword_model_is_what_it_claims",
    "test_a_float_model_is_one_island",
    "test_the_uint8_model_of_2018_is_integer_and_per_tensor",
    "test_a_float_file_sold_as_int8_is_found_out",
    "test_granularity_is_checked",
)
_CERTIFICATE = (
    "tests/converters/proof/test_certificate.py",
    *(f"--deselect=tests/converters/proof/test_certificate.py::{name}" for name in _REAL_MODELS),
)
# Tests of test_sampling.py that convert a model.
_OF_A_GRU = (
    "test_a_sample_that_hinges_on_a_rounding_is_passed_over",
    "test_right_kernels_keep_the_tolerances_of_other_kernels",
)
_METRICS = tuple(f"tests/metrics/test_{name}.py" for name in ("metrics", "tasks", "intervals"))
_GATE = ("tests/gating/test_gate.py", "-p", "tests.gating.conftest")

# What is mutated, and the tests that must notice: without TensorFlow, in a second or two.
MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "certificate": ("converters/proof/certificate.py", _CERTIFICATE),
    "weight_proof": (
        "converters/proof/weight_proof.py",
        ("tests/converters/proof/test_weight_proof.py",),
    ),
    "layout": (
        "converters/graph/layout.py",
        (
            *_CERTIFICATE,
            "tests/converters/graph/test_layout.py",
            "tests/converters/graph/test_dequantized.py",
        ),
    ),
    "proof": ("edgeq/conversion/proof.py", ("tests/conversion/test_proof.py",)),
    "judging": ("edgeq/accuracy/verdict.py", ("tests/accuracy/test_verdict.py",)),
    "quality_meter": ("edgeq/accuracy/quality_meter.py", ("tests/accuracy/test_verdict.py",)),
    "parts": ("edgeq/accuracy/parts.py", ("tests/accuracy/test_parts.py",)),
    "columns": ("edgeq/accuracy/columns.py", ("tests/accuracy/test_columns.py",)),
    "class_names": ("edgeq/accuracy/class_names.py", ("tests/accuracy/test_class_names.py",)),
    "renamed_classes": (
        "edgeq/accuracy/renamed_classes.py",
        ("tests/accuracy/test_renamed_classes.py",),
    ),
    "quantmath": ("edgeq/tflite/quantmath.py", ("tests/tflite/test_quantmath.py",)),
    "catalogue": ("edgeq/metrics/catalogue.py", _METRICS),
    "classification": ("edgeq/metrics/classification.py", _METRICS),
    "decoding": ("edgeq/metrics/decoding.py", ("tests/metrics/test_decoding.py",)),
    "detection": ("edgeq/metrics/detection.py", ("tests/metrics/test_detection.py",)),
    "keypoints": ("edgeq/metrics/keypoints.py", _METRICS),
    "letterbox": ("edgeq/metrics/letterbox.py", ("tests/metrics/test_letterbox.py",)),
    "metric": ("edgeq/metrics/metric.py", _METRICS),
    "ranking": ("edgeq/metrics/ranking.py", _METRICS),
    "regression": ("edgeq/metrics/regression.py", _METRICS),
    "segmentation": ("edgeq/metrics/segmentation.py", _METRICS),
    "metric_intervals": ("edgeq/metrics/intervals.py", _METRICS),
    "intervals": ("edgeq/gating/intervals.py", ("tests/gating/test_intervals.py",)),
    "gate": ("edgeq/gating/gate.py", _GATE),
    "figures": ("edgeq/gating/figures.py", _GATE),
    "judges": ("edgeq/gating/judges.py", _GATE),
    "rules": ("edgeq/gating/rules.py", ("tests/gating/test_policy.py", *_GATE)),
    "regressions": ("edgeq/gating/regressions.py", _GATE),
    "timing": ("edgeq/timing.py", ("tests/test_timing.py", "tests/gating/test_intervals.py")),
    "median": ("device_runners/on_board/agent/statistics.py", ("tests/test_timing.py",)),
    "health": (
        "device_runners/measuring/health.py",
        ("tests/device_runners/measuring/test_health.py", "tests/test_timing.py"),
    ),
    "versions": ("edgeq/tflite/versions.py", ("tests/tflite/test_versions.py",)),
    **{
        name: (f"converters/rewrites/{name}.py", (f"tests/converters/rewrites/test_{name}.py",))
        for name in ("absorbing", "conditions", "masks", "pool_padding", "unpacking")
    },
    "masked_ranges": (
        "converters/calibration/masked_ranges.py",
        ("tests/converters/calibration/test_masked_ranges.py",),
    ),
    "integers": (
        "converters/writer/integers.py",
        ("tests/converters/writer/test_integers.py", "tests/converters/writer/test_propagation.py"),
    ),
    "narrow": (
        "converters/writer/narrow.py",
        ("tests/converters/writer/test_narrow.py",),
    ),
    "lstm": (
        "converters/writer/lstm.py",
        (
            "tests/converters/writer/test_lstm.py",
            "--deselect=tests/converters/writer/test_lstm.py::"
            "test_every_integer_and_scale_is_that_of_tensorflow",
        ),
    ),
    "lstm_format": ("edgeq/tflite/lstm.py", ("tests/tflite/test_lstm.py",)),
    "rounding": (
        "converters/corrections/rounding.py",
        ("tests/converters/corrections/test_rounding.py",),
    ),
    "statistics": (
        "converters/calibration/statistics.py",
        ("tests/converters/calibration/test_statistics.py",),
    ),
    "golden": ("edgeq/packaging/golden/vectors.py", ("tests/packaging/golden/test_vectors.py",)),
    "sampling": (
        "edgeq/packaging/golden/sampling.py",
        (
            "tests/packaging/golden/test_sampling.py",
            *(f"--deselect=tests/packaging/golden/test_sampling.py::{name}" for name in _OF_A_GRU),
        ),
    ),
    "verify": (
        "edgeq/packaging/verification/verify.py",
        ("tests/packaging/verification/test_verify.py",),
    ),
    "contents": (
        "edgeq/packaging/verification/contents.py",
        (
            "tests/packaging/verification/test_contents.py",
            "tests/packaging/verification/test_all_checks.py",
        ),
    ),
    "proving": (
        "edgeq/packaging/verification/all_checks.py",
        ("tests/packaging/verification/test_all_checks.py",),
    ),
    "storage": ("edgeq/files/storage.py", ("tests/files/test_storage.py",)),
}

# Simulations cost seconds; what they hold, tests of literal values must hold as well.
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--noconftest",
           "-k", "not as_it_says")  # fmt: skip

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}


@dataclass(frozen=True)
class Mutant:
    """One small fault."""

    place: str  # the function or class
    line: int
    before: str
    after: str
    code: str

    def show(self) -> str:
        """Where, and both lines."""
        return f"  line {self.line}, {self.place}\n    - {self.before}\n    + {self.after}"


def is_telling(operator: str) -> bool:
    """Leaves out what can only raise a TypeError, and `is` in place of `==`."""
    kind, *names = operator.removeprefix("core/").split("_")
    if kind == "ReplaceBinaryOperator":
        return (names[0] in ARITHMETIC) == (names[1] in ARITHMETIC)
    if kind == "ReplaceComparisonOperator":
        return (names[0] in {"Is", "IsNot"}) == (names[1] in {"Is", "IsNot"})
    return True


def annotations(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Start and end of each type: `from __future__ import annotations` keeps them from running."""
    found = []
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if isinstance(part, ast.expr):
                assert part.end_lineno is not None and part.end_col_offset is not None
                found.append(
                    ((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset))
                )
    return found


def place_of(tree: ast.Module, line: int) -> str:
    """The dotted name of the innermost function or class around a line."""
    names = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and min([node.lineno, *(one.lineno for one in node.decorator_list)])
        <= line
        <= (node.end_lineno or 0)
    ]
    return ".".join(node.name for node in sorted(names, key=lambda node: node.lineno)) or "module"


def mutants(source: str, seed: int) -> Iterator[Mutant]:
    """All mutants in the seed's order: one at each position, then a second one at each.

    The order of two mutants depends on their own lines only, so that it stays when other lines
    change.
    """
    tree, syntax, lines = ast.parse(source), get_ast(source), source.splitlines()
    types = annotations(tree)
    positions: dict[tuple[tuple[int, int], tuple[int, int]], list[tuple[str, int]]] = {}
    for name in sorted(cosmic_ray.plugins.operator_names()):
        kind = cosmic_ray.plugins.get_operator(name)
        if kind.arguments() or not is_telling(name):
            continue
        operator = kind()
        spans = [s for node in ast_nodes(syntax) for s in operator.mutation_positions(node)]
        for occurrence, span in enumerate(spans):
            (line, column), _ = span
            is_type = any(start <= span[0] and span[1] <= end for start, end in types)
            # The star before arguments that are named is no operator.
            if not is_type and lines[line - 1][column : column + 2] != "*,":
                positions.setdefault(span, []).append((name, occurrence))

    def rank(*parts: object) -> str:
        return hashlib.sha256(repr((seed, *parts)).encode()).hexdigest()

    def place_rank(item: tuple[tuple[tuple[int, int], tuple[int, int]], object]) -> str:
        (line, column), _ = item[0]
        return rank(place_of(tree, line), lines[line - 1], column)

    ordered = [
        sorted(found, key=lambda one: rank(lines[span[0][0] - 1], one[0]))
        for span, found in sorted(positions.items(), key=place_rank)
    ]
    for turn in range(max(map(len, ordered), default=0)):
        for found in ordered:
            if turn < len(found):
                name, occurrence = found[turn]
                mutated = mutate_code(source, cosmic_ray.plugins.get_operator(name)(), occurrence)
                if compiles(mutated):
                    yield make_mutant(source, mutated, tree)


def compiles(source: str) -> bool:
    """What does not would be noticed by anybody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(source, "mutant", "exec")
        except SyntaxError:
            return False
    return True


def make_mutant(source: str, mutated: str, tree: ast.Module) -> Mutant:
    """With what changed, line by line."""
    old, new = source.splitlines(), mutated.splitlines()
    (change,) = [
        block
        for block in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if block[0] != "equal"
    ]
    _, start, end, new_start, new_end = change
    return Mutant(
        place_of(tree, start + 1),
        start + 1,
        " ".join(line.strip() for line in old[start:end]),
        " ".join(line.strip() for line in new[new_start:new_end]),
        mutated,
    )


def run_tests(copy: Path, tests: Sequence[str], cpu_s: int, log: Path | None = None) -> str:
    """The tests against the copy as it is: "passed", "failed", "endless" or "no answer".

    The limit is of processor time, which a busy machine does not use up.
    """
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
            output = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            status = int(pytest.main([*OPTIONS, *tests]))
            (copy / "imported").write_text("\n".join(sys.modules))
        finally:  # and not back into this program, which would go on twice
            os._exit(status)
    give_up = time.monotonic() + 60 + 30 * cpu_s
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > give_up:
            break
        time.sleep(0.01)
    else:
        give_up = float("inf")
    os.killpg(child, signal.SIGKILL)  # also what the tests left running
    status = os.waitpid(child, 0)[1]
    if give_up < float("inf"):
        return "no answer"
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return "endless"
    return "passed" if os.waitstatus_to_exitcode(status) == 0 else "failed"


def require_sound(copy: Path, tests: Sequence[str]) -> float:
    """Seconds of processor time that the tests take on sound code, which they must pass."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    log = copy / "sound.log"
    if run_tests(copy, tests, 600, log) != "passed":
        sys.exit(f"The tests do not pass on sound code:\n{log.read_text()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def import_others(names: Sequence[str]) -> None:
    """Import once what the tests import and what is not mutated, before each mutant is a fork.

    The mutated file raises meanwhile, so that modules that import it are left to the forks.
    """
    for name in [name for name in sys.modules if re.match(r"edgeq(\.|$)", name)]:
        del sys.modules[name]  # of the module before
    for name in names:
        # pytest must import its plugins and the tests itself.
        is_pytests = re.match(
            r"(benchmarks|tests|conftest|test_\w+|_?pytest\w*|xdist|execnet)(\.|$)", name
        )
        if not is_pytests and name not in sys.modules:
            with contextlib.suppress(ImportError, RuntimeError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)


def try_module(name: str, copy: Path, arguments: argparse.Namespace) -> bool:
    """Prints a module's figure and survivors; whether the figure is high enough."""
    file, tests = MODULES[name]
    path = copy / file
    source = path.read_text()
    entries = tomllib.loads(EQUIVALENT.read_text())["mutant"]
    known = {(one["before"], one["after"]) for one in entries if one["in"] in (name, "every")}
    lines = [line.strip() for line in source.splitlines()]
    there = {" ".join(lines[start:end]) for start in range(len(lines)) for end in
             range(start + 1, start + 5)}  # fmt: skip
    for one in entries:
        if one["in"] == name and one["before"] not in there:
            sys.exit(f"{EQUIVALENT.name}: {file} has no line {one['before']!r} any more.")
    cpu_s = int(5 + 4 * require_sound(copy, tests))
    for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
        stale.unlink()
    path.write_text("raise RuntimeError\n")
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    import_others((copy / "imported").read_text().splitlines())
    if run_tests(copy, tests, cpu_s) == "passed":
        sys.exit(f"The tests of {name} do not run {file}.")
    path.write_text(source)
    require_sound(copy, tests)
    outcomes: Counter[str] = Counter()
    survivors, equivalent = [], []
    for mutant in mutants(source, arguments.seed):
        if (mutant.before, mutant.after) in known:
            equivalent.append(mutant)
            continue
        path.write_text(mutant.code)
        outcome = run_tests(copy, tests, cpu_s)
        outcomes[outcome] += 1
        if outcome in ("passed", "no answer"):
            survivors.append(mutant)
            print(f"{name}: {outcome}\n{mutant.show()}", flush=True)
        if outcomes.total() == arguments.sample:
            break
    path.write_text(source)
    require_sound(copy, tests)  # or what was noticed was something else
    count = outcomes.total()
    noticed = outcomes["failed"] + outcomes["endless"]
    percent = 100 * noticed / count
    print(
        f"{name}: {count} mutants, {noticed} noticed ({outcomes['endless']} endless loops), "
        f"{len(survivors)} not, {len(equivalent)} equivalent left out: {percent:.1f} %",
        flush=True,
    )
    return percent >= AIM_PERCENT


def main() -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("module", nargs="*", help=f"of {', '.join(MODULES)}; all without one")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same sample")
    parser.add_argument("--sample", type=int, default=100, help="mutants of each module")
    arguments = parser.parse_args()
    for name in arguments.module:
        if name not in MODULES:
            parser.error(f"There is no module {name!r}; there are {', '.join(MODULES)}.")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "edgeq"
        left_out = shutil.ignore_patterns(".git", ".venv*", ".boards", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=left_out)
        os.chdir(copy)
        # For this process's forks, and for the processes that tests start. Faults in code that
        # cleans up must find nobody else's files.
        sys.path[0] = os.environ["PYTHONPATH"] = str(copy)
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        reached = [try_module(name, copy, arguments) for name in arguments.module or MODULES]
    sys.exit(0 if all(reached) else f"Below {AIM_PERCENT:g} % in at least one module.")


if __name__ == "__main__":
    main()
