"""Results are the same wherever the work runs, and in the order of the items."""

import sys
from collections.abc import Iterator

import pytest

from fivestage.common.errors import UserError
from fivestage.common.parallel import VARIABLE, mapped


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("workers", ["", "1", "2"])
def test_results_come_in_the_order_of_the_items(workers: str) -> None:
    assert list(mapped(square, range(5), workers)) == [0, 1, 4, 9, 16]


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "many")
    with pytest.raises(
        UserError, match="FIVESTAGE_WORKERS is 'many': set it to a number of processes, or a sch"
    ):
        list(mapped(square, [1]))


def test_without_dask_a_scheduler_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        UserError, match=r"Dask is not installed: run \.venv/bin/uv pip install --group cluster"
    ):
        list(mapped(square, [1], "tcp://127.0.0.1:1"))


@pytest.fixture
def scheduler() -> Iterator[str]:
    distributed = pytest.importorskip("distributed", reason="make setup leaves it out: the group cluster")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_a_dask_cluster_does_the_same(scheduler: str) -> None:
    assert list(mapped(abs, range(-3, 3), scheduler)) == [3, 2, 1, 0, 1, 2]


def test_a_scheduler_that_does_not_answer_is_a_sentence() -> None:
    pytest.importorskip("distributed", reason="make setup leaves it out: the group cluster")
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        list(mapped(abs, [1], "tcp://127.0.0.1:1"))
