from pathlib import Path
from typing import Any

import pytest

from tools.bench import scale


def test_each_stage_is_measured_on_generated_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generated: list[tuple[Path, int]] = []

    def grow(target: Path, times: int) -> int:
        generated.append((target, times))
        target.mkdir(parents=True)
        return 7

    def resources(_folder: Path, _stage: str) -> dict[str, Any]:
        return {"rows": 7, "cpu_seconds": 1.0, "wall_seconds": 2.0, "peak_gb": 0.5}

    monkeypatch.setattr(scale, "FOLDER", tmp_path)
    monkeypatch.setattr(scale, "grow", grow)
    monkeypatch.setattr(scale, "run_in_new_process", resources)
    assert [(line.times, line.stage) for line in scale.measure_size(10)] == [
        (10, stage) for stage in scale.STAGES
    ]
    assert generated == [(tmp_path / "10x" / "raw", 10)]
    assert not (tmp_path / "10x").exists()
