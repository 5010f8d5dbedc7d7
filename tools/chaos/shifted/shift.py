"""Shift the forecasts of a model that stays intact and consistent with its own smoke rows.

`shift.py FROM TO` writes the shifted artifact in the pod, in the image of the service. The drill computes the
same manifest, to know its digest and predictions; digits are rounded, as the last bits may differ between
machines.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

FLATTER = 0.1  # factor of the calibration's slope, which moves probabilities towards equal ones
UNITS = 10  # multiple of the allowed bias, for regression
DIGITS = 12


def shifted(text: str) -> str:
    """Return an artifact's manifest with shifted forecasts."""
    manifest: dict[str, Any] = json.loads(text)
    calibration, smoke = manifest["calibration"], manifest["smoke"]
    if "slope" in calibration:
        calibration["slope"] *= FLATTER
        for one in smoke:
            one["forecast"] = flatter(one["forecast"])
    else:
        shift = UNITS * manifest["contract"]["gates"]["max_bias"]
        calibration["decision"] += shift
        for one in smoke:
            one["forecast"][-1] += shift
    return json.dumps(manifest, indent=1)


def flatter(forecast: list[float]) -> list[float]:
    """Return probabilities with a smaller calibration slope."""
    probabilities = forecast if len(forecast) > 1 else [forecast[0], 1 - forecast[0]]
    powers = [probability**FLATTER for probability in probabilities]
    return [round(power / sum(powers), DIGITS) for power in powers][: len(forecast)]


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    shutil.copytree(source, target)
    manifest = target / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(shifted(manifest.read_text(encoding="utf-8")), encoding="utf-8")
