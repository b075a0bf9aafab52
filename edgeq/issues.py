"""The one table of doubts: every code an `Issue` may carry, its severity and its title.

A condition that makes a number less trustworthy has a code here, so that a report can name it, a
gate can refuse it, and a reader can look it up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeq.values import Issue


@dataclass(frozen=True)
class IssueKind:
    """The severity and title that all issues of one code share.

    Attributes:
        severity: "error" (stops the work), "warning" (doubt the numbers) or "note" (know it).
        title: what it means, a few words without numbers.
    """

    severity: str
    title: str


ISSUE_KINDS: dict[str, IssueKind] = {
    # ---- data: the samples, as they are read and as they are fed
    "data.empty": IssueKind("error", "no samples"),
    "data.not_finite": IssueKind("error", "NaN or infinity in the samples"),
    "data.one_value": IssueKind("error", "all samples have the same value"),
    "data.one_sample": IssueKind("warning", "a single calibration sample"),
    "data.too_few": IssueKind("warning", "few calibration samples"),
    "data.constant_samples": IssueKind("warning", "samples of one repeated value"),
    "data.duplicates": IssueKind("warning", "identical samples"),
    "data.few_duplicates": IssueKind("note", "a few identical samples"),
    "data.near_duplicates": IssueKind("note", "nearly identical samples"),
    "data.normalized_twice": IssueKind("warning", "values look normalized twice"),
    "data.not_normalized": IssueKind("warning", "values look not normalized"),
    "data.range_mismatch": IssueKind("warning", "values outside the range the model expects"),
    "data.statistics_shifted": IssueKind("warning", "values unlike those the model learned from"),
    "data.halves_disagree": IssueKind("warning", "ranges depend on which samples were drawn"),
    "data.not_repeatable": IssueKind("warning", "the data yields other samples each time"),
    "data.cut": IssueKind("note", "only the first samples were read"),
    "data.class_order": IssueKind("warning", "numbered class folders sorted as text"),
    "data.one_class": IssueKind("note", "a folder that may be one class of several"),
    "data.class_names": IssueKind("note", "names of the classes, in the order of their indices"),
    "data.labels_unclear": IssueKind("warning", "labels that cannot be tied to the classes"),
    "data.reshaped": IssueKind("note", "dimensions of size 1 added or removed"),
    "data.orientation_ignored": IssueKind("note", "EXIF orientation not applied"),
    "data.transparency_dropped": IssueKind("note", "transparency of images dropped"),
    "data.clips_fitted": IssueKind("note", "sounds cut or filled with zeros"),
    "data.files_ignored": IssueKind("note", "files of another kind"),
    # ---- eval and compare: how models were fed and compared
    "eval.fed_differently": IssueKind("warning", "models were fed different preprocessing"),
    "compare.baseline_quantized": IssueKind("warning", "the baseline is itself quantized"),
    "compare.fed_otherwise": IssueKind(
        "warning", "fed differently than the candidate was calibrated"
    ),
    "compare.other_layers": IssueKind("warning", "the two models' layers differ"),
    "compare.batches_differ": IssueKind("warning", "the two models' batch sizes differ"),
    # ---- bench: the measurement and the machine under it
    "bench.noisy": IssueKind("warning", "latencies scatter widely"),
    "bench.load": IssueKind("warning", "the machine was busy"),
    "bench.throttled": IssueKind("warning", "the processor was slowed down"),
    "bench.undervoltage": IssueKind("error", "the supply voltage was too low"),
    "bench.emulated": IssueKind("error", "the processor is emulated"),
    "bench.drift": IssueKind("warning", "latency changed during the run"),
    "bench.few_runs": IssueKind("warning", "too few runs for the requested interval"),
    "bench.threads": IssueKind("warning", "more threads than cores"),
    "bench.coarse_clock": IssueKind("warning", "latency is not far above the clock's step"),
    "bench.no_raw_times": IssueKind("warning", "the times of the single runs are not known"),
    # ---- doctor: the machine before a run
    "doctor.no_runtime": IssueKind("error", "no runtime works there"),
    "doctor.model_refused": IssueKind("error", "no runtime there is new enough for the model"),
    "doctor.no_benchmark_model": IssueKind("error", "neither Python nor benchmark_model"),
    "doctor.no_scratch": IssueKind("error", "no folder for temporary files"),
    "doctor.runtime_broken": IssueKind("warning", "an installed runtime does not work"),
    "doctor.runtime_too_old": IssueKind("warning", "a runtime is too old for the model"),
    "doctor.emulated": IssueKind("warning", "the processor is emulated"),
    "doctor.undervoltage": IssueKind("warning", "the supply voltage is too low"),
    "doctor.throttled": IssueKind("warning", "the processor is slowed down"),
    "doctor.hot": IssueKind("warning", "the processor is hot"),
    "doctor.governor": IssueKind("warning", "the governor keeps the clock low"),
    "doctor.low_memory": IssueKind("warning", "little memory is available"),
    "doctor.no_sandbox": IssueKind("warning", "model files are opened without a whole sandbox"),
    "doctor.low_disk": IssueKind("warning", "little space for temporary files"),
    "doctor.throttled_before": IssueKind("note", "the processor was slowed down earlier"),
    "doctor.governor_varies": IssueKind("note", "the clock follows the load"),
    "doctor.no_dot_product": IssueKind("note", "no dot product instructions for INT8"),
    "doctor.meter_unreadable": IssueKind("note", "an energy meter that cannot be read"),
    "doctor.no_runtime_yet": IssueKind("note", "no runtime there yet; the first run brings one"),
    "doctor.no_python": IssueKind("note", "no Python: bench alone runs there"),
    "doctor.cannot_convert": IssueKind("note", "TensorFlow is not installed"),
    # ---- profile: what the runtime's clock can tell
    "profile.too_short": IssueKind("warning", "operators shorter than the runtime's clock tells"),
    # ---- convert: the model and how it was made
    "convert.fewer_samples": IssueKind("note", "fewer samples than requested"),
    "convert.read_in_float32": IssueKind("note", "a half or double precision model in float32"),
    "convert.unfolded": IssueKind(
        "note", "constants behind a layer that should be part of its weights"
    ),
    "convert.input_narrowed": IssueKind("note", "an input's range cut for finer steps"),
    "convert.recurrent": IssueKind("note", "INT16 activations inside recurrent layers"),
    "convert.fine_softmaxes": IssueKind("note", "softmaxes over many positions in INT16"),
    "convert.norm_scales": IssueKind("note", "operators inserted around normalizations"),
    "convert.wide_inputs": IssueKind("note", "inputs kept float32 in front of unlike features"),
    "convert.wide_outputs": IssueKind("note", "outputs kept float32 behind unlike parts"),
    "convert.narrow_inputs": IssueKind("warning", "features lost in the step of an integer input"),
    "convert.narrow_outputs": IssueKind("warning", "a part lost in the step of an integer output"),
    "convert.int4_convolutions": IssueKind("note", "convolutions with INT4 weights are slower"),
    "convert.constant_tensors": IssueKind("note", "ranges estimated for tensors that stayed zero"),
    "convert.no_corrections": IssueKind("note", "no layer was corrected after quantization"),
    "convert.lstm_state": IssueKind("note", "LSTM operators keep their states from call to call"),
    "convert.ties": IssueKind("note", "classes spread over one INT8 step"),
    "convert.lstm_form": IssueKind("note", "form of the LSTM layers chosen by measuring"),
    "convert.stock_calibrator": IssueKind("note", "calibrated by TensorFlow Lite's own calibrator"),
    "convert.not_as_asked": IssueKind("warning", "the file differs from what was requested"),
    "convert.low_quality": IssueKind("warning", "the quality is low"),
    "convert.float_at_chance": IssueKind("warning", "the float model is not better than guessing"),
    "convert.class_order": IssueKind("warning", "the labels have another order of classes"),
    "convert.few_samples": IssueKind("warning", "too few samples to prove the budget"),
    "convert.not_held_out": IssueKind("warning", "measured on calibration samples"),
    "convert.all_float": IssueKind("warning", "nothing of the file is quantized"),
    # ---- tune: the search and what its result rests on
    "tune.same_samples": IssueKind("warning", "chosen and measured on the same samples"),
    "tune.few_samples": IssueKind("warning", "too few samples for the budget"),
    "tune.no_gain": IssueKind("warning", "neither smaller nor faster than the float model"),
    "tune.journal_replaced": IssueKind("note", "the journal of another search was replaced"),
    "tune.failed_trials": IssueKind("note", "recipes that gave no file"),
    "convert.input_kept": IssueKind("note", "an integer input keeps its dtype"),
}


def make_issue(code: str, message: str) -> Issue:
    """An issue with the severity its code has in the table.

    Args:
        code: a key of `ISSUE_KINDS`.
        message: one sentence with the numbers in it.

    Raises:
        ValueError: the code is not in the table, which is a mistake in edgeq.
    """
    if code not in ISSUE_KINDS:
        raise ValueError(f"Issue code {code!r} is not in the table: {', '.join(ISSUE_KINDS)}.")
    return Issue(code, ISSUE_KINDS[code].severity, message)


def is_known(issue: Issue) -> bool:
    """Return whether the table has the issue's code with its severity."""
    kind = ISSUE_KINDS.get(issue.code)
    return kind is not None and kind.severity == issue.severity


def judge(issues: Iterable[Issue]) -> str:
    """Return the validity that the issues of a result give it.

    Returns:
        "invalid" with any error, "degraded" with any warning, "valid" otherwise.

    Raises:
        ValueError: an issue has a code or severity that the table does not give it.
    """
    severities = set()
    for issue in issues:
        if issue != make_issue(issue.code, issue.message):
            raise ValueError(f"Issue {issue.code!r} cannot have severity {issue.severity!r}.")
        severities.add(issue.severity)
    if "error" in severities:
        return "invalid"
    return "degraded" if "warning" in severities else "valid"
