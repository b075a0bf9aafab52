"""Front ends of keyword models as the templates need them."""

from __future__ import annotations

import textwrap
from typing import Any

from edgeq.converters.samples.sounds.features import frame_count
from edgeq.converters.samples.sounds.front_end import format_front_end
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.front_end import make_tables
from edgeq.packaging.contract.values import InputContract

_WIDTH = 90


def describe_sound(item: InputContract) -> dict[str, Any] | None:
    """The constants of an input's front end; None for other inputs."""
    sound = item.front_end
    if sound is None:
        return None
    tables, stem = make_tables(sound), naming.camel(item.identifier).rstrip("_")
    # Each table has a declared type: Swift takes long to infer the types of many numbers.
    arrays = {
        "taper": tables.taper,
        "cosines": tables.cosines,
        "sines": tables.sines,
        "starts": tables.starts,
        "counts": tables.counts,
        "weights": tables.weights,
        "transform": tables.transform,
    }
    numbers = {
        "rate": sound.rate,
        "hop": sound.hop,
        "fft": sound.fft,
        "odd": tables.odd,
        "levels": (sound.fft // tables.odd).bit_length() - 1,
        "frames": frame_count(sound, item.sound_length),
        "takesRoots": "true" if sound.power == 1 else "false",
        "floor": repr(float(sound.floor)),
    }
    fields = {**numbers, **{name: f"{stem}{naming.pascal(name)}" for name in arrays}}
    return {
        "constant": f"{stem}FrontEnd",
        "function": f"features{naming.pascal(item.identifier)}",
        "text": ",".join(format_front_end(sound)),
        "rate": sound.rate,
        "samples": item.sound_length,
        "fields": [f"{name}: {value}" for name, value in fields.items()],
        "tables": [
            {
                "name": fields[name],
                "type": "[Int]" if array.dtype.kind == "i" else "[Double]",
                "lines": textwrap.wrap(", ".join(map(repr, array.ravel().tolist())), _WIDTH),
            }
            for name, array in arrays.items()
        ],
    }
