import pytest

from fivestage_distributed.bubble import SCHEDULES, Bubble, measure_bubble

TRIES = 4  # on a busy machine a sleep may take much longer


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_bubble_of_sleeping_stages_is_about_what_the_formula_says(schedule: str) -> None:
    for _ in range(TRIES):
        found = measure_bubble(schedule, 4, repeats=1)
        if found.fitted == pytest.approx(found.expected, rel=0.35):
            break
    assert found.fitted == pytest.approx(found.expected, rel=0.35)


def test_interleaving_halves_the_bubble_in_the_formula() -> None:
    plain, halved = Bubble("1F1B", 4, 1, {}), Bubble("interleaved 1F1B", 4, 2, {})
    assert (plain.expected, halved.expected) == (3.0, 1.5)
    assert plain.share(9) == pytest.approx(0.25)


def test_the_fit_takes_the_constant_part_of_the_times_for_the_bubble() -> None:
    assert Bubble("1F1B", 4, 1, {4: 0.7, 8: 1.1, 16: 1.9}).fitted == pytest.approx(3.0)
