"""The plan of an `edgeq run`: an `edgeq.toml` as values, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgeq.converters.lowering.model_kinds import identify
from edgeq.converters.quantization.resolve_scheme import resolve
from edgeq.converters.samples.references import is_function_reference
from edgeq.converters.training.learned_ranges import trained_granularity
from edgeq.device_runners.devices.addresses import resolve_address
from edgeq.device_runners.devices.device import Device
from edgeq.device_runners.devices.registry import NamedDevice, read_devices
from edgeq.errors import DataError, SourceError, UsageError, nearest_path
from edgeq.fit.boards import choose, own_boards
from edgeq.gating.parsing import read_policy
from edgeq.packaging.assembly.build import PackageOptions
from edgeq.packaging.targets import NAMES as TARGETS
from edgeq.packaging.targets import find_target
from edgeq.pipeline.keys import KEYS
from edgeq.pipeline.settings import Name, Override, Setting, read_settings
from edgeq.pipeline.trust import find_code, programs_on
from edgeq.project import NamedCode, ProjectFile, read_project
from edgeq.values import BenchOptions, Board, ConvertOptions, TuneOptions
from edgeq.values.schemes import SCHEMES

BUILD_FOLDER = "build"
Given = Mapping[Name, Setting]


@dataclass(frozen=True)
class PlannedDevice:
    """A device to compare on.

    Attributes:
        name: given by the user.
        python: interpreter there, None for the default.
        programs: that the `edgeq.toml` names for it.
    """

    name: str
    address: str
    python: str | None
    programs: tuple[NamedCode, ...] = field(default=(), compare=False)

    def open(self) -> Device:
        """Open the device.

        Raises:
            UsageError: the address has no known form.
        """
        return resolve_address(self.address, self.name, self.python)


@dataclass(frozen=True)
class PlannedPackage:
    """The packages to make.

    Attributes:
        targets: see `packaging.targets`.
        options: of all of them, without labels; `form` is for those that have forms.
        labels: file with the names of the classes, None without.
    """

    targets: tuple[str, ...]
    options: PackageOptions
    labels: Path | None


@dataclass(frozen=True)
class Plan:
    """Everything that a run does.

    Attributes:
        file: the `edgeq.toml`.
        source: the trained model.
        baseline: the FP32 model to compare with.
        output: the `.tflite`; everything else is written beside it.
        calibration, test: path or "module:function", None without.
        preprocess: `--preprocess` texts, None for those that the model carries.
        labels, metrics, decode: of the test data, see `compare`.
        convert: also without a conversion, how the model is read.
        tune: None to convert.
        tune_device: measures the latency of the search.
        devices: to compare on.
        latency: whether to measure it.
        workers, test_samples: see `compare`.
        has_policy: whether a gate judges the result.
        board: microcontroller board that the policy's `fit` names, None without.
        baseline_records: of the released model, for `[policy.regression]`.
        package: None without packages.
        code: all that the `edgeq.toml` names and the run executes; see `edgeq.pipeline.trust`.
    """

    file: Path
    source: Path
    baseline: Path
    output: Path
    calibration: str | None
    test: str | None
    preprocess: tuple[str, ...] | None
    labels: str | None
    metrics: tuple[str, ...]
    decode: str | None
    convert: ConvertOptions
    tune: TuneOptions | None
    tune_device: PlannedDevice
    devices: tuple[PlannedDevice, ...]
    bench: BenchOptions
    latency: bool
    workers: int | None
    test_samples: int | None
    has_policy: bool
    board: Board | None
    baseline_records: tuple[Path, ...]
    package: PlannedPackage | None
    code: tuple[NamedCode, ...]

    def beside(self, ending: str) -> Path:
        """A file beside the output, such as model.gate.json."""
        return self.output.with_name(f"{self.output.stem}.{ending}")


def read_plan(path: Path, overrides: Mapping[Name, Override] | None = None) -> Plan:
    """The plan of an `edgeq.toml`.

    Args:
        overrides: values from the command line.

    Raises:
        UsageError: there is no such file, or something in it is wrong.
        SourceError: it names a model that does not exist.
        DataError: it names data that does not exist.
    """
    project = read_project(path)
    given = read_settings(project, overrides or {})
    source = _find_model(given, "source")
    if source is None:
        raise UsageError(
            f"{project.at('model')} does not name a model.",
            hint='Write [model] and below it source = "model.keras"; edgeq init MODEL does.',
        )
    baseline = _find_model(given, "baseline") or source
    is_compared = ("data", "test") in given
    if ("model", "baseline") not in given and is_compared and trained_granularity(source):
        raise UsageError(
            f"{source} was trained quantization-aware, so it is not an FP32 model to compare with.",
            hint='Name the model it was made from: [model] baseline = "original.keras"',
        )
    if "policy" in project.sections:
        read_policy(path)
    convert = _read_convert(project, given)
    tune = _read_tune(given, convert) if "tune" in project.sections else None
    calibration = _find_data(given, "calibration")
    _require_calibration(project, source, calibration, convert, tune)
    bench = _read_fields(BenchOptions, given, ("run",))
    named = read_devices(path)
    output = _find_output(given, path.parent, (source, baseline))
    test = _find_data(given, "test")
    searching = _value(given, "tune", "device", "local")
    tune_device = _find_device(named, searching, given.get(("tune", "device")))
    devices = _find_devices(project, given, named)
    used = [*([tune_device] if tune else []), *(devices if test is not None else ())]
    return Plan(
        file=path,
        source=source,
        baseline=baseline,
        output=output,
        calibration=calibration,
        test=test,
        preprocess=_value(given, "data", "preprocess"),
        labels=_find_data(given, "labels"),
        metrics=_value(given, "data", "metrics", ()),
        decode=_value(given, "data", "decode"),
        convert=convert,
        tune=tune,
        tune_device=tune_device,
        devices=devices,
        bench=bench,
        latency=_value(given, "run", "latency", True),
        workers=_value(given, "run", "workers"),
        test_samples=_value(given, "data", "test_samples"),
        has_policy="policy" in project.sections,
        board=_find_board(project),
        baseline_records=_find_records(given, output),
        package=_read_package(project, given) if "package" in project.sections else None,
        code=find_code(project, given, (calibration, test), [item.programs for item in used]),
    )


# ---------------------------------------------------------------- values


def _find_board(project: ProjectFile) -> Board | None:
    name = project.sections.get("policy", {}).get("fit")
    if name is None:
        return None
    (board,) = choose([name], own_boards(Path(project.file.path)))
    return board


def _value(given: Given, section: str, key: str, default: Any = None) -> Any:
    setting = given.get((section, key))
    return default if setting is None else setting.value


def _read_fields(kind: type[Any], given: Given, sections: tuple[str, ...]) -> Any:
    """Options from the keys of some sections."""
    known = {field.name for field in fields(kind)}
    values = {}
    for (section, key), setting in given.items():
        field = KEYS[section][key].field
        if section in sections and field in known:
            values[field] = setting.value
    return kind(**values)


def _read_convert(project: ProjectFile, given: Given) -> ConvertOptions:
    options: ConvertOptions = _read_fields(ConvertOptions, given, ("model", "data"))
    try:
        resolve(options.scheme, options.io, options.granularity)
    except UsageError as error:
        setting = given.get(("model", "io"))
        where = project.file.path if setting is None else setting.where
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error
    return replace(options, metrics=())  # the test data have the labels, and are for compare


def _read_tune(given: Given, convert: ConvertOptions) -> TuneOptions:
    budget = _read_fields(ConvertOptions, given, ("model", "data", "tune"))
    if budget.max_drop_points is None and budget.min_sqnr_db is None:
        raise UsageError(
            "[tune] has no budget.",
            hint="Set max_drop = 0.5 (points), min_sqnr = 25 (dB), or both.",
        )
    chosen: TuneOptions = _read_fields(TuneOptions, given, ("tune",))
    # A budget needs a metric with an interval, and labels.
    own = budget.metrics if ("data", "test") in given else ()
    metrics = tuple(name for name in own if ":" not in name)
    return replace(chosen, convert=replace(budget, metrics=metrics))


# ---------------------------------------------------------------- files


def _find_model(given: Given, key: str) -> Path | None:
    setting = given.get(("model", key))
    if setting is None:
        return None
    path: Path = setting.folder / setting.value
    try:
        identify(path)
    except SourceError as error:
        raise SourceError(f"{setting.where}: {key}: {error.message}", hint=error.hint) from error
    return path


def _find_output(given: Given, folder: Path, models: tuple[Path, ...]) -> Path:
    setting = given.get(("model", "output"))
    if setting is None:
        return folder / BUILD_FOLDER / f"{models[0].stem}.tflite"
    path: Path = setting.folder / setting.value
    if path.suffix != ".tflite":
        raise UsageError(
            f"{setting.where}: output must end in .tflite, not {setting.value!r}.",
            hint='For example: output = "build/model.tflite"; all other files go to its folder.',
        )
    if path.resolve() in (model.resolve() for model in models):
        raise UsageError(
            f"{setting.where}: output {path} is also an input.", hint="Name another file."
        )
    return path


def _find_data(given: Given, key: str) -> str | None:
    setting = given.get(("data", key))
    if setting is None:
        return None
    path = setting.folder / setting.value
    if path.exists():
        return str(path)
    if key != "labels" and is_function_reference(setting.value):
        return str(setting.value)
    known = "an .npz, .npy or .csv file, a folder of images or sounds, or package.module:function"
    if key == "labels":
        known = "a COCO JSON file, a folder of YOLO text files or masks, a .csv or .npy file"
    raise DataError(
        f"{setting.where}: there is no file or folder {path} for {key}.",
        hint=f"{nearest_path(path)}Name {known}.",
    )


def _find_records(given: Given, output: Path) -> tuple[Path, ...]:
    setting = given.get(("run", "baseline_records"))
    if setting is None:
        return ()
    paths = tuple(setting.folder / text for text in setting.value)
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{setting.where}: there is no record {path}.")
        if path.resolve().parent == output.resolve().parent and path.name.startswith(output.stem):
            raise UsageError(
                f"{setting.where}: this run itself writes {path}, so the model would be compared "
                "with itself.",
                hint="Keep a copy of the released model's records in another folder.",
            )
    return paths


def _read_package(project: ProjectFile, given: Given) -> PlannedPackage:
    targets = _value(given, "package", "targets")
    if targets is None:
        raise UsageError(
            f"{project.at('package')}: [package] does not name a target.",
            hint=f'For example: targets = ["{TARGETS[0]}"]; targets are {", ".join(TARGETS)}.',
        )
    options = PackageOptions(
        name=_value(given, "package", "name"),
        version=_value(given, "package", "release", "1.0.0"),
        license=_value(given, "package", "license"),
        description=_value(given, "package", "description", ""),
        vectors=_value(given, "package", "vectors", PackageOptions.vectors),
        key=_find_file(given, "sign_with"),
        form=_value(given, "package", "form"),
    )
    if options.form is not None and not any(find_target(name).forms for name in targets):
        raise UsageError(
            f"{given['package', 'form'].where}: form {options.form!r} is for target c, which "
            "targets does not name.",
            hint='Add "c" to targets, or remove form.',
        )
    return PlannedPackage(targets, options, _find_file(given, "labels"))


def _find_file(given: Given, key: str) -> Path | None:
    setting = given.get(("package", key))
    if setting is None:
        return None
    path: Path = setting.folder / setting.value
    if not path.is_file():
        raise UsageError(f"{setting.where}: {key}: there is no file {path}.")
    return path


def _require_calibration(
    project: ProjectFile,
    source: Path,
    calibration: str | None,
    convert: ConvertOptions,
    tune: TuneOptions | None,
) -> None:
    if calibration is None and (
        tune is not None
        or (SCHEMES[convert.scheme].needs_data and trained_granularity(source) is None)
    ):
        what = "[tune]" if tune is not None else f"scheme {convert.scheme}"
        raise UsageError(
            f"{project.at('data')} does not name data, and {what} calibrates on a few hundred "
            "samples.",
            hint='Set calibration = "samples.npz" in [data], or pass --data samples.npz.',
        )


# ---------------------------------------------------------------- devices


def _find_devices(
    project: ProjectFile, given: Given, named: Mapping[str, NamedDevice]
) -> tuple[PlannedDevice, ...]:
    """The devices of [run]; by default all that the file names, or this machine."""
    setting = given.get(("run", "devices"))
    names = tuple(project.sections.get("devices", ())) or ("local",)
    if setting is not None:
        names = setting.value
        if not names:
            hint = 'For example: devices = ["local"]'
            raise UsageError(f"{setting.where}: devices is empty.", hint=hint)
    return tuple(_find_device(named, name, setting) for name in dict.fromkeys(names))


def _find_device(
    named: Mapping[str, NamedDevice], name: str, setting: Setting | None
) -> PlannedDevice:
    entry = named.get(name)
    address, python = (name, None) if entry is None else (entry.address, entry.python)
    found = PlannedDevice(name, address, python, programs_on(name, entry, setting))
    try:
        found.open()
    except UsageError as error:
        place = "" if setting is None else f"{setting.where}: "
        raise UsageError(f"{place}{error.message}", hint=error.hint) from error
    return found
