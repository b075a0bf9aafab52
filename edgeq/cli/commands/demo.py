"""`edgeq demo`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeq import api, models
from edgeq.cli import printing
from edgeq.cli.options import progress_display
from edgeq.cli.words import example
from edgeq.errors import OutputError
from edgeq.render.comparison import show_comparison
from edgeq.render.conversion import show_conversion


@click.command(epilog=example("edgeq demo"))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), default="edgeq-demo",
    show_default=True, help="Folder for the results.",
)  # fmt: skip
def command(output: Path) -> None:
    """Convert the MobileNet-like Fashion-MNIST model that ships with edgeq, and compare it."""
    model = models.path("fmnist_mobilenet.keras")
    calibration = models.path("fashion_mnist_calibration.npz")
    test = models.path("fashion_mnist_test.npz")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot make the folder {output}: {error.strerror}.", hint="Choose another -o."
        ) from error
    target = output / "fmnist_mobilenet_int8.tflite"
    with progress_display() as show:
        command = f"edgeq convert {model} --data {calibration} --preprocess scale=1/255 -o {target}"
        printing.say(f"$ {command}", bold=True)
        printing.say()
        converted = api.convert(
            model, target, data=str(calibration), preprocess=["scale=1/255"], on_progress=show
        )
        printing.show(show_conversion(converted))
        printing.say_written(target)
        printing.say()
        printing.say(f"$ edgeq compare {model} {target} --data {test}", bold=True)
        printing.say()
        compared = api.compare(model, target, str(test), on_progress=show)
        printing.show(show_comparison(compared))
