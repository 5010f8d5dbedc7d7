"""Larger data sets: weeks of real flights, drawn with replacement and placed one after another.

A week keeps its season, days, weather and delays, so that window aggregates keep realistic values. For more
rows per day, each week is repeated under the names of further carriers.
"""

import calendar
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY, local
from fivestage.common.columns import Ints
from problem.clocks import epoch_seconds, midnights, since_midnight, utc
from problem.dataset import HOME
from problem.raw import SCHEMAS, raw_folder, read_raw

START = 15_712 * DAY  # Monday, 7 January 2013
WEEK = 7 * DAY
WEEKS = 51  # complete weeks of the year
NAMES = "abcdefghijklmnopqrstuvwxyz"
BROKEN = 1000  # one row in this many has an impossible delay
MOST_CARRIERS = 10
SEED = 0


def grow(target: Path, times: int) -> int:
    """Write one part per month, with up to ten times the carriers, then more years; return the flights."""
    raw = read_raw(raw_folder())
    carriers = min(times, MOST_CARRIERS)
    years = times // carriers
    target.mkdir(parents=True)
    for table in ("planes", "airports"):
        raw[table].to_parquet(target / f"{table}.parquet")
    total = 0
    for month, flights, weather in months(raw["flights"], raw["weather"], years, carriers):
        folder = target / month
        folder.mkdir()
        flights.to_parquet(folder / "flights.parquet", compression="zstd")
        weather.to_parquet(folder / "weather.parquet", compression="zstd")
        total += len(flights)
    return total


def months(
    flights: pd.DataFrame, weather: pd.DataFrame, years: int, carriers: int
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield months from 2013 on, with their flights and weather."""
    day = midnights(flights)[0]
    hour = local(epoch_seconds(weather["time_hour"]), HOME)
    flights_of = _weeks(flights, day)
    weather_of = _weeks(weather, hour)
    draw = np.random.default_rng(SEED)
    number = 0
    waiting: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    for year in range(2013, 2013 + years):
        for month in range(1, 13):
            end = calendar.timegm((year, month, calendar.monthrange(year, month)[1], 0, 0, 0)) + DAY
            while START + number * WEEK < end:
                week = (number + int(draw.integers(-1, 2))) % WEEKS
                shift = (number - week) * WEEK
                waiting.append((_moved(flights_of[week], shift, carriers), _later(weather_of[week], shift)))
                number += 1
            flights_so_far, hours = (
                pd.concat(frames, ignore_index=True) for frames in zip(*waiting, strict=True)
            )
            in_month, early_hours = flights_so_far["midnight"] < end, hours["clock"] < end
            waiting = [(flights_so_far[~in_month], hours[~early_hours])]
            yield (
                f"{year}-{month:02}",
                flights_so_far.loc[in_month, [*SCHEMAS["flights"]]],
                hours.loc[early_hours, [*SCHEMAS["weather"]]],
            )


def _weeks(frame: pd.DataFrame, at: Ints) -> list[pd.DataFrame]:
    """Return the rows of each complete week of the year, with a column for their clock."""
    week = (at - START) // WEEK
    return [frame.assign(clock=at)[week == number] for number in range(WEEKS)]


def _moved(week: pd.DataFrame, shift: int, carriers: int) -> pd.DataFrame:
    """Return a week's flights on later days, for a number of carriers."""
    day = week["clock"].to_numpy() + shift
    date = pd.to_datetime(day, unit="s")
    leaves = utc(day + since_midnight(week["sched_dep_time"]), pd.Series(HOME, index=week.index))
    hour = pd.to_datetime(leaves // 3600 * 3600, unit="s", utc=True)
    fields = {name: getattr(date, name).astype(float) for name in ("year", "month", "day")}
    moved = week.assign(**fields, midnight=day, time_hour=hour)
    copies = [moved.assign(carrier=moved["carrier"] + name) for name in NAMES[: carriers - 1]]
    copied = pd.concat([moved, *copies], ignore_index=True)
    copied.loc[copied.index % BROKEN == BROKEN - 1, "dep_delay"] = 9999.0
    return copied


def _later(week: pd.DataFrame, shift: int) -> pd.DataFrame:
    """Return a week's weather at later hours, by New York's clocks."""
    clock = week["clock"].to_numpy() + shift
    moments = utc(clock, pd.Series(HOME, index=week.index))
    return week.assign(clock=clock, time_hour=pd.to_datetime(moments, unit="s", utc=True))
