import os
import random
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from torch.distributed import rendezvous
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from fivestage.common.errors import UserError
from fivestage_distributed.checkpoints import METADATA, complete_steps, folder_of
from fivestage_distributed.configuration import ParallelConfig, RunConfig, TrainingConfig
from fivestage_distributed.equality import MODEL, difference
from fivestage_distributed.launch import WorkerRank, torchrun_environment
from fivestage_distributed.processes import (
    LocalNodes,
    disturbed_difference,
    free_port,
    local_nodes,
    run_processes,
)
from fivestage_distributed.training import Sequences, toy_sequences, train

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
    with pytest.raises(Exception, match="order of the data would change") as raised:
        run_processes(1, resume, checkpoints, settings(ParallelConfig(), seed=5), DATA)
    assert UserError.__name__ in str(raised.value)


def test_a_training_goes_on_without_a_worker_a_node_and_the_node_of_the_store_and_the_losses_are_the_same(
    undisturbed: list[float], tmp_path: Path
) -> None:
    """Kill each process with SIGKILL; if the one with the store ends, its peer ends too, and both restart."""
    config = RunConfig(model=MODEL, training=settings(TWO))
    with local_nodes(LocalNodes(tmp_path, 2, free_port(), pause=0.03), config, DATA) as nodes:
        nodes.wait_for_step(random.randint(8, 14))
        nodes.kill_worker(0)
        before = len(nodes.losses())
        nodes.wait_until(lambda: len(nodes.losses()) > before + 1, seconds=120)  # it goes on by itself
        nodes.wait_for_step(random.randint(25, 32))
        nodes.kill_node(1)
        nodes.start(1)
        before = len(nodes.losses())
        nodes.wait_until(lambda: len(nodes.losses()) > before + 1, seconds=120)
        nodes.wait_for_step(random.randint(42, 50))
        nodes.kill_node(0)
        nodes.wait_until(lambda: nodes.agents[1].poll() is not None, seconds=60)
        assert nodes.agents[1].returncode != 0
        for index in range(2):
            nodes.start(index)
        nodes.finish()
        lines = nodes.losses()
    assert {line["restarts"] for line in lines} >= {0, 1}
    assert disturbed_difference(lines, undisturbed) <= 1e-5


def test_in_the_store_that_torch_shares_by_default_a_new_worker_finds_the_old_ones_address() -> None:
    """The control of the test above: with a shared store restarts fail, though not each time."""
    name = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
    with ProcessPoolExecutor(1, get_context("forkserver")) as pool:  # an agent keeps the signals it has taken
        shared, own = (
            pool.submit(restarted, {name: value}) for value in ("0", torchrun_environment({})[name])
        )
        assert shared.result()
        assert not own.result()


def restarted(environment: dict[str, str]) -> bool:
    """Run an agent whose first worker fails; return whether the second worker finds its address."""
    os.environ.update(environment)
    one = LaunchConfig(1, 1, 1, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork")
    found: dict[int, bool] = elastic_launch(replace(one, max_restarts=1), leave_an_address)()
    return found[0]


def leave_an_address() -> bool:
    """Run by each worker."""
    store, _, _ = next(rendezvous("env://"))
    if WorkerRank.read().restarts:
        return bool(store.check(["address"]))
    store.set("address", "of the first worker")
    sys.exit(1)


def test_a_missing_step_is_no_equal_curve() -> None:
    lines = [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.1}]
    assert disturbed_difference(lines, [2.0, 1.0]) == pytest.approx(0.1)
    assert disturbed_difference(lines, [2.0, 1.0, 1.0]) == float("inf")
