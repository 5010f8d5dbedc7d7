"""Sentences that pages on distributed training cite."""

import json
from pathlib import Path
from typing import Any

from tools.book.distributed import SENTENCES, least, planned, training
from tools.book.measured import collect, records

FOUND: dict[str, Any] = {
    "whole": {"parameters": 100, "gradients": 100, "optimizer": 200},
    "losses": [2.0, 1.0],
    "control": 0.05,
    "compared": [
        {"layout": "DDP", "processes": 2, "error": 1e-7, "held": [{"parameters": 100, "optimizer": 200}]},
        {"layout": "ZeRO-3", "processes": 4, "error": 2e-7, "held": [{"parameters": 25, "optimizer": 50}]},
    ],
    "ring": [{"size": 100, "sent": 150}],
    "fit": {"alpha": 1e-4, "bandwidth": 1e9, "error": 0.1},
    "bubbles": [
        {"schedule": "1F1B", "processes": 4, "chunks": 1, "seconds": {"4": 0.7, "8": 1.1, "16": 1.9}}
    ],
    "killed": [
        {
            "what": "worker", "at": 42, "resumed": 40, "seconds": 37.2, "error": 1.5e-7,
            "goodput": 0.5, "modelled": 0.52, "checkpoint": 0.004,
        }
    ],
}  # fmt: skip


def test_what_a_demonstration_has_left_is_taken_up_and_said(tmp_path: Path) -> None:
    bench, to = tmp_path / "reports" / "bench", tmp_path / "measured"
    left = bench.parent / "distributed"
    left.mkdir(parents=True)
    bench.mkdir()
    (left / "measured.json").write_text(json.dumps(FOUND))
    (left / "gpu.json").write_text(json.dumps({"sentences": ["MFU 40% on an H100."]}))
    (left / "transformer.json").write_text(json.dumps({"sentences": ["ROC-AUC 0.7: the gate refuses it."]}))
    assert collect("abc", tmp_path / "results", bench, to) == [
        "distributed-gpu",
        "distributed",
        "distributed-transformer",
    ]
    taken = {name: record.found for name, record in records(to).items()}
    said = {part: training(taken, part) for part in [*SENTENCES, "transformer", "gpu"]}
    assert "over 2 steps is 2.0e-07; without gradient synchronisation it is 5.0e-02" in said["equality"][0]
    assert said["equality"][1].endswith("in the layout “ZeRO-3”, no process holds more than 75.")
    assert said["ring"][0] == "Each process sends 1.5 times the size of the message."
    assert said["ring"][1].startswith(
        "With gloo on one machine, a send has a latency of 100 microseconds and a bandwidth of 1.00 GB/s"
    )
    assert said["bubble"] == [
        "1F1B with 4 processes: the bubble is 3.00 microbatches, and 3.00 by the formula."
    ]
    assert "killed at step 42. Training restarted automatically from step 40 after 37 s" in said["faults"][0]
    assert "the goodput was 50.0%, against 52.0% by the model" in said["goodput"][0]
    assert said["gpu"] == ["MFU 40% on an H100."]
    assert said["transformer"] == ["ROC-AUC 0.7: the gate refuses it."]


def test_what_nobody_has_measured_says_so() -> None:
    assert training({}, "equality") == ["Not measured yet: `make demo-distributed` measures it."]
    assert training({}, "transformer") == ["Not measured yet: `make transformer` measures it."]
    assert training({}, "gpu") == [
        "Not measured, because no GPU was available: `make bench-gpu` measures it."
    ]


def test_projections_are_those_of_make_plan() -> None:
    run = planned(64, "--model", "8b")
    assert run.job.gpus == 64
    assert run.candidate.layout.gpus == 64
    assert least("--model", "70b", "--gpu", "h100") == 24
