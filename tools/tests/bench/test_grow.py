"""Generated data are valid except for deliberate faults, and resemble the original year."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from fivestage.features.problem import Tables
from problem import PROBLEM
from problem.dataset import clean
from problem.raw import raw_folder, read_raw
from tools.bench import grow

BROKEN = 50
Month = tuple[str, pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def raw() -> dict[str, pd.DataFrame]:
    tables = read_raw(raw_folder())
    return tables | {"flights": tables["flights"][tables["flights"]["flight"] % 40 == 0]}


@pytest.fixture(scope="module")
def grown(raw: dict[str, pd.DataFrame]) -> list[Month]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(grow, "BROKEN", BROKEN)  # a week holds few of these flights
        return list(grow.months(raw["flights"], raw["weather"], years=2, carriers=2))


@pytest.fixture(scope="module")
def cleaned(raw: dict[str, pd.DataFrame], grown: list[Month]) -> Tables:
    flights, weather = (pd.concat(one, ignore_index=True) for one in list(zip(*grown, strict=True))[1:])
    return clean(raw | {"flights": flights, "weather": weather}, PROBLEM.contract)


def test_a_part_is_a_month_of_the_years(grown: list[Month]) -> None:
    assert [name for name, *_ in grown] == list(names())
    for name, flights, _ in grown:
        found = (
            flights["year"].astype(int).astype(str) + "-" + flights["month"].astype(int).map("{:02}".format)
        )
        assert set(found) == {name}


def names() -> Iterator[str]:
    yield from (f"{year}-{month:02}" for year in (2013, 2014) for month in range(1, 13))


def test_years_and_carriers_multiply_the_rows(raw: dict[str, pd.DataFrame], grown: list[Month]) -> None:
    rows = sum(len(flights) for _, flights, _ in grown)
    assert rows == pytest.approx(4 * len(raw["flights"]), rel=0.05)


def test_only_what_was_broken_is_put_aside(grown: list[Month], cleaned: Tables) -> None:
    rows = sum(len(flights) for _, flights, _ in grown)
    lost = cleaned.rejected[cleaned.rejected["table"] == "flights"]
    assert len(lost) == pytest.approx(rows / BROKEN, rel=0.2)
    assert set(lost["column"]) <= {"dep_delay", "dest"}
    assert len(cleaned.rows) == rows - len(lost)


def test_delays_and_weather_are_those_of_the_year(raw: dict[str, pd.DataFrame], cleaned: Tables) -> None:
    real = clean(raw, PROBLEM.contract)
    assert cleaned.rows["disrupted"].mean() == pytest.approx(real.rows["disrupted"].mean(), abs=0.02)
    hours = cleaned.events["weather"]
    assert not hours.duplicated(["origin", "hour"]).any()
    assert hours["temp"].mean() == pytest.approx(real.events["weather"]["temp"].mean(), abs=2)
    days = np.unique(hours["hour"] // 86_400)
    assert len(days) == pytest.approx(2 * 365, abs=8)
