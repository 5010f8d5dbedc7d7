"""Synthetic tables to judge alarm limits on, in addition to the project's data: a new table for each trial.

They contain no fault, so every alarm is a false one. Constants are chosen with the seeds of `CHOSEN` only;
the benchmark uses those of `JUDGED`, on which no constant was chosen.
"""

import numpy as np
import pandas as pd

from fivestage.common.columns import Ints
from tools.bench.drift_trials import Plan, Table

CHOSEN, JUDGED = range(1_000, 2_000), range(90_000, 91_000)  # seeds
DAYS = 90
WEEKDAYS = np.array([1, 0.9, 0.9, 1, 1.3, 1.7, 0.6])  # relative sales of a shop
PRICES = np.array([3.99, 5.49, 1.29, 9.99, 14.95, 2.49, 7.49, 24.9])
SOLD = np.array([0.3, 0.2, 0.15, 0.12, 0.09, 0.07, 0.05, 0.02])


def _table(frame: pd.DataFrame, day: Ints) -> Table:
    return Table(frame, day, np.zeros(len(day)), np.zeros(len(day)))


def independent_rows(seed: int) -> Table:
    """Rows independent of their day: correlated numbers, heavy tails, many categories, counts."""
    draw, rows = np.random.default_rng(seed), 200
    day = np.repeat(np.arange(DAYS), rows)
    size = day.size
    correlated = draw.normal(size=(size, 3)) @ draw.normal(size=(3, 6)) + draw.normal(size=(size, 6))
    frame = pd.DataFrame(
        {f"number {place}": column for place, column in enumerate(correlated.T)}
        | {"heavy": draw.exponential(size=size) ** 2, "count": draw.poisson(2, size)}
        | {f"text {n}": draw.choice([f"level {one}" for one in range(n)], size) for n in (4, 24, 44)}
    )
    frame.loc[draw.random(size) < 0.02, "number 0"] = np.nan  # noqa: PLR2004 (some are missing)
    return _table(frame, day)


def shop(seed: int) -> Table:
    """A shop whose days differ in weekday, weather, promotions, and share of missing values."""
    draw = np.random.default_rng(seed)
    weekday = np.arange(DAYS) % len(WEEKDAYS)
    day = np.repeat(
        np.arange(DAYS), draw.poisson(250 * WEEKDAYS[weekday] * np.exp(draw.normal(0, 0.15, DAYS)))
    )
    size = day.size
    product = draw.choice(len(SOLD), size, p=SOLD)
    promoted = (draw.random((DAYS, len(SOLD))) < 0.1)[day, product]  # noqa: PLR2004 (a tenth)
    price = (PRICES[product] * np.where(promoted, 0.8, 1)).round(2)
    quantity = 1 + draw.poisson(np.exp(0.3 + draw.normal(0, 0.2, DAYS)[day] + 0.5 * promoted))
    missing = draw.random(size) < draw.beta(3, 17, DAYS)[day]
    columns = {
        "product": np.array([*"abcdefgh"])[product],
        "store": draw.choice([f"store {one}" for one in range(6)], size),
        "price": price,
        "quantity": quantity,
        "amount": (price * quantity).round(2),
        "promotion": promoted * 1,
        "hour": draw.integers(8, 21, size),
        "temperature": draw.normal(15, 5, DAYS)[day].round(1),
        "basket": draw.lognormal(2, 1, size).round(2),
        "age": np.where(missing, np.nan, draw.normal(45, 14, size).round()),
        "days since": draw.exponential(draw.gamma(5, 4, DAYS)[day]).round(),
    }
    return _table(pd.DataFrame(columns), day)


def plan_of(table: Table, reference: int, lengths: tuple[int, ...], false_alarm: float) -> Plan:
    """Return a trial that uses all days of a table."""
    return Plan(np.unique(table.day), reference, DAYS - reference, lengths, false_alarm)
