"""Local time from UTC, for a single timestamp or a whole column."""

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
    """Epoch seconds at which the zone's UTC offset changes; the offsets (seconds) before and after each."""
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
    """Convert UTC to the zone's local time; exact from 2000 to 2040.

    Args:
        at: epoch seconds (UTC), one value or an int64 column.
        zone: an IANA name, such as `Europe/Berlin`.

    Returns:
        The local time as if it were UTC, in seconds since 1970-01-01 00:00; one value or a column, like `at`.

    Raises:
        ZoneInfoNotFoundError: when no zone has that name.
        ValueError: when the name is a path outside the time zone database.
    """
    changes, offsets = _offsets(zone)
    if isinstance(at, np.ndarray):
        return at + np.array(offsets)[np.searchsorted(changes, at, side="right")]
    return at + offsets[bisect_right(changes, at)]


def minute_of_day(at: Value, zone: str = "UTC") -> Value:
    """Minutes since local midnight, 0 to 1439.

    Args:
        at: epoch seconds, one value or a whole column.
        zone: an IANA name, such as `Europe/Berlin`.

    Returns:
        Whole minutes, one value or a column, like `at`.
    """
    return local(at, zone) % DAY // 60


def weekday(at: Value, zone: str = "UTC") -> Value:
    """Day of the week in local time; Monday is 0.

    Args:
        at: epoch seconds, one value or a whole column.
        zone: an IANA name, such as `Europe/Berlin`.

    Returns:
        0 (Monday) to 6 (Sunday), one value or a column, like `at`.
    """
    return (local(at, zone) // DAY + 3) % 7
