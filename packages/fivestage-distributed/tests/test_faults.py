import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from fivestage_distributed.checkpoints import METADATA, complete_steps, folder_of
from fivestage_distributed.configuration import ParallelConfig, RunConfig, TrainingConfig
from fivestage_distributed.environment import Node, torchrun_arguments, torchrun_environment
from fivestage_distributed.equality import MODEL, difference
from fivestage_distributed.faults import LocalNodes, disturbed_difference, free_port, local_nodes
from fivestage_distributed.processes import run_processes
from fivestage_distributed.sequences import Sequences, toy_sequences
from fivestage_distributed.training import train

STEPS, EVERY = 60, 10
DATA = toy_sequences(MODEL.vocabulary, MODEL.context)
TWO = ParallelConfig(dp=2, zero=3)
RESUMED = {
    "ZeRO-3, 4 processes": ParallelConfig(dp=4, zero=3),
    "ZeRO-1, 2 processes": ParallelConfig(dp=2, zero=1),
    "a pipeline of 2": ParallelConfig(pp=2, microbatches=4),
    "tensor parallel, 2 processes": ParallelConfig(tp=2),
    "one process": ParallelConfig(),
}
RESTARTED = """
import os, sys
from torch.distributed import rendezvous
store, _, _ = next(rendezvous("env://"))
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    store.set("address", "of the first worker")
    sys.exit(1)
sys.exit("The store has the address of a worker that is gone." if store.check(["address"]) else 0)
"""


def settings(parallel: ParallelConfig, **changed: int) -> TrainingConfig:
    asked = {"steps": STEPS, "batch": 16, "checkpoint_every": EVERY, "keep": 99} | changed
    return TrainingConfig(parallel=parallel, **asked)  # type: ignore[arg-type]


def resume(folder: Path | None, training: TrainingConfig, data: Sequences) -> tuple[int, list[float]]:
    """Run by each process."""
    import torch

    done = train(MODEL, training, data, torch.device("cpu"), folder=folder)
    return done.first, done.losses


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    run_processes(4, resume, folder, settings(ParallelConfig(dp=4, zero=3)), DATA)
    return folder


@pytest.fixture(scope="module")
def undisturbed() -> list[float]:
    losses: list[float] = run_processes(1, resume, None, settings(ParallelConfig()), DATA)[0][1]
    return losses


@pytest.mark.parametrize("layout", RESUMED)
def test_one_checkpoint_of_four_processes_is_resumed_by_any_layout(
    layout: str, checkpoints: Path, undisturbed: list[float], tmp_path: Path
) -> None:
    shutil.copytree(folder_of(checkpoints, 40), folder_of(tmp_path, 40))
    parallel = RESUMED[layout]
    for first, losses in run_processes(parallel.processes, resume, tmp_path, settings(parallel), DATA):
        assert first == 40
        assert difference(losses, undisturbed[40:]) <= 1e-5


def test_a_checkpoint_without_metadata_does_not_count(checkpoints: Path, tmp_path: Path) -> None:
    assert complete_steps(checkpoints) == [10, 20, 30, 40, 50, 60]
    for step in (40, 50):
        shutil.copytree(folder_of(checkpoints, step), folder_of(tmp_path, step))
    (folder_of(tmp_path, 50) / METADATA).unlink()
    assert complete_steps(tmp_path) == [40]
    assert run_processes(1, resume, tmp_path, settings(ParallelConfig()), DATA)[0][0] == 40


def test_old_checkpoints_are_removed(tmp_path: Path) -> None:
    run_processes(1, resume, tmp_path, settings(ParallelConfig(), keep=2), DATA)
    assert complete_steps(tmp_path) == [50, 60]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_order_of_the_data_is_part_of_the_state(checkpoints: Path) -> None:
    with pytest.raises(Exception, match="order of the data would be another") as raised:
        run_processes(1, resume, checkpoints, settings(ParallelConfig(), seed=5), DATA)
    assert UserError.__name__ in str(raised.value)


def test_a_killed_worker_is_started_again_and_the_losses_are_the_same(
    undisturbed: list[float], tmp_path: Path
) -> None:
    config = RunConfig(model=MODEL, training=settings(TWO))
    with local_nodes(LocalNodes(tmp_path, 1, free_port(), pause=0.03), config, DATA) as nodes:
        nodes.wait_for_step(random.randint(15, 45))
        nodes.kill_worker(0)
        nodes.finish()
        lines = nodes.losses()
    assert {line["restarts"] for line in lines} == {0, 1}
    assert disturbed_difference(lines, undisturbed) <= 1e-5


def test_a_killed_node_is_replaced_and_the_losses_are_the_same(
    undisturbed: list[float], tmp_path: Path
) -> None:
    config = RunConfig(model=MODEL, training=settings(TWO))
    with local_nodes(LocalNodes(tmp_path, 2, free_port(), pause=0.03), config, DATA) as nodes:
        nodes.wait_for_step(random.randint(15, 45))
        nodes.kill_node(1)
        nodes.start(1)
        nodes.finish()
        assert disturbed_difference(nodes.losses(), undisturbed) <= 1e-5


@pytest.mark.parametrize("disabled", ["1", "0"])
def test_in_the_store_that_torch_shares_by_default_a_new_worker_finds_the_old_ones_address(
    disabled: str, tmp_path: Path
) -> None:
    """The control of the two above: that is why restarts fail there, if not each time (docs/measured.md)."""
    script = tmp_path / "worker.py"
    script.write_text(RESTARTED, encoding="utf-8")
    words = [sys.executable, "-m", "torch.distributed.run", *torchrun_arguments(Node(), 1, 1), str(script)]
    environment = torchrun_environment({**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": disabled})
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (disabled == "1"), done.stderr
    assert ("address of a worker that is gone" in done.stderr) == (disabled == "0")


def test_a_missing_step_is_no_equal_curve() -> None:
    lines = [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.1}]
    assert disturbed_difference(lines, [2.0, 1.0]) == pytest.approx(0.1)
    assert disturbed_difference(lines, [2.0, 1.0, 1.0]) == float("inf")
