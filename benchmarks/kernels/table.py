"""Makes the rows of edgeq/tflite/kernels.txt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernels import forms, measure
from benchmarks.kernels.cases import Case
from benchmarks.kernels.forms import Built

Results = tuple[NDArray[Any], ...]
# A rule is right only if it is not far below the best one, which an equal scale by chance would be.
FAR_DB = 15.0
# With a fused activation, most values of a result may be 0.
FUSED_DB = 12.0
# Fused activations: name to its limits.
ACTIVATIONS = {"RELU": (0.0, np.inf), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}
_ORDER = ("fixed", "own", "input", "all")


def references(cases: Mapping[str, Case]) -> dict[str, Results]:
    """Results of the float models."""
    built = {name: forms.build(item, "float32") for name, item in cases.items()}
    found = measure.run("litert", {n: b for n, b in built.items() if not cases[n].identity})
    made: dict[str, Results] = {}
    for name, item in cases.items():
        outputs = [item.values[0]] if item.identity else found[name]
        if isinstance(outputs, str):
            raise RuntimeError(f"{name} in float: {outputs}")
        made[name] = tuple(outputs)
    return made


def rows(cases: Mapping[str, Case], runtimes: Sequence[str]) -> list[str]:
    """The rows of some cases, measured in some runtimes."""
    results = references(cases)
    built = {
        (name, form, rule): forms.build(item, form, rule, results[name])
        for name, item in cases.items()
        for form in forms.FORMS
        for rule in forms.RULES
        if form != "float32" and forms.exists(item, form, rule)
    }
    found = {runtime: decibels(runtime, built, results) for runtime in runtimes}
    fused = _fused(cases, results, found)
    lines = []
    for name, form in dict.fromkeys(key[:2] for key in built):
        chosen = choose(found, name, form)
        if chosen is None:
            lines.append(f"{name} {form} none")
            continue
        right = {
            runtime: values[name, form, chosen]
            for runtime, values in found.items()
            if values[name, form, chosen] >= measure.LIMIT_DB
        }
        words = [name, form, chosen, f"version={built[name, form, chosen].version}"]
        words += [f"{runtime}={db:.1f}" for runtime, db in right.items()]
        if fused.get((name, form)):
            words.append(f"fuses={','.join(fused[name, form])}")
        lines.append(" ".join(words))
    return sorted(lines, key=lambda line: line.split()[:2])


def decibels(
    runtime: str, built: Mapping[tuple[str, ...], Built], results: Mapping[str, Results]
) -> dict[tuple[str, ...], float]:
    """SQNR of each form; -inf if the runtime refuses it. The key's first word names the case."""
    found = measure.run(runtime, {" ".join(key): item for key, item in built.items()})
    return {
        key: measure.sqnr_db(item, outputs, results[key[0]])
        if not isinstance(outputs := found[" ".join(key)], str)
        else -np.inf
        for key, item in built.items()
    }


def choose(
    found: Mapping[str, Mapping[tuple[str, ...], float]], name: str, form: str
) -> str | None:
    """The rule that the first runtime with a right kernel follows; None without any.

    A kernel that takes any scale of the result has the rule "own", except where TensorFlow
    prescribes one.
    """
    for values in found.values():
        known = {rule: values[name, form, rule] for rule in _ORDER if (name, form, rule) in values}
        limit = max(measure.LIMIT_DB, max(known.values()) - FAR_DB)
        for rule, db in known.items():
            if db >= limit:
                return rule
    return None


def _fused(
    cases: Mapping[str, Case],
    results: Mapping[str, Results],
    found: Mapping[str, Mapping[tuple[str, ...], float]],
) -> dict[tuple[str, str], list[str]]:
    """(Case, form) to the activations that ai-edge-litert's kernels compute right when fused."""
    built: dict[tuple[str, ...], Built] = {}
    wanted: dict[str, Results] = {}
    for name, item in cases.items():
        if "/" in name or not forms.can_fuse(item):
            continue
        for form in ("int8", "int16", "int4"):
            rule = choose(found, name, form) if forms.exists(item, form, "own") else None
            for code, (activation, limits) in enumerate(ACTIVATIONS.items(), 1):
                key = f"{name}+{activation}"
                wanted[key] = tuple(np.clip(values, *limits) for values in results[name])
                if rule is not None:
                    built[key, form, rule] = forms.build(item, form, rule, wanted[key], code)
    pairs: dict[tuple[str, str], list[str]] = {}
    for runtime in ("litert", "litert-xnnpack"):
        for (key, form, _), db in decibels(runtime, built, wanted).items():
            name, _, activation = key.partition("+")
            if db >= FUSED_DB:
                pairs.setdefault((name, form), []).append(activation)
    return {
        key: [name for name in ACTIVATIONS if names.count(name) == 2]
        for key, names in pairs.items()
    }
