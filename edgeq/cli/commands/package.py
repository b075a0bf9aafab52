"""`edgeq package`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import progress_display
from edgeq.cli.printing import show
from edgeq.cli.words import Choice, example
from edgeq.errors import UsageError
from edgeq.files.storage import refuse_overwriting
from edgeq.packaging.contract.labels import read_labels
from edgeq.packaging.targets import NAMES


@click.command(
    epilog=example("edgeq package model.tflite --target android --data test.npz -o release")
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", type=Choice(NAMES), required=True, help="The platform of the package.")
@click.option(
    "--form", metavar="FORM",
    help="Layout of --target c: cmake, arduino, esp-idf, zephyr or platformio.  [default: cmake]",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER|FILE.zip",
    help="Folder or zip file to write.  [default: NAME-RELEASE-TARGET]",
)  # fmt: skip
@click.option(
    "--record", "records", multiple=True, type=click.Path(path_type=Path), metavar="RECORD",
    help="Record of this model, e.g. from compare and gate; MODEL.json is used without it. Repeat.",
)  # fmt: skip
@click.option(
    "--data", metavar="DATA",
    help="Real samples for golden vectors.  [default: those that the model's record names]",
)  # fmt: skip
@click.option(
    "--preprocess", multiple=True, metavar="SPEC",
    help="From a raw sample to an input, as for convert.  [default: what the file carries]",
)  # fmt: skip
@click.option(
    "--decode", metavar="SPEC",
    help="How boxes are read from the outputs, as for convert.  [default: what the file carries]",
)  # fmt: skip
@click.option("--vectors", type=click.IntRange(1, 64), default=4, show_default=True, metavar="N",
              help="Number of golden vectors.")  # fmt: skip
@click.option(
    "--labels", multiple=True, metavar="[OUTPUT=]FILE",
    help="Names of the classes, of boxes with --decode, one in each line. Repeat with OUTPUT= for "
    "several outputs.",
)  # fmt: skip
@click.option(
    "--name", metavar="NAME", help="Name of the package and its classes.  [default: the model's]"
)
@click.option(
    "--release",
    default="1.0.0",
    show_default=True,
    metavar="VERSION",
    help="Version, e.g. 1.4.0 or 1.4.0-rc1.",
)
@click.option(
    "--license",
    metavar="SPDX",
    help="Licence of the model, e.g. Apache-2.0, LicenseRef-Proprietary.",
)
@click.option(
    "--description", default="", metavar="TEXT", help="A sentence for model card and metadata."
)
@click.option("--no-metadata", is_flag=True, help="Ship the file without standard metadata.")
@click.option(
    "--without-records", is_flag=True,
    help="Leave the records out; the manifest has their digests only.",
)  # fmt: skip
@click.option(
    "--previous", type=click.Path(path_type=Path), metavar="PACKAGE",
    help="The previous release, for the difference in size.",
)  # fmt: skip
@click.option(
    "--sign-with", "key", type=click.Path(path_type=Path), metavar="KEY.pem",
    help="Sign it with this Ed25519 private key; its password: EDGEQ_SIGNING_PASSWORD.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Package a model that did not pass its gate.")
def command(model: Path, target: str, output: Path | None, **given: Any) -> None:
    """Package MODEL.tflite for a release build, with code around it and golden vectors.

    Golden vectors are samples with the outputs that the model must give for them.

    The same inputs give the same bytes. A model that did not pass its gate is refused.
    """
    from edgeq.packaging import targets
    from edgeq.packaging.assembly import download_size
    from edgeq.packaging.assembly.build import PackageOptions, make_package
    from edgeq.packaging.container import writing
    from edgeq.packaging.contract.contract import package_name, require_version
    from edgeq.packaging.text import show_package

    name = package_name(given["name"] or model.stem)
    version = require_version(given["release"])
    place = output or writing.default_output(name, version, target)
    refuse_overwriting(place, [model, given["data"], given["key"], *given["records"]])
    replaced = writing.require_replaceable(place, target, name)
    options = PackageOptions(
        name=given["name"],
        version=version,
        labels=_read_all_labels(given["labels"]),
        preprocess=given["preprocess"] or None,
        decode=given["decode"],
        vectors=given["vectors"],
        license=given["license"],
        description=given["description"],
        is_forced=given["force"],
        has_metadata=not given["no_metadata"],
        has_records=not given["without_records"],
        key=given["key"],
        form=given["form"],
    )
    previous, before = None, None
    if given["previous"] is not None:
        previous, before = download_size.read_previous(given["previous"], target, name)
    with progress_display() as on_progress:
        on_progress("package", 0, None)
        package = make_package(
            model, target, data=given["data"], records=given["records"], options=options
        )
    writing.write_package(package.files, place)
    models = targets.find_target(target).find_models(package.files)
    download = download_size.measure(models, previous, before)
    show(show_package(package, download, place, replaced))


def _read_all_labels(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, labels = _read_labels(text)
        if name in found:
            whose = f"output {name!r}" if name else "the only output"
            raise UsageError(
                f"--labels are given twice for {whose}.",
                hint="Give one file for each output: --labels OUTPUT=FILE",
            )
        found[name] = labels
    return found


def _read_labels(text: str) -> tuple[str, tuple[str, ...]]:
    """`--labels OUTPUT=FILE`, or FILE for the only output."""
    name, equals, rest = text.rpartition("=")
    path = Path(rest if equals and not Path(text).exists() else text)
    return ("" if str(path) == text else name), read_labels(path)
