"""Convert the dates and clock times of the raw tables to UTC epoch seconds."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Ints = NDArray[np.int64]
MINUTE, HOUR, DAY = 60, 3600, 86_400
YEARS = (2000, 2039)  # in which `fivestage.common.clock` is exact


def midnights(raw: pd.DataFrame) -> tuple[Ints, NDArray[np.bool_]]:
    """Midnight of each local date as if it were UTC, and whether the date exists."""
    year, month, day = (whole(raw[name]) for name in ("year", "month", "day"))
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")
    in_year = raw["month"].between(1, 12) & (days.astype("datetime64[M]") == months)
    exists = in_year & raw["year"].between(*YEARS)
    return np.where(exists, days.astype(np.int64) * DAY, 0), exists.to_numpy()


def is_clock(hhmm: pd.Series) -> pd.Series:
    """Whether a number such as 517 is a time of day; midnight may be 0 or 2400."""
    return hhmm.between(0, 2400) & (hhmm % 100).between(0, 59)


def since_midnight(hhmm: pd.Series) -> Ints:
    """Seconds from midnight to a time written as 517; 2400 is the next midnight."""
    digits = whole(hhmm)
    return (digits // 100 * 60 + digits % 100) * MINUTE


def whole(values: pd.Series) -> Ints:
    """Values as whole numbers, 0 where missing."""
    return values.fillna(0).to_numpy(np.int64)


def epoch_seconds(timestamps: pd.Series) -> Ints:
    """Timestamps as epoch seconds; a missing one is far in the past."""
    seconds: Ints = timestamps.dt.tz_localize(None).dt.as_unit("s").to_numpy().astype(np.int64)
    return seconds


def utc(clock: Ints, zones: pd.Series) -> Ints:
    """Convert local times to epoch seconds; takes the first of two equal times, the next of a skipped one."""
    result = np.zeros_like(clock)
    codes, names = pd.factorize(zones)
    for code, name in enumerate(names):
        here = codes == code
        times = pd.DatetimeIndex(clock[here].astype("datetime64[s]"))
        first = np.ones(len(times), dtype=bool)
        zoned = times.tz_localize(name, ambiguous=first, nonexistent="shift_forward")
        result[here] = epoch_seconds(zoned.tz_convert("UTC").to_series())
    return result
