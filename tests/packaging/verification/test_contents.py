"""The checks of a package whose bytes are right, one by one, on a model of one operator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeq.errors import UnjudgedPackageError
from edgeq.packaging.container.archive import write_zip
from edgeq.packaging.container.manifest import NO_GATE, GateVerdict, Manifest, read_manifest
from edgeq.packaging.verification import contents
from edgeq.packaging.verification.checks import Check
from edgeq.records.reading import Record
from edgeq.tflite.model_file import ModelFile, parse_model
from edgeq.values import FileRef, Finding, GateResult, RuleVerdict
from tests import tiny_models
from tests.packaging.verification.test_all_checks import GOLDEN, VECTORS, Files, make_files

MODEL = tiny_models.double_int8()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("tiny"), is_signed=False)


@pytest.fixture(scope="module")
def manifest(files: Files) -> Manifest:
    return read_manifest(files)


@pytest.fixture(scope="module")
def model(files: Files) -> ModelFile:
    (path,) = [path for path in files if path.endswith(".tflite")]
    return parse_model(files[path], path)


# ---------------------------------------------------------------- the model and its contract


def test_every_copy_of_the_model_is_the_manifests(files: Files, manifest: Manifest) -> None:
    check, found = contents.check_model(files, manifest)
    digest = manifest.contract.model.sha256
    assert check.verdict == "pass" and found is not None
    assert check.detail[0].endswith(f": sha256 {digest[:12]}")
    assert found.sha256 == digest


@pytest.mark.parametrize("wrap", [0, 1, 2])
def test_another_model_is_found_wherever_it_lies(
    files: Files, manifest: Manifest, wrap: int
) -> None:
    path, content, shown = "corner/Other.TFLITE", tiny_models.add_one(), ""
    for number in range(wrap):
        content, shown = write_zip({path: content}), f"!{path}{shown}"
        path = f"a{number}{('.AAR', '.zip')[number]}"
    check, found = contents.check_model({**files, path: content}, manifest)
    assert (check.verdict, found) == ("fail", None)
    assert [text.partition(" is not the manifest's model: ")[0] for text in check.detail] == [
        f"{path}{shown}"
    ]


def test_a_target_of_a_newer_edgeq_is_not_judged(files: Files, manifest: Manifest) -> None:
    with pytest.raises(UnjudgedPackageError, match="is for 'fridge'; this version of edgeq knows"):
        contents.check_model(files, replace(manifest, target="fridge"))


def test_the_contract_is_the_models_own(manifest: Manifest, model: ModelFile) -> None:
    check, own = contents.check_contract(model, manifest)
    assert (check.verdict, own) == ("pass", manifest.contract)
    assert check.detail[0].startswith("dtypes, shapes")
    (given,) = manifest.contract.inputs
    scaled = replace(given, spec=replace(given.spec, scales=(0.25,)))
    for changes, names in (
        ({"inputs": (scaled,)}, ["inputs"]),
        ({"operators": (), "min_runtime_version": "9.9"}, ["min_runtime_version", "operators"]),
    ):
        changed = replace(manifest, contract=replace(manifest.contract, **changes))
        check, own = contents.check_contract(model, changed)
        assert (check.verdict, own) == ("fail", None)
        assert check.detail == tuple(
            f"{name} in the manifest differs from the model's" for name in names
        )


# ---------------------------------------------------------------- records and the gate


CONVERT = Path(__file__).parents[2] / "gating" / "convert.json"


def measured(model: ModelFile, manifest: Manifest, *digests: str) -> Check:
    """The check of records of conversions that gave these models."""
    text = CONVERT.read_text()
    old = json.loads(text)["model"]["file"]["sha256"]
    files = {
        f"records/0{number}-convert.json": text.replace(old, digest).encode()
        for number, digest in enumerate(digests)
    }
    listed = {**manifest.files, **dict.fromkeys(files, ("0" * 64, 1))}
    changed = replace(manifest, records=tuple(files), files=listed)
    check, records = contents.check_records(model, files, changed)
    assert records is not None and [one.path for one in records] == list(files)
    return check


def test_records_are_about_the_measured_file(model: ModelFile, manifest: Manifest) -> None:
    own, other = manifest.measured_sha256, "f" * 64
    assert measured(model, manifest, own, own) == Check(
        "measured", "pass", ("it is the file of 2 records inside",)
    )
    for digests, wrong in (((other, own), 0), ((own, other), 1)):
        assert measured(model, manifest, *digests) == Check(
            "measured", "fail", (f"records/0{wrong}-convert.json is about another model",)
        )


def test_without_records_nothing_states_how_good_it_is(
    model: ModelFile, manifest: Manifest
) -> None:
    none = Check("measured", "skipped", ("no record is inside: nothing states how good it is",))
    assert contents.check_records(model, {}, manifest) == (none, ())
    left = replace(manifest, records_left_out={"records/00-convert.json": "0" * 64})
    check, records = contents.check_records(model, {}, left)
    assert (check, records) == (
        Check("measured", "skipped", ("1 record left out; the manifest has only digests",)), ()
    )  # fmt: skip


def test_another_file_than_the_measured_one_fails(model: ModelFile, manifest: Manifest) -> None:
    changed = replace(manifest, measured_sha256="e" * 64)
    assert contents.check_records(model, {}, changed) == (
        Check("measured", "fail",
              ("the shipped model is not the measured one (sha256 eeeeeeeeeeee)",)), None,
    )  # fmt: skip
    if manifest.contract.model.sha256 != manifest.measured_sha256:  # it has metadata
        whole = replace(manifest, measured_sha256=manifest.contract.model.sha256)
        assert contents.check_records(model, {}, whole)[0].verdict == "skipped"


def gate_record(verdict: str, *findings: str) -> Record:
    """A gate's record: a rule of the same verdict for each of these findings."""
    rules = tuple(
        RuleVerdict(
            f"any.rule{number}", "at most 1", None, verdict,
            (Finding("", found, "so it is", "", None, None, None, "", (), (), None, True),),
        )
        for number, found in enumerate(findings)
    )  # fmt: skip
    file = FileRef("policy.toml", "0" * 64, 1)
    result = GateResult(file, file, (), None, (), (), verdict, rules)
    return Record("records/01-gate.json", "0" * 64, "gate", None, "valid", (), result)


PASSED = GateVerdict("pass", "policy.toml", (), False)
FAILED = GateVerdict("fail", "policy.toml", ("any.rule0 (at most 1): so it is",), True)
HEARSAY = (
    "passed, by policy.toml, as its record says; only a signature proves it, with --public-key"
)


@pytest.mark.parametrize(
    ("gate", "records", "is_vouched_for", "verdict", "detail"),
    [
        (NO_GATE, [], True, "skipped", ["no gate judged the model"]),
        (PASSED, [gate_record("pass", "pass")], True, "pass", ["passed, by policy.toml"]),
        (PASSED, [gate_record("pass", "pass")], False, "skipped", [HEARSAY]),
        (PASSED, [], True, "fail", ["the manifest says pass, its record none"]),
        (PASSED, [gate_record("fail", "fail")], True, "fail",
         ["the manifest says pass, its record fail"]),
        (NO_GATE, [gate_record("pass", "pass")], True, "fail",
         ["the manifest says none, its record pass"]),
        (PASSED, [gate_record("pass", "pass", "fail")], True, "fail",
         ["records/01-gate.json says pass, but its own findings say fail"]),
        (FAILED, [gate_record("fail", "fail")], True, "fail",
         ["packaged with --force: any.rule0 (at most 1): so it is"]),
        (FAILED, [], True, "fail", ["the manifest says fail, its record none"]),
    ],
)  # fmt: skip
def test_a_gate_is_what_its_record_says(
    manifest: Manifest, gate: GateVerdict, records: list[Record], is_vouched_for: bool,
    verdict: str, detail: list[str],
) -> None:  # fmt: skip
    check = contents.check_gate(replace(manifest, gate=gate), records, is_vouched_for)
    assert check == Check("gate", verdict, tuple(detail))


def test_of_records_that_were_left_out_the_manifest_alone_speaks(manifest: Manifest) -> None:
    left = replace(manifest, records_left_out={"records/01-gate.json": "0" * 64})
    check = contents.check_gate(replace(left, gate=PASSED), [], False)
    assert check == Check("gate", "skipped", (HEARSAY,))
    forced = replace(left, gate=replace(FAILED, reasons=()))
    assert contents.check_gate(forced, [], True) == Check(
        "gate", "fail", ("packaged with --force: no reason was kept",)
    )


# ---------------------------------------------------------------- golden vectors


def test_vectors_that_are_no_json_fail(files: Files, manifest: Manifest) -> None:
    check, golden = contents.check_vectors(files, manifest.contract)
    assert check == Check(
        "vectors", "pass", ("3 have every input and output, and useful tolerances",)
    )
    assert golden is not None and len(golden.vectors) == 3
    check, golden = contents.check_vectors({**files, "golden/golden.json": b"{"}, manifest.contract)
    assert (check.verdict, golden) == ("fail", None)


def test_preprocessing_the_raw_samples_again_gives_the_tensors_inside(manifest: Manifest) -> None:
    good = contents.check_inputs(manifest.contract, GOLDEN)
    assert good == Check("inputs", "pass", ("3 raw samples give the tensors inside, exactly",))
    first, second, third = VECTORS
    moved = replace(second, raw={"x": second.raw["x"] + np.float32(0.5)})
    broken = replace(third, raw={"x": third.raw["x"][:2]})
    changed = replace(GOLDEN, vectors=(first, broken, moved))
    found = contents.check_inputs(manifest.contract, changed)
    assert found.verdict == "fail"
    assert [text.partition(":")[0] for text in found.detail] == ["sample 4", "sample 3"]
    assert found.detail[1] == "sample 3: preprocessing gives another 'x'"
