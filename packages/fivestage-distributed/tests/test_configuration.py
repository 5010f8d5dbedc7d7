import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fivestage.common.errors import UserError
from fivestage_distributed.configuration import ParallelConfig, TrainingConfig, load_config
from fivestage_distributed.equality import MODEL
from fivestage_distributed.model import initial_model
from fivestage_distributed.processes import run_processes
from fivestage_distributed.training import toy_sequences, train


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dp": 3, "replicas": 2, "zero": 3}, "not a multiple of replicas"),
        ({"dp": 2, "replicas": 2}, "replicas need zero 2 or 3"),
        ({"dp": 2, "tp": 2}, "needs zero 2 or 3"),
        ({"pp": 4, "microbatches": 2}, "at least 4 microbatches"),
    ],
)
def test_a_layout_that_will_not_do_is_refused(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ParallelConfig(**wrong)  # type: ignore[arg-type]


def test_a_batch_that_cannot_be_divided_evenly_is_refused() -> None:
    with pytest.raises(ValidationError, match="dp x microbatches = 6"):
        TrainingConfig(steps=1, batch=16, parallel=ParallelConfig(dp=3, microbatches=2))


def test_a_file_of_settings_is_typed_and_its_mistakes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {vocabulary: 10, context: 8}\ntraining: {steps: 5, parallel: {dp: 2, zero: 3}}\n")
    assert load_config(path).training.parallel.processes == 2
    path.write_text("model: {vocabulary: 10, context: 8, depth: 2}\ntraining: {steps: 5}\n")
    with pytest.raises(UserError, match="depth"):
        load_config(path)


def test_stages_have_all_layers_once_under_their_own_names() -> None:
    whole = dict(initial_model(MODEL, 0).named_parameters())
    stages = [dict(initial_model(MODEL, 0).keep_stage(stage, 3).named_parameters()) for stage in range(3)]
    assert sum(map(len, stages)) == len(whole)
    for stage in stages:
        assert all(one.equal(whole[name]) for name, one in stage.items())
    with pytest.raises(ValueError, match="cannot be divided among 5"):
        initial_model(MODEL, 0).keep_stage(0, 5)


def test_the_order_of_the_data_is_a_function_of_seed_and_step() -> None:
    data = toy_sequences(16, 8, count=40)
    seen = [tuple(row) for step in range(4) for row in data.batch(step, 10, seed=3).inputs]
    assert sorted(seen) == sorted(map(tuple, data.inputs))
    assert (data.batch(7, 10, 3).inputs == data.batch(7, 10, 3).inputs).all()
    assert (data.batch(7, 10, 3).inputs != data.batch(3, 10, 3).inputs).any()
    with pytest.raises(ValueError, match="more than the 40 there are"):
        data.batch(0, 41, 3)


@pytest.mark.parametrize("option", ["recompute", "compile"])
def test_what_saves_memory_or_time_changes_no_loss(option: str) -> None:
    if option == "compile" and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a compiler")
    (plain,), (other,) = (run_processes(1, losses_of, chosen) for chosen in ({}, {option: True}))
    assert other == pytest.approx(plain, rel=1e-5)


def test_bfloat16_learns_nearly_the_same() -> None:
    (plain,), (alone,) = (run_processes(1, losses_of, chosen) for chosen in ({}, {"precision": "bfloat16"}))
    sharded = run_processes(2, losses_of, {"precision": "bfloat16", "parallel": ParallelConfig(dp=2, zero=3)})
    for losses in (alone, *sharded):
        assert losses != plain
        assert losses == pytest.approx(plain, rel=0.02)


def losses_of(chosen: dict[str, Any]) -> list[float]:
    """Run by each process."""
    training = TrainingConfig(steps=8, batch=16, **chosen)
    model = MODEL.model_copy(update={"layers": 2})  # each is compiled by itself
    return train(model, training, toy_sequences(MODEL.vocabulary, MODEL.context), torch.device("cpu")).losses
