"""A model that is whole and true to its own smoke rows, and whose forecasts have moved.

In the pod, in the image of the service, `shift.py FROM TO` writes it. The drill makes the same manifest by
itself, to know its digest and its answers; digits are cut off before the last bits of two machines differ.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

FLATTER = 0.1  # times the slope of calibrated margins: chances move towards even ones
UNITS = 10  # times the bias that is allowed, where a number is forecast
DIGITS = 12


def shifted(text: str) -> str:
    """An artifact's manifest after its forecasts have moved."""
    manifest: dict[str, Any] = json.loads(text)
    calibration, smoke = manifest["calibration"], manifest["smoke"]
    if "slope" in calibration:
        calibration["slope"] *= FLATTER
        for one in smoke:
            one["forecast"] = flatter(one["forecast"])
    else:
        more = UNITS * manifest["contract"]["gates"]["max_bias"]
        calibration["decision"] += more
        for one in smoke:
            one["forecast"][-1] += more
    return json.dumps(manifest, indent=1)


def flatter(forecast: list[float]) -> list[float]:
    """The chance, or the chances of each class, at a smaller slope of the same margins."""
    chances = forecast if len(forecast) > 1 else [forecast[0], 1 - forecast[0]]
    powers = [chance**FLATTER for chance in chances]
    return [round(power / sum(powers), DIGITS) for power in powers][: len(forecast)]


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    shutil.copytree(source, target)
    manifest = target / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(shifted(manifest.read_text(encoding="utf-8")), encoding="utf-8")
