import numpy as np
import pandas as pd
import pytest

from fivestage.monitoring.covarying import choose_twins, count_twins
from fivestage.monitoring.distances import WindowCounts
from fivestage.monitoring.drift import detect_drift

HOURS, ROWS, DAYS = 24, 5, 40


def readings(seed: int, first: int, days: int) -> WindowCounts:
    """Several rows of each hour share its reading; a row's own size goes with nothing."""
    draw = np.random.default_rng(seed)
    hours = days * HOURS
    of_row = np.repeat(np.arange(hours), ROWS)
    warmth = np.repeat(draw.normal(15, 4, days), HOURS)
    frame = pd.DataFrame(
        {
            "warmth": (warmth + draw.normal(0, 3, hours)).round(2)[of_row],
            "press": draw.normal(1013, 8, hours).round(2)[of_row],
            "damp": draw.uniform(30, 90, hours).round(0)[of_row],
            "wind": draw.gamma(2, 4, hours).round(0)[of_row],
            "size": draw.normal(100, 20, of_row.size).round(0),
        }
    )
    return WindowCounts(frame, first + of_row // HOURS, first, days)


def codes(window: WindowCounts) -> list[np.ndarray]:
    return [pd.factorize(window.frame[name])[0].astype(np.int32) for name in window.frame]


def test_columns_that_are_measured_together_are_twins() -> None:
    window = readings(0, 0, DAYS)
    *together, size = choose_twins(codes(window), np.asarray(window.day))
    assert size == ()
    for place, pairs in enumerate(together):
        assert len(pairs) == 2
        told = {column for pair in pairs for column in pair}
        assert told <= {0, 1, 2, 3} - {place}


def test_pairs_are_counted_within_a_day_and_without_gaps() -> None:
    code = [np.array([0, 0, 0, 0, 1, -1], dtype=np.int32), np.array([7, 7, 8, -1, 7, 7], dtype=np.int32)]
    day = np.array([0, 0, 0, 0, 1, 1])
    pairs, both, of_gaps, gaps_alike = count_twins(code, [(), ((0,),)], day, 2)
    assert pairs[:, 1].tolist() == [6, 0]  # three rows alike: six ordered pairs; a gap pairs with nothing
    assert both[:, 1].tolist() == [2, 0]
    assert of_gaps[:, 1].tolist() == [12, 0]
    assert gaps_alike[:, 1].tolist() == [6, 0]


def test_a_day_on_which_all_is_alike_outweighs_no_other() -> None:
    code = [np.zeros(60, dtype=np.int32), np.repeat(np.arange(30, dtype=np.int32), 2)]
    day = np.repeat([0, 1], [50, 10])
    pairs, both, *_ = count_twins(code, [(), ((0,),)], day, 2)
    assert pairs[:, 1].tolist() == [100, 90]  # of 50 x 49 pairs a hundred count
    assert both[:, 1] == pytest.approx([100 / 49, 10])


def test_gaps_that_twins_do_not_share_are_seen_though_there_always_were_some() -> None:
    """The hours without wind have none in all their rows, on some days many; gaps of single rows are new."""

    def calm(window: WindowCounts, seed: int) -> WindowCounts:
        draw = np.random.default_rng(seed)
        share = draw.beta(0.5, 3, window.days)
        still = np.repeat(draw.random((window.days, HOURS)) < share[:, None], ROWS)
        return WindowCounts(
            window.frame.assign(wind=window.frame["wind"].mask(still)), window.day, window.first, window.days
        )

    reference, day = calm(readings(0, 0, DAYS), 1), calm(readings(5, DAYS, 1), 2)
    assert detect_drift(reference, day, 0.01).drifted == ()
    gaps = day.frame["wind"].mask(np.random.default_rng(3).random(len(day.frame)) < 0.2)
    report = detect_drift(reference, WindowCounts(day.frame.assign(wind=gaps), day.day, DAYS, 1), 0.01)
    assert report.drifted == ("wind",)
    assert "one has a gap" in report.sentences[0]


def test_a_column_that_parts_from_its_twins_is_seen_in_a_day_and_alone_blamed() -> None:
    reference, day = readings(0, 0, DAYS), readings(5, DAYS, 1)
    assert detect_drift(reference, day, 0.01).drifted == ()
    draw = np.random.default_rng(1)
    for name, values in {
        "scrambled": draw.permutation(day.frame["wind"].to_numpy()),
        "half a default": np.where(draw.random(len(day.frame)) < 0.5, 4.0, day.frame["wind"]),
    }.items():
        report = detect_drift(reference, WindowCounts(day.frame.assign(wind=values), day.day, DAYS, 1), 0.01)
        assert report.drifted == ("wind",), name
        assert "alike in it" in report.sentences[0], name
