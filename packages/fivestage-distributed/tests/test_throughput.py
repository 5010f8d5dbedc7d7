import json
from pathlib import Path

import pytest
import torch

from fivestage.common.errors import UserError
from fivestage_distributed import __main__ as commands
from fivestage_distributed.configuration import ModelConfig, ParallelConfig, RunConfig, TrainingConfig
from fivestage_distributed.model import initial_model
from fivestage_distributed.plan.catalog import accelerator_of, find_accelerator
from fivestage_distributed.throughput import (
    USUAL,
    WARM_UP,
    Speed,
    Throughput,
    measure_throughput,
    predict,
    shape_of,
    write_record,
)

SMALL = ModelConfig(vocabulary=64, context=32, layers=2, heads=2, width=32)
TRAINING = TrainingConfig(steps=WARM_UP + 3, batch=4, precision="bfloat16", recompute=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_small_run_without_a_gpu_says_so_in_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, record = tmp_path / "run.yaml", tmp_path / "cpu.json"
    run.write_text(RunConfig(model=SMALL, training=TRAINING).model_dump_json())
    given = ["bench", "--device", "cpu", "--config", str(run), "--record", str(record)]
    monkeypatch.setattr("sys.argv", ["fivestage_distributed", *given])
    commands.main()
    said = capsys.readouterr().out
    assert "which is not a GPU, bfloat16, activations recomputed, 4 sequences of 32 tokens per step" in said
    assert "There is no prediction" in said
    left = json.loads(record.read_text())
    assert (left["label"], left["is_gpu"], left["predicted"]) == ("measured here", False, None)
    assert left["measured"]["tokens_per_second"] > 0
    assert left["measured"]["mfu"] is left["measured"]["memory_gib"] is None
    assert left["sentences"] == said.splitlines()[:2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_no_gpu_nothing_is_measured_and_a_sentence_says_so() -> None:
    with pytest.raises(UserError, match="torch finds no GPU"):
        measure_throughput(USUAL)


def test_too_few_steps_are_refused() -> None:
    few = RunConfig(model=SMALL, training=TRAINING.model_copy(update={"steps": WARM_UP}))
    with pytest.raises(UserError, match=r"training\.steps is 10, but the first 10 are not timed"):
        measure_throughput(few, "cpu")


def test_the_planner_describes_the_model_that_is_trained() -> None:
    trained = sum(one.numel() for one in initial_model(SMALL, 0).parameters())
    assert shape_of(SMALL).parameters == pytest.approx(trained, rel=0.02)  # without the normalizations


def test_a_gpus_record_has_the_prediction_beside_what_was_measured(tmp_path: Path) -> None:
    h100 = accelerator_of("NVIDIA H100 80GB HBM3")
    assert h100 == find_accelerator("h100")
    predicted = predict(USUAL, find_accelerator("h100"))
    assert 0.2 < (predicted.mfu or 0) < 0.6
    assert 10 < (predicted.memory_gib or 0) < 60
    measured = Speed(40_000, 0.31, 25.5)
    device = "NVIDIA H100 80GB HBM3"
    found = Throughput(
        "2026-11-29",
        device,
        is_gpu=True,
        catalog="h100",
        config=USUAL,
        parameters=1,
        measured=measured,
        predicted=predicted,
    )
    left = json.loads(write_record(found, tmp_path / "gpu.json").read_text())
    assert left["device"] == "NVIDIA H100 80GB HBM3"
    first, second = left["sentences"]
    assert first.endswith("measured on 2026-11-29: 40,000 tokens/s, MFU 31.0%, 25.5 GiB on the fullest.")
    assert second.startswith(f"The planner predicts for the catalog's h100 (projected): {predicted}")


def test_more_gpus_are_predicted_by_their_layout() -> None:
    h100, parallel = find_accelerator("h100"), ParallelConfig(dp=4, zero=3)
    training = USUAL.training.model_copy(update={"parallel": parallel, "batch": 32})
    one, four = predict(USUAL, h100), predict(USUAL.model_copy(update={"training": training}), h100)
    assert 3 < four.tokens_per_second / one.tokens_per_second < 4.2  # they divide the optimizer's work
    assert (four.memory_gib or 0) < (one.memory_gib or 0)


@pytest.mark.parametrize(
    ("device", "name"),
    [("NVIDIA A100-SXM4-40GB", "a100-40gb"), ("NVIDIA A100-SXM4-80GB", "a100"), ("NVIDIA H200", "h200"),
     ("Tesla V100-SXM2-32GB", "v100")],
)  # fmt: skip
def test_drivers_names_are_known(device: str, name: str) -> None:
    assert accelerator_of(device) == find_accelerator(name)


def test_a_device_that_the_catalog_lacks_is_not_predicted() -> None:
    assert accelerator_of("NVIDIA GeForce RTX 3060") is None
    assert accelerator_of("") is None
