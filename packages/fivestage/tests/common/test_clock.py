"""Local times agree with the standard library over all supported years."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivestage.common.clock import DAY, local, minute_of_day, weekday

ZONES = {  # and how often their clocks change from 2000 to 2040
    "UTC": 0,
    "America/New_York": 82,
    "America/Phoenix": 0,
    "Asia/Kathmandu": 0,  # a quarter of an hour
    "Australia/Lord_Howe": 82,  # summer time of half an hour
    "Europe/Istanbul": 33,  # gave up changing in 2016
    "Europe/Moscow": 24,  # changed its standard time twice
}
START, END = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2000, 2041))
MOMENTS = st.integers(START, END - 1)


def shown(at: int, zone: str) -> datetime:
    """The local time according to the standard library."""
    return datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone))


def as_if_utc(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp())


@given(st.lists(MOMENTS, min_size=1, max_size=30), st.sampled_from(list(ZONES)))
def test_clocks_show_what_zoneinfo_says(moments: list[int], zone: str) -> None:
    clocks = local(np.array(moments), zone)
    assert clocks.tolist() == [as_if_utc(shown(at, zone)) for at in moments]
    assert clocks.tolist() == [local(at, zone) for at in moments]


@given(MOMENTS, st.sampled_from(list(ZONES)))
def test_minutes_and_weekdays(at: int, zone: str) -> None:
    expected = shown(at, zone)
    assert minute_of_day(at, zone) == expected.hour * 60 + expected.minute
    assert weekday(at, zone) == expected.weekday()
    column = np.array([at])
    assert minute_of_day(column, zone).tolist() == [minute_of_day(at, zone)]
    assert weekday(column, zone).tolist() == [weekday(at, zone)]


@pytest.mark.parametrize(
    ("utc", "before", "after"),
    [
        ("2013-03-10T07:00:00Z", "2013-03-10T01:59:59", "2013-03-10T03:00:00"),
        ("2013-11-03T06:00:00Z", "2013-11-03T01:59:59", "2013-11-03T01:00:00"),
    ],
)
def test_the_second_at_which_summer_time_starts_and_ends(utc: str, before: str, after: str) -> None:
    change = int(datetime.fromisoformat(utc).timestamp())
    clocks = [local(at, "America/New_York") for at in (change - 1, change)]
    assert [datetime.fromtimestamp(clock, UTC).replace(tzinfo=None).isoformat() for clock in clocks] == [
        before,
        after,
    ]
    assert local(np.array([change - 1, change]), "America/New_York").tolist() == clocks


@pytest.mark.parametrize(("zone", "changes"), ZONES.items())
def test_every_change_of_the_clocks_is_known(zone: str, changes: int) -> None:
    hours = np.arange(START, END, 6 * 3600)
    offsets = local(hours, zone) - hours
    changed = np.flatnonzero(np.diff(offsets))
    for place in changed.tolist():  # each within six hours
        edge = range(int(hours[place]), int(hours[place + 1]) + 1, 1800)
        assert [local(at, zone) for at in edge] == [as_if_utc(shown(at, zone)) for at in edge]
    assert len(changed) == changes


def test_a_day_of_summer_time_has_23_hours() -> None:
    midnight = int(datetime(2013, 3, 10, 5, tzinfo=UTC).timestamp())
    assert minute_of_day(midnight, "America/New_York") == 0
    assert minute_of_day(midnight + 23 * 3600, "America/New_York") == 0
    assert minute_of_day(midnight + DAY, "America/New_York") == 60
