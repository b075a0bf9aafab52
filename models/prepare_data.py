"""Make the shipped samples from Fashion-MNIST.

python -m edgeq.models.prepare_data --fashion-mnist DIR
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeq.models.training import CLASS_COUNT, Labels, add_output, make_parser, read_split

_FILES = {
    "fashion_mnist_calibration.npz": ("train", 300),
    "fashion_mnist_test.npz": ("test", 2000),
}


def main() -> None:
    """Write both files."""
    parser = make_parser("Make the shipped samples from Fashion-MNIST.")
    add_output(parser)
    arguments = parser.parse_args()
    for name, (split, count) in _FILES.items():
        images, labels = read_split(arguments.fashion_mnist, split)
        chosen = choose_balanced(labels, count // CLASS_COUNT)
        np.savez_compressed(arguments.output / name, x=images[chosen], y=labels[chosen])


def choose_balanced(labels: Labels, per_class: int) -> NDArray[np.intp]:
    """Positions of the first images of each class, one class after the other in turn.

    Any first tenth or half of them is then as balanced as the whole.
    """
    by_class = [np.flatnonzero(labels == label)[:per_class] for label in range(CLASS_COUNT)]
    return np.stack(by_class, axis=1).ravel()


if __name__ == "__main__":
    main()
