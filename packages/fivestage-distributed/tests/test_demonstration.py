import json
from pathlib import Path

import pytest

from fivestage_distributed.bubble import Bubble
from fivestage_distributed.demonstration import RECORD, Demonstration, Killed, write_page
from fivestage_distributed.equality import HeldBytes, LayoutComparison
from fivestage_distributed.ring import AlphaBeta, RingTime


@pytest.fixture
def found() -> Demonstration:
    held = HeldBytes(4096, 4096, 8192)
    half = HeldBytes(2048, 2048, 4096)
    return Demonstration(
        held,
        (LayoutComparison("ZeRO-3, 2 processes", 2, 1.5e-7, (half, half)),),
        0.15,
        (RingTime(4096, 6144, 0.001, 0.0005, 0.0), RingTime(65536, 98304, 0.002, 0.001, 0.0)),
        AlphaBeta(1e-4, 1e9, 0.1),
        (Bubble("1F1B", 4, 1, {4: 0.7, 8: 1.1, 16: 1.9}),),
        (Killed("worker", 25, 20, 1e-7, 5.0, 0.5, 0.6, 0.02, ((0.0, 0), (0.1, 1))),),
        (4.2, 3.2),
        60.0,
    )


def test_the_page_tells_what_was_measured_and_loads_nothing(found: Demonstration, tmp_path: Path) -> None:
    page = write_page(found, tmp_path / "index.html").read_text(encoding="utf-8")
    for told in ("ZeRO-3, 2 processes", "1.5e-07", "1.5e-01", "3.00", "Not measured: no GPU", "a worker"):
        assert told in page
    assert page.count("<svg") == 4
    assert "<script" not in page
    assert "src=" not in page


def test_the_page_tells_what_make_bench_gpu_has_left(found: Demonstration, tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text(json.dumps({"sentences": ["MFU 40.0% on 1 x H100."]}))
    page = write_page(found, tmp_path / "index.html").read_text(encoding="utf-8")
    assert "MFU 40.0% on 1 x H100." in page
    assert "Not measured" not in page


def test_the_record_has_the_numbers_of_the_page(found: Demonstration, tmp_path: Path) -> None:
    write_page(found, tmp_path / "index.html")
    record = json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))
    assert record["label"] == "measured here"
    assert record["control"] == 0.15
    assert record["killed"][0]["resumed"] == 20
