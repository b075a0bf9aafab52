"""Front ends of keyword models as the templates need them."""

from __future__ import annotations

import textwrap
from typing import Any

from edgeq.converters.samples.sounds.features import frame_count
from edgeq.converters.samples.sounds.front_end import format_front_end
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.front_end import make_tables
from edgeq.packaging.contract.values import InputContract

# A string has at most 65,535 bytes, and a method 64 KB; each line takes 8 bytes.
_WIDTH = 1000


def describe_sound(item: InputContract) -> dict[str, Any] | None:
    """The constants of an input's front end; None for other inputs."""
    sound = item.front_end
    if sound is None:
        return None
    tables, upper = make_tables(sound), item.identifier.upper().strip("_")
    arrays = (tables.taper, tables.cosines, tables.sines, tables.starts, tables.counts,
              tables.weights, tables.transform)  # fmt: skip
    return {
        "name": f"{upper}_SOUND",
        "rate_name": f"{upper}_RATE",
        "features": f"features{naming.pascal(item.identifier)}",
        "text": ",".join(format_front_end(sound)),
        "rate": sound.rate,
        "hop": sound.hop,
        "fft": sound.fft,
        "odd": tables.odd,
        "frames": frame_count(sound, item.sound_length),
        "samples": item.sound_length,
        "takes_roots": "true" if sound.power == 1 else "false",
        "floor": repr(float(sound.floor)),
        "tables": [
            {
                "size": array.size,
                "lines": textwrap.wrap(" ".join(map(repr, array.ravel().tolist())), _WIDTH),
            }
            for array in arrays
        ],
    }
