from typing import Any

import numpy as np
import pandas as pd
import pytest

from fivestage.common.clock import local
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, parse_contract
from fivestage.data.validation import validate
from fivestage.features.problem import Tables
from problem import PROBLEM
from problem.dataset import MORE_AIRPORTS, clean
from problem.raw import raw_folder

FLIGHTS = 336_776
LEG = ["carrier", "flight", "origin", "dest", "scheduled_departure"]


@pytest.fixture(scope="module")
def contract() -> Contract:
    return PROBLEM.contract


@pytest.fixture(scope="module")
def flown(tables: Tables) -> pd.DataFrame:
    """Flights that landed, joined with columns of the raw file that the cleaning does not use."""
    columns = ["carrier", "flight", "origin", "dest", "sched_dep_time", "arr_time", "air_time", "time_hour"]
    raw = pd.read_csv(raw_folder() / "flights.csv.zip", engine="pyarrow")[columns]
    hour = raw.pop("time_hour").dt.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)
    raw["scheduled_departure"] = hour + raw.pop("sched_dep_time") % 100 * 60
    departures = tables.events["departure"]
    return tables.events["landing"].merge(departures, on=LEG).merge(raw, on=LEG, validate="one_to_one")


def test_every_raw_flight_is_a_row_or_reported(tables: Tables) -> None:
    rejected = tables.rejected[~tables.rejected["kept"]]
    assert len(tables.rows) + len(rejected) == FLIGHTS
    (line,) = rejected.to_dict("records")
    assert line["line"] == 275_947
    assert line["value"] == "LGA"
    assert "impossible" in line["reason"]


def test_rows_tell_nothing_that_is_known_after_the_decision(tables: Tables, contract: Contract) -> None:
    assert list(tables.rows) == [*contract.columns, "decision_at", "disrupted", "known_at"]
    assert (tables.rows["decision_at"] == tables.rows["scheduled_departure"] - 7200).all()
    assert (tables.rows["known_at"] > tables.rows["decision_at"]).all()


def test_rows_are_by_decision_then_leg(tables: Tables) -> None:
    keys = ["decision_at", *LEG]
    assert tables.rows[keys].equals(tables.rows[keys].sort_values(keys, ignore_index=True))
    assert not tables.rows.duplicated(LEG).any()


def test_the_share_of_disrupted_flights_by_month(tables: Tables) -> None:
    rows = tables.rows
    assert rows["disrupted"].mean() == pytest.approx(0.266, abs=0.0005)
    clock = local(rows["scheduled_departure"].to_numpy(), "America/New_York")
    months = rows["disrupted"].groupby(clock.astype("datetime64[s]").astype("datetime64[M]")).mean()
    assert len(months) == 12
    assert months.min() == pytest.approx(0.155, abs=0.001)
    assert months.max() == pytest.approx(0.362, abs=0.001)


def test_each_flight_ends_once(tables: Tables) -> None:
    counts = {kind: len(frame) for kind, frame in tables.events.items()}
    assert counts["schedule"] == len(tables.rows)
    assert counts["cancellation"] == 8_255 - 1  # the impossible one was cancelled
    assert counts["diversion"] == 1_175
    assert counts["landing"] == 327_346
    assert counts["departure"] == counts["landing"] + counts["diversion"]
    ends = pd.concat([tables.events[kind][LEG] for kind in ("landing", "cancellation", "diversion")])
    assert len(ends.drop_duplicates()) == len(tables.rows)


def test_labels_are_known_when_their_event_is(tables: Tables) -> None:
    moments = {"landing": "landed_at", "cancellation": "cancelled_at", "diversion": "diverted_at"}
    ends = pd.concat(tables.events[kind].rename(columns={at: "at"}) for kind, at in moments.items())
    both = tables.rows.merge(ends[[*LEG, "at"]], on=LEG)
    assert len(both) == len(tables.rows)
    assert (both["known_at"] == both["at"]).all()


def test_a_diversion_is_never_known_before_the_departure(tables: Tables) -> None:
    diverted = tables.events["diversion"].merge(tables.events["departure"], on=LEG)
    assert len(diverted) == 1_175
    assert (diverted["diverted_at"] >= diverted["departed_at"] + 7200).all()


def test_clocks_at_the_destination_show_the_actual_arrival(flown: pd.DataFrame, tables: Tables) -> None:
    wrong = 0
    landed, written = flown["landed_at"].to_numpy(), flown["arr_time"].to_numpy()
    for dest, places in flown.groupby("dest").indices.items():
        minutes = local(landed[places], str(tables.reference["tz"][str(dest)])) // 60 % 1440
        wrong += int((minutes != (written[places] // 100 * 60 + written[places] % 100) % 1440).sum())
    assert wrong == 1  # on 10 March: written as 2:03, when the clocks had skipped from 2:00 to 3:00


def test_flights_take_longer_than_their_time_in_the_air_even_when_clocks_change(flown: pd.DataFrame) -> None:
    on_the_ground = (flown["landed_at"] - flown["departed_at"]) / 60 - flown["air_time"]
    assert len(flown) == 327_346
    assert on_the_ground.min() > 0
    assert on_the_ground.max() < 240


def test_the_night_clocks_were_put_back(tables: Tables) -> None:
    rows = tables.rows.query("carrier == 'B6' and flight == 2002 and dest == 'BUF'")
    (row,) = rows[rows["scheduled_departure"] == pd.Timestamp("2013-11-03T22:50-05:00").timestamp()].to_dict(
        "records"
    )
    assert row["scheduled_arrival"] - row["scheduled_departure"] == 78 * 60


def test_scheduled_flights_take_as_long_as_their_distance_asks(tables: Tables) -> None:
    rows = tables.rows
    beyond = (rows["scheduled_arrival"] - rows["scheduled_departure"]) / 60 - rows["distance"] / 8
    assert beyond.between(5, 155).all()


def test_airports_that_the_table_lacks(tables: Tables) -> None:
    there = tables.rows[tables.rows["dest"].isin(list(MORE_AIRPORTS))]
    assert len(there) == 7_602
    assert set(there["dest"]) == set(MORE_AIRPORTS)
    assert set(tables.rows["dest"]) <= set(tables.reference["region"])
    assert set(tables.rows["origin"]) <= set(tables.reference["region"])


def test_weather_keeps_its_hours_and_loses_its_outlier(tables: Tables) -> None:
    weather = tables.events["weather"]
    assert len(weather) == 26_115
    assert (weather["hour"] % 3600 == 0).all()
    assert weather["wind_speed"].max() < 50
    (outlier,) = tables.rejected[tables.rejected["kept"]].to_dict("records")
    assert (outlier["table"], outlier["column"], outlier["line"]) == ("weather", "wind_speed", 1011)
    assert outlier["value"].startswith("1048")


def test_the_quality_of_the_data(tables: Tables) -> None:
    assert tables.quality["flights"] == FLIGHTS
    assert tables.quality["flights_without_plane"] == pytest.approx(0.156, abs=0.0005)
    assert tables.quality["flights_without_tail_number"] == pytest.approx(2_512 / FLIGHTS)
    assert tables.quality["of_these_without_weather"] == 108


def test_the_year_keeps_the_contract(tables: Tables, contract: Contract) -> None:
    carried = ("decision_at", "disrupted", "known_at")
    rows = validate(tables.rows, contract.columns, contract.identity, "rows", carried)
    pd.testing.assert_frame_equal(rows.good, tables.rows)
    assert set(tables.events) == set(contract.events)
    for kind, event in contract.events.items():
        events = validate(tables.events[kind], event.columns, event.identity, kind)
        pd.testing.assert_frame_equal(events.good, tables.events[kind])


# --- small tables -------------------------------------------------------------------------------------

HOUR_STAMP = pd.Timestamp("2013-06-03T13:00Z")
FLIGHT: dict[str, Any] = {
    "year": 2013,
    "month": 6,
    "day": 3,
    "carrier": "UA",
    "flight": 1,
    "tailnum": "N1",
    "origin": "EWR",
    "dest": "IAH",
    "dep_time": 905.0,
    "sched_dep_time": 900,
    "dep_delay": 5.0,
    "sched_arr_time": 1200,
    "arr_delay": 20.0,
    "distance": 1400,
    "time_hour": HOUR_STAMP,
}
HOUR: dict[str, Any] = {
    **dict.fromkeys(
        ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "visib"), 10.0
    ),
    "origin": "EWR",
    "precip": 0.0,
    "pressure": 1000.0,
    "time_hour": HOUR_STAMP,
}
AIRPORTS = {
    "IAH": "America/Chicago",
    "LAX": "America/Los_Angeles",
    "HNL": "Pacific/Honolulu",
    "PHX": "America/Phoenix",
    "BOS": "America/New_York",
    "XXX": "Mars/Olympus_Mons",
}


def small(
    flights: list[dict[str, Any]] | None = None, hours: list[dict[str, Any]] | None = None
) -> dict[str, pd.DataFrame]:
    airports = pd.DataFrame(
        {"faa": list(AIRPORTS), "lat": 30.0, "lon": -95.0, "tzone": list(AIRPORTS.values())}
    )
    return {
        "flights": pd.DataFrame([FLIGHT | flight for flight in flights or [{}]]),
        "weather": pd.DataFrame([HOUR | hour for hour in hours or [{}]]),
        "planes": pd.DataFrame({"tailnum": ["N1"]}),
        "airports": airports,
    }


@pytest.mark.parametrize(
    ("change", "disrupted", "known"),
    [
        ({"arr_delay": 14}, 0, "2013-06-03T17:14Z"),
        ({"arr_delay": 15}, 1, "2013-06-03T17:15Z"),
        ({"arr_delay": np.nan, "dep_delay": np.nan, "dep_time": np.nan}, 1, "2013-06-03T13:00Z"),
        ({"arr_delay": np.nan}, 1, "2013-06-03T19:00Z"),
        ({"arr_delay": np.nan, "dep_delay": 600}, 1, "2013-06-04T01:00Z"),
    ],
    ids=["on time", "late", "cancelled", "diverted", "diverted, after leaving late"],
)
def test_what_is_disrupted_and_when_that_is_known(change: dict[str, Any], disrupted: int, known: str) -> None:
    (row,) = clean(small([change]), PROBLEM.contract).rows.to_dict("records")
    assert row["disrupted"] == disrupted
    assert row["known_at"] == pd.Timestamp(known).timestamp()


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        ({"carrier": None}, "carrier", "missing"),
        ({"distance": np.nan}, "distance", "missing"),
        ({"month": 2, "day": 30}, "day", "no such day"),
        ({"year": np.nan}, "day", "no such day"),
        ({"year": 999_999_999}, "day", "no such day"),
        ({"sched_dep_time": 960}, "sched_dep_time", "no such time"),
        ({"sched_arr_time": 2401}, "sched_arr_time", "no such time"),
        ({"sched_arr_time": np.nan}, "sched_arr_time", "no such time"),
        ({"time_hour": pd.Timestamp("2013-06-03T12:00Z")}, "time_hour", "not the hour"),
        ({"time_hour": pd.NaT}, "time_hour", "not the hour"),
        ({"origin": "BOS"}, "origin", "not an airport of departure"),
        ({"dest": "LGA"}, "dest", "impossible route"),
        ({"dest": "XXX"}, "dest", "no time zone"),
        ({"dest": "QQQ"}, "dest", "no time zone"),
        ({"dep_delay": np.nan}, "dep_delay", "only one of dep_time"),
        ({"dep_delay": 10_000}, "dep_delay", "implausible"),
        ({"arr_delay": 999_999_999}, "arr_delay", "implausible"),
        ({"dep_time": np.nan, "dep_delay": np.nan}, "arr_delay", "without having left"),
        ({"arr_delay": -240}, "arr_delay", "before it left"),
        ({"flight": 2}, "flight", "twice"),
    ],
)
def test_impossible_flights_are_reported_with_their_line(
    change: dict[str, Any], column: str, reason: str
) -> None:
    tables = clean(small([{}, {"flight": 2}, change]), PROBLEM.contract)
    assert len(tables.rows) == 2
    (line,) = tables.rejected.to_dict("records")
    assert (line["table"], line["line"], line["column"], line["kept"]) == ("flights", 4, column, False)
    assert reason in line["reason"]


def test_arrivals_are_found_for_any_block_time_and_any_day(contract: Contract) -> None:
    random = np.random.default_rng(20130310)
    count = 4000
    start, end = (int(pd.Timestamp(day).timestamp()) for day in ("2013-01-02T00:00Z", "2013-12-30T00:00Z"))
    leaves = random.integers(start, end, count) // 60 * 60
    leaves[: count // 2] = leaves[: count // 2] % (2 * 86_400) + np.where(
        random.random(count // 2) < 0.5,
        int(pd.Timestamp("2013-03-09T12:00Z").timestamp()),
        int(pd.Timestamp("2013-11-02T12:00Z").timestamp()),
    )
    shortest = {"BOS": 40, "SJU": 180, "IAH": 180, "PHX": 270, "LAX": 300, "HNL": 560}  # minutes
    dests = random.choice(list(shortest), count)
    arrives = leaves + random.integers([shortest[dest] for dest in dests], 720) * 60
    zones = AIRPORTS | {"SJU": "America/Puerto_Rico"}
    flights = []
    for number, (leave, arrive, dest) in enumerate(zip(leaves, arrives, dests, strict=True), start=1):
        departure = pd.Timestamp(leave, unit="s", tz="UTC").tz_convert("America/New_York")
        arrival = pd.Timestamp(arrive, unit="s", tz="UTC").tz_convert(zones[dest])
        if departure.fold or arrival.fold:  # the clock alone cannot tell the second of two equal hours
            continue
        clocks = {
            "sched_dep_time": departure.hour * 100 + departure.minute,
            "sched_arr_time": arrival.hour * 100 + arrival.minute,
        }
        date = {"year": departure.year, "month": departure.month, "day": departure.day}
        hour = pd.Timestamp(leave // 3600 * 3600, unit="s", tz="UTC")
        outcome = {"arr_delay": 0, "dep_delay": 0}
        flights.append({"flight": number, "dest": dest, "time_hour": hour, **date, **clocks, **outcome})
    rows = clean(small(flights), contract).rows
    assert len(rows) == len(flights) > 0.9 * count
    places = rows["flight"].to_numpy() - 1
    np.testing.assert_array_equal(rows["scheduled_departure"], leaves[places])
    np.testing.assert_array_equal(rows["scheduled_arrival"], arrives[places])


def test_2400_is_the_midnight_after_the_day() -> None:
    (row,) = clean(small([{"sched_arr_time": 2400, "dest": "BOS"}]), PROBLEM.contract).rows.to_dict("records")
    assert row["scheduled_arrival"] == pd.Timestamp("2013-06-04T04:00Z").timestamp()


def test_weather_that_cannot_be_is_set_missing_or_rejected() -> None:
    impossible, again, nowhere = {"humid": 101.0, "temp": 500.0}, {"temp": 11.0}, {"origin": "BOS"}
    hours: list[dict[str, Any]] = [impossible, again, nowhere, {"time_hour": pd.NaT}]
    tables = clean(small(hours=hours), PROBLEM.contract)
    (kept,) = tables.events["weather"].to_dict("records")
    assert np.isnan([kept["humid"], kept["temp"]]).all()
    reported = tables.rejected.set_index("line").sort_index()
    assert list(reported.index) == [2, 2, 3, 4, 5]
    assert list(reported["kept"]) == [True, True, False, False, False]
    assert list(reported["reason"][2:]) == ["the same hour twice", "not an airport of departure", "missing"]


def test_a_contract_that_asks_for_what_the_tables_lack(contract: Contract) -> None:
    content = contract.model_dump()
    column = content["columns"]["distance"]
    for where, changed in (
        ("columns has 'seats'", content | {"columns": content["columns"] | {"seats": column}}),
        (
            "events has 'strike'",
            content | {"events": content["events"] | {"strike": content["events"]["schedule"]}},
        ),
    ):
        with pytest.raises(UserError, match=where):
            clean(small(), parse_contract(changed, "problem.yaml"))
