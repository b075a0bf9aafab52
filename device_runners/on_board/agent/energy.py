"""The energy meter of this machine."""

from __future__ import annotations

import re

from .machine import ask, find_files, read_number, read_text


class Meter:
    """The energy meter of this machine, if it has one that can be read.

    Attributes:
        kind: "RAPL" (counts joules of the processor packages), "PMIC" (a Raspberry Pi 5's power
            management chip: volts and amperes of its rails), or None.
        refusal: why no meter can be read; None with a meter.
    """

    def __init__(self) -> None:
        self.kind: str | None = None
        self.refusal: str | None = None
        self.packages: list[str] = []
        for folder in find_files("/sys/class/powercap/intel-rapl:*"):
            # Only the packages: the other domains are parts of them.
            if (read_text(f"{folder}/name") or "").startswith("package"):
                self.packages.append(folder)
        if self.packages and self.counters() is not None:
            self.kind = "RAPL"
        elif self.packages:
            self.refusal = f"{self.packages[0]}/energy_uj can be read by root only"
        elif self.watts() is not None:
            self.kind = "PMIC"
        else:
            self.refusal = "no meter found (RAPL, or a Raspberry Pi 5's PMIC)"

    def counters(self) -> list[int] | None:
        """Microjoules that each package has used, from an arbitrary start; None without RAPL."""
        counts = [read_number(f"{folder}/energy_uj") for folder in self.packages]
        known = [count for count in counts if count is not None]
        return known if known and len(known) == len(counts) else None

    def joules(self, before: list[int], after: list[int]) -> float:
        """Energy in J between two readings of the counters, which wrap around."""
        spent = 0
        for place, folder in enumerate(self.packages):
            step = after[place] - before[place]
            limit = read_number(f"{folder}/max_energy_range_uj") or 0
            spent += step if step >= 0 else step + limit
        return spent / 1e6

    @staticmethod
    def watts() -> float | None:
        """Power in W of all rails that have an ammeter and a voltmeter; None without a PMIC."""
        answer = ask("vcgencmd", "pmic_read_adc") or ""
        readings = re.findall(r"(\w+)_([AV]) \w+\(\d+\)=([\d.]+)", answer)
        found = {(rail, unit): float(value) for rail, unit, value in readings}
        rails = [rail for rail, unit in found if unit == "A" and (rail, "V") in found]
        return sum(found[rail, "A"] * found[rail, "V"] for rail in rails) if rails else None
