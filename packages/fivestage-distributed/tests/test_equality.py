import pytest

from fivestage_distributed.equality import (
    CONTROL,
    LAYOUTS,
    HeldBytes,
    LayoutComparison,
    compare,
    difference,
    train_in_one_process,
)

LARGEST_ERROR = 1e-5


@pytest.fixture(scope="module")
def one_process() -> tuple[list[float], HeldBytes]:
    return train_in_one_process()


@pytest.fixture(scope="module")
def compared(one_process: tuple[list[float], HeldBytes]) -> dict[str, LayoutComparison]:
    return {one.layout: one for one in compare(one_process[0])}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_losses_of_60_steps_are_those_of_one_process(
    layout: str, compared: dict[str, LayoutComparison]
) -> None:
    assert compared[layout].error <= LARGEST_ERROR


def test_one_process_learns(one_process: tuple[list[float], HeldBytes]) -> None:
    losses, _ = one_process
    assert len(losses) == 60
    assert losses[-1] < 0.8 * losses[0]


def test_a_training_that_drops_the_sync_of_gradients_is_noticed(
    compared: dict[str, LayoutComparison],
) -> None:
    assert compared[CONTROL].error > 1_000 * LARGEST_ERROR


@pytest.mark.parametrize("processes", [2, 4])
def test_each_process_holds_what_the_papers_formula_says(
    processes: int, one_process: tuple[list[float], HeldBytes], compared: dict[str, LayoutComparison]
) -> None:
    """ZeRO (Rajbhandari et al. 2020), figure 1, in float32; a whole matrix may go to either process."""
    _, whole = one_process
    assert whole.optimizer == 2 * whole.parameters == 2 * whole.gradients
    plain, one, two, three = (
        compared[f"{name}, {processes} processes"].held for name in ("DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3")
    )
    assert set(plain) == {whole}
    assert sum(held.optimizer for held in one) == whole.optimizer
    assert max(held.optimizer for held in one) <= whole.optimizer / processes * 1.1
    assert {(held.parameters, held.gradients) for held in one} == {(whole.parameters, whole.gradients)}
    for held in (*two, *three):
        assert held.gradients == whole.gradients / processes
        assert held.optimizer == whole.optimizer / processes
        assert held.parameters == whole.parameters / processes


def test_a_relative_error_is_the_largest_of_all_steps() -> None:
    assert difference([1.0, 2.2, 3.0], [1.0, 2.0, 3.0]) == pytest.approx(0.1)
