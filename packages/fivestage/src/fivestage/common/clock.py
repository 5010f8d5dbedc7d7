"""Local time from UTC, for one moment or a column of them."""

from bisect import bisect_right
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np

from fivestage.common.columns import Value

DAY = 86_400
_YEARS = (2000, 2041)


@cache
def _offsets(zone: str) -> tuple[list[int], list[int]]:
    """Moments at which the zone's offset from UTC changes; offsets (seconds) before, between and after."""
    info = ZoneInfo(zone)

    def offset(at: int) -> int:
        shift = datetime.fromtimestamp(at, UTC).astimezone(info).utcoffset()
        return int(shift.total_seconds()) if shift else 0

    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in _YEARS)
    changes: list[int] = []
    offsets = [offset(start)]
    for day in range(start, end, 7 * DAY):
        low, high = day, day + 7 * DAY
        if offset(high) == offsets[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
        changes.append(high)
        offsets.append(offset(high))
    return changes, offsets


def local(at: Value, zone: str) -> Value:
    """Seconds since the epoch as the zone's clocks show them; exact from 2000 to 2040.

    Args:
        at: epoch seconds (UTC), one value or a whole int64 column.
        zone: an IANA name, such as `Europe/Berlin`.

    Returns:
        Seconds of local time, counted as if the zone's clocks were UTC; one value or a column, as `at` is.

    Raises:
        ZoneInfoNotFoundError: when no zone has that name.
        ValueError: when the name is a path that leaves the zones' folder.
    """
    changes, offsets = _offsets(zone)
    if isinstance(at, np.ndarray):
        return at + np.array(offsets)[np.searchsorted(changes, at, side="right")]
    return at + offsets[bisect_right(changes, at)]


def minute_of_day(at: Value, zone: str = "UTC") -> Value:
    """Minutes since midnight on the zone's clocks, 0 to 1439.

    Args:
        at: epoch seconds, one value or a whole column.
        zone: an IANA name, such as `Europe/Berlin`.

    Returns:
        Whole minutes, one value or a column, as `at` is.
    """
    return local(at, zone) % DAY // 60


def weekday(at: Value, zone: str = "UTC") -> Value:
    """The day of the week in the zone; Monday is 0.

    Args:
        at: epoch seconds, one value or a whole column.
        zone: an IANA name, such as `Europe/Berlin`.

    Returns:
        0 (Monday) to 6 (Sunday), one value or a column, as `at` is.
    """
    return (local(at, zone) // DAY + 3) % 7
