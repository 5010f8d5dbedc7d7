"""The prediction log as one period's report: what of it counts, and what it is compared with."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pandas as pd
import pytest
from evidently import Report
from evidently.metrics import RocAuc, RowCount

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.calibration import Calibration
from fivestage.artifact.predictions import MulticlassForm, form_of
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, MulticlassContract, day_of, epoch_of
from fivestage.deployment.service_client import json_rows
from fivestage.evaluation.daily import Floats
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.monitoring import period as periods
from fivestage.monitoring import served as served_log
from fivestage.monitoring.causes import DATA, Cause, explained
from fivestage.monitoring.drift import DAY_COLUMN, windows_of
from fivestage.monitoring.evidently_drift import CalibratedDrift, LabelDrift
from fivestage.monitoring.evidently_quality import LabelledRows
from fivestage.monitoring.period import MonitoredPeriod, check_period
from fivestage.monitoring.period_report import Checks, PeriodColumns, run_checks
from fivestage.monitoring.retraining import PeriodSummary, ShadowScore, Span
from fivestage.monitoring.served import SHADOW, Served, periods_to_check, read_served
from fivestage.monitoring.skew import forecasts_in
from fivestage.serving.log import first_decision, open_store, predictions
from fivestage.serving.store import PredictionRecord, ShadowRecord
from tests.synthetic import AS_OF, prepared, synthetic_artifact

START = epoch_of(AS_OF)
DAYS = 7
Versions = Mapping[str, Artifact | str]
PERIOD = (START + 8 * DAY, START + (8 + DAYS) * DAY)


@dataclass(frozen=True)
class Warehouse:
    """Deliveries as the warehouse has them, with an artifact and its answers."""

    contract: Contract
    artifact: Artifact
    rows: pd.DataFrame
    features: pd.DataFrame
    probability: Floats

    def due(self, start: int = PERIOD[0], end: int = PERIOD[1]) -> pd.DataFrame:
        at = self.rows["decision_at"]
        return self.rows[(at >= start) & (at < end)]


@pytest.fixture(scope="module")
def warehouse() -> Warehouse:
    one, artifact = prepared("binary"), synthetic_artifact("binary")
    probability = artifact_forecast(artifact, one.features)
    return Warehouse(one.contract, artifact, one.rows, one.features, probability)


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log.sqlite"


def answered(
    name: str, rows: pd.DataFrame, probability: Floats, contract: Contract, version: str = "1"
) -> PredictionRecord:
    predictions = [{"probability": one, "decision": "wait"} for one in probability.tolist()]
    answer = {"request_id": name, "model_version": version, "threshold": 0.3, "predictions": predictions}
    request = {"rows": json_rows(rows, contract.columns)}
    return PredictionRecord(name, 0.0, version, 0, 100, json.dumps(request), json.dumps(answer))


def log(database: str, answers: Sequence[PredictionRecord]) -> None:
    store = open_store(database)
    store.write_answers(answers)
    store.close()


def log_of(warehouse: Warehouse, version: str = "1") -> Served:
    due = warehouse.due()
    forecast: Any = [(one,) for one in warehouse.probability[due.index].tolist()]
    frame = due.assign(forecast=forecast, model_version=version, row=due.index).reset_index(drop=True)
    return Served(Span(*PERIOD, last=(1, 0)), frame)


def test_only_decisions_of_the_period_count(warehouse: Warehouse, database: str) -> None:
    contract, (start, end) = warehouse.contract, PERIOD
    days = [warehouse.due(start + day * DAY, start + (day + 1) * DAY) for day in range(-1, DAYS + 1)]
    log(
        database,
        [
            answered(f"{day}", rows, warehouse.probability[rows.index], contract)
            for day, rows in enumerate(days)
        ],
    )
    served = read_served(database, warehouse.rows, contract, Span(start, end))
    due = warehouse.due()
    assert (served.span.start, served.span.end, served.span.next) == (start, end, (DAYS + 1, 0))
    assert served.log["order_number"].tolist() == due["order_number"].tolist()
    assert served.log["deliver_at"].tolist() == due["deliver_at"].tolist()
    np.testing.assert_array_equal(forecasts_in(served.log), warehouse.probability[due.index])


def test_the_start_is_inside_and_the_end_is_not(warehouse: Warehouse, database: str) -> None:
    start, end = PERIOD
    lead = warehouse.contract.decision.lead_seconds
    edges = [start - 1, start, end - 1, end]
    rows = warehouse.rows.head(4).assign(deliver_at=[at + lead for at in edges])
    log(database, [answered("edges", rows, np.full(4, 0.5), warehouse.contract)])
    served = read_served(database, warehouse.rows, warehouse.contract, Span(start, end))
    assert (served.log["deliver_at"] - lead).tolist() == [start, end - 1]


def test_reading_goes_on_after_the_last_number(warehouse: Warehouse, database: str) -> None:
    contract, due = warehouse.contract, warehouse.due()
    one, other = due.head(5), due.tail(5)
    log(database, [answered("one", one, np.full(5, 0.1), contract)])
    first = read_served(database, warehouse.rows, contract, Span(*PERIOD))
    log(database, [answered("other", other, np.full(5, 0.2), contract)])
    second = read_served(database, warehouse.rows, contract, Span(*PERIOD, first.span.next))
    assert (first.span.next, second.span.next) == ((1, 0), (2, 0))
    assert second.log["order_number"].tolist() == other["order_number"].tolist()
    nothing = read_served(database, warehouse.rows, contract, Span(*PERIOD, second.span.next))
    assert (len(nothing.log), nothing.span.next) == (0, (2, 0))


def test_a_missed_period_is_read_after_the_one_before_it(warehouse: Warehouse, database: str) -> None:
    contract, (start, end) = warehouse.contract, PERIOD
    both = [warehouse.due(start, start + DAY), warehouse.due(start + DAY, end)]
    log(
        database,
        [answered(f"{day}", rows, np.full(len(rows), 0.1), contract) for day, rows in enumerate(both)],
    )
    first = read_served(database, warehouse.rows, contract, Span(start, start + DAY))
    second = read_served(database, warehouse.rows, contract, Span(start + DAY, end, first.span.next))
    assert [len(one.log) for one in (first, second)] == [len(rows) for rows in both]
    assert [one.span.has_later for one in (first, second)] == [True, False]


def test_of_a_row_asked_twice_the_last_answer_counts(warehouse: Warehouse, database: str) -> None:
    contract, row = warehouse.contract, warehouse.due().head(1)
    log(database, [answered(f"{p}", row, np.array([p]), contract) for p in (0.1, 0.2)])
    assert read_served(database, warehouse.rows, contract, Span(*PERIOD)).log["forecast"].tolist() == [(0.2,)]


def test_a_period_in_which_the_contract_changed_is_checked(warehouse: Warehouse, database: str) -> None:
    """A log with requests of both contracts could not be read, so that monitoring never got past them."""
    old, due = warehouse.contract, warehouse.due()
    amount = old.columns["amount"].model_copy(update={"nullable": False})
    kept = {name: column for name, column in old.columns.items() if name != "channel"}
    new = old.model_copy(update={"columns": {**kept, "extra": amount}})
    rows = warehouse.rows.assign(extra=1.5)
    artifact = replace(warehouse.artifact, contract=new)
    half = len(due) // 2
    for version, part, contract in (("1", slice(half), old), ("2", slice(half, None), new)):
        some = rows.loc[due.index[part]]
        log(database, [answered(version, some, warehouse.probability[some.index], contract, version)])
    served = read_served(database, rows, new, Span(*PERIOD))
    later = replace(warehouse, contract=new, rows=rows)
    found = monitored(later, served, {"1": warehouse.artifact, "2": artifact})
    assert (found.performance.rows, found.versions, found.broken) == (len(due), ("1", "2"), ())


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("amount", {"max": 1.0}, 60.8),
        ("channel", {"values": ("post",)}, "phone"),
        ("deliver_at", {"max": datetime(2020, 1, 1, tzinfo=UTC)}, 1714266240),
        ("channel", None, math.nan),
        ("amount", {}, math.nan),
    ],
)
@pytest.mark.parametrize("number", [1, 3])
def test_what_was_logged_is_read_though_the_contract_has_other_limits_now(
    warehouse: Warehouse,
    database: str,
    name: str,
    change: dict[str, Any] | None,
    expected: float | str,
    number: int,
) -> None:
    """A limit that was made narrower stopped monitoring for good, too; without a change, the type is new.

    A number of what is a time now was read as one of the year 1970.
    """
    old, due = warehouse.contract, warehouse.due().head(number)
    record = answered("some", due, np.full(number, 0.1), old)
    if number == 1:  # as the service logs it
        record = record._replace(request=json.dumps(json.loads(record.request)["rows"][0]))
    log(database, [record])
    if change:
        changed = old.columns[name].model_copy(update=change)
    else:
        changed = old.columns["amount" if change is None else "deliver_at"]
    new = old.model_copy(update={"columns": {**old.columns, name: changed}})
    served = read_served(database, warehouse.rows, new, Span(*PERIOD))
    assert served.log["row"].tolist() == due.index.tolist()
    assert served.log[name][0] == expected or (not change and math.isnan(served.log[name][0]))


def earlier_contract(contract: Contract, change: str) -> Contract:
    """The contract of several classes as it was before a change."""
    assert isinstance(contract, MulticlassContract)
    classes, actions = contract.label.classes, contract.costs.actions
    named = {name: name for name in classes}
    if change == "a class is new":
        named.popitem()
    if change == "a class has another name":
        named[classes[1]] = "delayed"
    if change == "the classes have another order":
        named = dict(reversed(named.items()))
    actions = {action: {named[one]: prices[one] for one in named} for action, prices in actions.items()}
    if change == "an action is gone":
        actions["send again"] = dict.fromkeys(named.values(), 99.0)
    label = contract.label.model_copy(update={"classes": tuple(named.values())})
    costs = contract.costs.model_copy(update={"actions": actions})
    return contract.model_copy(update={"label": label, "costs": costs})


@pytest.mark.parametrize(
    "change",
    ["a class is new", "a class has another name", "the classes have another order", "an action is gone"],
)
def test_versions_of_other_classes_or_actions_are_not_judged(
    database: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log with answers of both could not be read, or was judged by the wrong classes."""
    warned: list[str] = []
    monkeypatch.setattr(periods.logger, "warning", lambda text, *given: warned.append(text % given))
    one, artifact = prepared("multiclass"), synthetic_artifact("multiclass")
    new, old = one.contract, earlier_contract(one.contract, change)
    probability = artifact_forecast(artifact, one.features)
    several = Warehouse(new, artifact, one.rows, one.features, probability)
    due = several.due()
    half = len(due) // 2
    for version, part, contract in (("1", slice(half), old), ("2", slice(half, None), new)):
        some, form = due[part], cast("MulticlassForm", form_of(contract))
        forecasts = [row[: len(form.columns)] for row in probability[some.index].tolist()]
        answer = form.message(version, version, [form.prediction(row, ()) for row in forecasts])
        request = json.dumps({"rows": json_rows(some, contract.columns)})
        record = (version, 0.0, version, 0, 100, request, msgspec.json.encode(answer).decode())
        log(database, [PredictionRecord(*record)])
        shadows(database, ShadowRecord(version, 0.0, "9", json.dumps([[0.5, 0.5]] * len(some))))
    served = read_served(database, one.rows, new, Span(*PERIOD))
    artifacts = {"1": replace(artifact, contract=old), "2": artifact, "9": replace(artifact, contract=old)}
    found = monitored(several, served, artifacts)
    assert (served.challenger, found.shadow) == ("9", None)
    assert (found.performance.rows, found.versions, found.broken) == (len(due) - half, ("2",), ())
    (warning,) = warned
    assert warning.startswith(f"{half} of {len(due)} predictions from {day_of(PERIOD[0])} are not judged: ")
    assert "version 1 predicts other classes or decides on other actions" in warning
    alone = monitored(several, replace(served, log=served.log[:half]), artifacts)
    assert (alone.performance.rows, alone.broken) == (0, ("whole rows",))
    assert "version 1 predicts other classes" in alone.causes[0].sentence


def test_an_identity_that_is_of_another_type_now_is_not_found(warehouse: Warehouse, database: str) -> None:
    """Numbers that are texts now stopped monitoring for good: they cannot be merged with the data's."""
    old, due = warehouse.contract, warehouse.due().head(3)
    log(database, [answered("some", due, np.full(3, 0.1), old)])
    new = old.model_copy(update={"columns": {**old.columns, "order_number": old.columns["customer"]}})
    rows = warehouse.rows.assign(order_number=warehouse.rows["order_number"].astype(str).astype(object))
    served = read_served(database, rows, new, Span(*PERIOD))
    assert (served.log["row"].tolist(), served.log["order_number"].tolist()) == ([-1] * 3, [""] * 3)


def test_versions_with_a_feature_that_is_gone_do_not_stop_monitoring(warehouse: Warehouse) -> None:
    gone = warehouse.artifact.features[0]
    changed = replace(warehouse, features=warehouse.features.drop(columns=gone))
    alone = monitored(changed, log_of(changed), {"1": warehouse.artifact})
    assert (alone.performance.rows, alone.broken, alone.span.last) == (0, (gone,), (1, 0))
    assert f"{gone}: version 1 needs this feature" in alone.causes[0].sentence
    served = log_of(changed)
    version = np.where(served.log.index < 50, "0", "1")
    both = replace(served, log=served.log.assign(model_version=version))
    lost = replace(warehouse.artifact, features=("lost", *warehouse.artifact.features))
    found = monitored(warehouse, both, {"0": lost, "1": warehouse.artifact})
    assert found.performance.rows == len(served.log)
    assert found.largest_difference < 1e-12


def test_a_challenger_is_paired_with_the_champion_by_day(warehouse: Warehouse, database: str) -> None:
    contract, due = warehouse.contract, warehouse.due()
    forecast = warehouse.probability[due.index]
    log(database, [answered("all", due, forecast, contract)])
    silent = read_served(database, warehouse.rows, contract, Span(*PERIOD))
    assert (silent.challenger, silent.span.next[1]) == ("", 0)
    truth = due[contract.label.name].to_numpy(dtype=np.float64)
    store = open_store(database)
    store.write_shadows([ShadowRecord("all", 0.0, "7", json.dumps(truth.tolist()))])
    store.close()
    served = read_served(database, warehouse.rows, contract, Span(*PERIOD))
    assert served.challenger == "7"
    assert served.span.next[1] > 0
    found = periods._shadow(served.challenger, "1", served.log, due, contract)
    assert found is not None
    assert (found.version, sum(found.rows), len(found.saved)) == ("7", len(due), DAYS)
    assert min(found.saved) > 0  # it knew the outcome
    assert read_served(database, warehouse.rows, contract, Span(*PERIOD, served.span.next)).challenger == ""
    unlabelled = periods._shadow(served.challenger, "1", served.log[:0], due[:0], contract)
    assert unlabelled == ShadowScore("7", (), ())  # it is still in shadow


def shadows(database: str, *records: ShadowRecord) -> None:
    store = open_store(database)
    store.write_shadows(records)
    store.close()


def test_a_challenger_is_paired_with_the_champion_that_serves_at_the_end(
    warehouse: Warehouse, database: str
) -> None:
    """What it would have saved against a champion that has been replaced proves nothing."""
    contract, due = warehouse.contract, warehouse.due()
    truth, half = due[contract.label.name].to_numpy(dtype=np.float64), len(due) // 2
    for name, version, forecast, part in (
        ("old", "1", 1 - truth, slice(half)),
        ("new", "2", truth, slice(half, None)),
    ):
        log(database, [answered(name, due[part], forecast[part], contract, version)])
        shadows(database, ShadowRecord(name, 0.0, "7", json.dumps(truth[part].tolist())))
    served = read_served(database, warehouse.rows, contract, Span(*PERIOD))
    found = monitored(warehouse, served, dict.fromkeys("127", warehouse.artifact)).shadow
    assert found is not None
    known = (due["known_at"] < PERIOD[1]).to_numpy()
    assert sum(found.rows) == known[half:].sum()


def test_a_challenger_of_which_the_next_period_has_been_asked_already_is_read_then(
    warehouse: Warehouse, database: str
) -> None:
    """As where clients ask days ahead: requests of both periods lie between one another in the log."""
    contract, (start, end) = warehouse.contract, PERIOD
    middle = start + 3 * DAY
    one, other = warehouse.due(start, middle), warehouse.due(middle, end)
    requests = [("ahead", other[:9]), ("now", one[:9]), ("both", pd.concat([one[9:12], other[9:12]]))]
    log(database, [answered(name, rows, np.full(len(rows), 0.1), contract) for name, rows in requests])
    shadows(
        database, *(ShadowRecord(name, 0.0, "7", json.dumps([0.2] * len(rows))) for name, rows in requests)
    )
    first = read_served(database, warehouse.rows, contract, Span(start, middle))
    second = read_served(database, warehouse.rows, contract, Span(middle, end, first.span.next))
    assert [one.log[SHADOW].notna().sum() for one in (first, second)] == [12, 12]


def test_a_long_log_is_read_in_parts(
    warehouse: Warehouse, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of other periods are dropped before more are read: a log of years would not fit into memory."""
    contract, due = warehouse.contract, warehouse.due()
    parts = [due[row : row + 7] for row in range(0, 70, 7)]
    log(database, [answered(f"{at}", part, np.full(7, 0.1), contract) for at, part in enumerate(parts)])
    start, end = (int(due["decision_at"].iloc[place]) for place in (20, 50))
    found = []
    for size in (1, 10, 1000):
        monkeypatch.setattr(served_log, "ROWS_AT_ONCE", size)
        found.append(read_served(database, warehouse.rows, contract, Span(start, end)))
    inside = due["decision_at"].between(start, end - 1)
    for one in found:
        pd.testing.assert_frame_equal(one.log, found[-1].log)
        assert one.log["order_number"].tolist() == due[inside]["order_number"].tolist()
        assert (one.span.next, one.span.last, one.span.has_later) == ((7, 0), (8, 0), True)


def weekly(warehouse: Warehouse, weeks: int, rows: int, late: int = 0) -> list[PredictionRecord]:
    """One request for each row, a number of weeks long, answered some seconds after its decision."""
    due = warehouse.due(PERIOD[0], PERIOD[0] + weeks * DAYS * DAY)
    of_week = (due["decision_at"] - PERIOD[0]) // (DAYS * DAY)
    some = due.groupby(of_week, sort=False).head(rows)
    return [
        answered(f"{at}", some[at : at + 1], np.array([0.1]), warehouse.contract)._replace(
            at=float(some["decision_at"].iloc[at] + late)
        )
        for at in range(len(some))
    ]


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the requests that have been decoded since."""
    numbers: list[int] = []

    def counting(*given: Any) -> Iterator[dict[str, Any]]:
        for one in predictions(*given):
            numbers.append(one["number"])
            yield one

    monkeypatch.setattr(served_log, "predictions", counting)
    return numbers


@pytest.mark.parametrize("late", [0, 500 * DAY])
def test_missed_periods_are_read_only_as_far_as_they_reach(
    warehouse: Warehouse, database: str, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """Each missed week was read to the end of the log; requests of a replay are all later than it."""
    weeks, rows = 3, 60
    log(database, weekly(warehouse, weeks, rows, late))
    monkeypatch.setattr(served_log, "ROWS_AT_ONCE", 10)
    numbers, after = decoded(monkeypatch), (0, 0)
    for week in range(weeks):
        start = PERIOD[0] + week * DAYS * DAY
        span = Span(start, start + DAYS * DAY, after)
        served = read_served(database, warehouse.rows, warehouse.contract, span)
        assert (len(served.log), served.span.has_later) == (rows, week < weeks - 1)
        assert len(numbers) <= rows + 2 * 10
        numbers.clear()
        after = served.span.next


def test_a_request_for_a_day_far_ahead_is_not_waited_for(warehouse: Warehouse, database: str) -> None:
    """All that was logged after it was read again for each period until that day."""
    contract, (start, end) = warehouse.contract, PERIOD
    due = warehouse.due()
    one = due.head(1).assign(deliver_at=end + (contract.monitoring.reference_days + 1) * DAY)
    log(database, [answered("ahead", one, np.array([0.1]), contract)])
    log(database, [answered("due", due, np.full(len(due), 0.1), contract)])
    served = read_served(database, warehouse.rows, contract, Span(start, end))
    assert (len(served.log), served.span.next, served.span.has_later) == (len(due), (2, 0), False)


def test_an_outage_longer_than_the_reference_does_not_stop_monitoring(
    warehouse: Warehouse, database: str
) -> None:
    """Requests after it counted as far ahead: they were never read, and each week failed."""
    contract, (start, end) = warehouse.contract, PERIOD
    away = (contract.monitoring.reference_days + DAYS + 1) * DAY
    due = warehouse.due().head(10)
    again = due.assign(deliver_at=due["deliver_at"] + away)
    for name, rows, at in (("before", due, start), ("after", again, start + away)):
        log(database, [answered(name, rows, np.full(10, 0.1), contract)._replace(at=float(at))])
    served = read_served(database, warehouse.rows, contract, Span(start, end))
    assert (len(served.log), served.span.next, served.span.has_later) == (10, (1, 0), True)
    outage = read_served(database, warehouse.rows, contract, Span(end, end + DAYS * DAY, (1, 0)))
    assert (len(outage.log), outage.span.next, outage.span.has_later) == (0, (1, 0), True)


def test_of_an_outage_all_of_the_log_is_read(
    warehouse: Warehouse, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nothing was requested is said only of the whole log, as requests may be logged late."""
    log(database, [one._replace(at=1e12) for one in weekly(warehouse, 2, 60)[::-1]])
    monkeypatch.setattr(served_log, "ROWS_AT_ONCE", 10)
    served = read_served(database, warehouse.rows, warehouse.contract, Span(*PERIOD))
    assert len(served.log) == 60


def test_after_a_rollback_a_period_is_that_of_the_version_that_serves_again(warehouse: Warehouse) -> None:
    served = log_of(warehouse)
    version = np.repeat(["1", "2", "1"], [50, 50, len(served.log) - 100])
    found = monitored(
        warehouse,
        replace(served, log=served.log.assign(model_version=version)),
        dict.fromkeys("12", warehouse.artifact),
    )
    assert (found.versions, found.summary.version) == (("2", "1"), "1")


def test_rows_that_are_sent_again_later_do_not_change_what_was_decided(
    warehouse: Warehouse, database: str
) -> None:
    late, end = slow(warehouse), PERIOD[1] + 2 * DAYS * DAY
    contract, due = late.contract, late.due()
    forecast = warehouse.probability[due.index]
    log(database, [answered("all", due, forecast, contract)])
    store = open_store(database)
    store.write_shadows([ShadowRecord("all", 0.0, "7", json.dumps(forecast.tolist()))])
    store.close()
    served = read_served(database, warehouse.rows, contract, Span(*PERIOD))
    first = monitored(late, served, {"1": late.artifact})
    log(database, [answered("again", due, np.full(len(due), 0.9), contract, "2")])
    store = open_store(database)
    store.write_shadows([ShadowRecord("again", 0.0, "8", json.dumps(forecast.tolist()))])
    store.close()
    past = [first.summary]
    again, _ = periods_to_check(database, late.rows, (end - DAY, end), (2, 2), past, contract)
    pd.testing.assert_frame_equal(again.log, served.log)
    assert (again.challenger, again.span.last, first.summary.version) == ("7", (1, 1), "1")


def test_labels_count_only_for_the_rows_that_were_requested(warehouse: Warehouse, database: str) -> None:
    """Whether a period is checked again depends on the same share of labels as its verdict."""
    contract, due = warehouse.contract, warehouse.due()
    asked, others = due.iloc[:100], due.iloc[100:]
    needed, end = contract.monitoring.min_label_share, PERIOD[1] + 2 * DAYS * DAY
    log(database, [answered("asked", asked, warehouse.probability[asked.index], contract)])
    past = [PeriodSummary(0.2, bad=False, broken=(), span=Span(*PERIOD, last=(1, 0)))]
    for known, checked in ((round(needed * 100), True), (round(needed * 100) - 1, False)):
        for others_at in (end - 1, end):
            known_at = warehouse.rows["decision_at"].copy()
            known_at[asked.index[known:]] = end
            known_at[others.index] = others_at
            rows = warehouse.rows.assign(known_at=known_at)
            found = periods_to_check(database, rows, (end - DAY, end), (1, 0), past, contract)
            *earlier, _ = list(found)
            assert len(earlier) == checked
            late = replace(warehouse, rows=rows)
            served = replace(read_served(database, warehouse.rows, contract, Span(*PERIOD)), as_of=end)
            judged = monitored(late, served, {"1": late.artifact})
            assert judged.performance.conclusive == checked


def test_an_empty_log_is_a_sentence(warehouse: Warehouse, database: str) -> None:
    served = read_served(database, warehouse.rows, warehouse.contract, Span(*PERIOD, (7, 0)))
    assert (len(served.log), served.span.next) == (0, (7, 0))
    first, last = (day_of(at) for at in PERIOD)
    with pytest.raises(UserError, match=f"no decisions from {first}T00:00:00Z to {last}T00:00:00Z"):
        check_period(
            warehouse.rows,
            warehouse.features,
            served,
            {},
            warehouse.contract,
            counted,
        )


def test_a_period_without_any_request_is_told_of_and_gone_past(warehouse: Warehouse, database: str) -> None:
    contract, (start, end) = warehouse.contract, PERIOD
    due = warehouse.due()
    log(database, [answered("later", due, warehouse.probability[due.index], contract)])
    assert first_decision(database, contract, 0) == due["decision_at"].min()
    assert first_decision(database, contract, end) is None
    silent = read_served(database, warehouse.rows, contract, Span(start - 2 * DAY, start))
    found, snapshot = check_period(warehouse.rows, warehouse.features, silent, {}, contract, counted)
    assert snapshot is None
    assert (found.performance.rows, found.span.next, found.broken) == (0, (0, 0), ("whole rows",))
    assert found.summary.broken == ("whole rows",)
    assert len(read_served(database, warehouse.rows, contract, Span(start, end, found.span.next)).log) == len(
        due
    )


def made_up(served: Served, rows: int) -> Served:
    return replace(served, log=served.log.assign(row=served.log["row"].where(served.log.index >= rows, -1)))


def test_rows_that_the_data_do_not_have_are_left_out_and_told(warehouse: Warehouse) -> None:
    served, artifacts = log_of(warehouse), {"1": warehouse.artifact}
    whole = monitored(warehouse, served, artifacts)
    one = monitored(warehouse, made_up(served, 1), artifacts)
    assert one.performance.rows == whole.performance.rows - 1
    assert "whole rows" not in one.broken
    many = monitored(warehouse, made_up(served, 20), artifacts)
    assert many.performance.rows == whole.performance.rows - 20
    (cause,) = [cause for cause in many.causes if cause.subject == "whole rows"]
    assert f"20 of {len(served.log):,} requested rows are not in the data" in cause.sentence


def test_rows_that_the_data_lack_until_their_outcome_is_known_are_no_broken_data(
    warehouse: Warehouse,
) -> None:
    rows, served = warehouse.rows, log_of(warehouse)
    late = np.arange(len(rows)) % 5 == 0
    known_at = np.where(late, rows["known_at"] + 30 * DAY, rows["known_at"])
    slow = replace(warehouse, rows=rows.assign(known_at=known_at))
    found = monitored(slow, made_up(served, len(served.log) // 5), {"1": warehouse.artifact})
    assert "whole rows" not in found.broken
    assert found.performance.label_share == pytest.approx(0.8 * 0.8, abs=0.08)
    found = monitored(slow, made_up(served, len(served.log) // 2), {"1": warehouse.artifact})
    assert "whole rows" in found.broken


def test_when_the_data_have_no_row_that_was_asked_for_nothing_is_judged(warehouse: Warehouse) -> None:
    served = log_of(warehouse)
    found = monitored(warehouse, made_up(served, len(served.log)), {"1": warehouse.artifact})
    assert (found.performance.rows, found.broken) == (0, ("whole rows",))
    assert "append those of the period, with their outcomes" in found.causes[0].sentence


def test_predictions_of_versions_that_the_registry_lacks_are_left_out(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = log_of(warehouse)
    artifacts: Versions = {"1": warehouse.artifact, "3": "the registry has no version 3"}
    versions = np.where(np.arange(len(served.log)) < 20, "3", "1")  # as of smoke tests before a new registry
    warned: list[str] = []
    monkeypatch.setattr(periods.logger, "warning", lambda text, *given: warned.append(text % given))
    some = monitored(warehouse, replace(served, log=served.log.assign(model_version=versions)), artifacts)
    assert [one.partition(" from ")[0] for one in warned] == [f"20 of {len(served.log)} predictions"]
    assert (some.performance.rows, some.versions) == (len(served.log) - 20, ("1",))
    assert "whole rows" not in some.broken
    none = monitored(warehouse, replace(served, log=served.log.assign(model_version="3")), artifacts)
    assert (none.performance.rows, none.broken) == (0, ("whole rows",))
    assert "the registry has no version 3" in none.causes[0].sentence


def test_a_logged_row_is_found_wherever_it_stands(warehouse: Warehouse) -> None:
    rows = warehouse.rows.sample(frac=1, random_state=1).reset_index(drop=True)
    asked = log_of(warehouse).log.sample(frac=1, random_state=2).reset_index(drop=True)
    places = served_log._places(rows, asked, warehouse.contract, Span(*PERIOD))
    identity = list(warehouse.contract.identity)
    assert (rows.iloc[places][identity].to_numpy() == asked[identity].to_numpy()).all()


def counted(_period: PeriodColumns) -> Report:
    """The least of reports: drift has tests of its own."""
    return Report([RowCount()])


def with_labels(period: PeriodColumns) -> Report:
    """What needs labels as well."""
    drift = LabelDrift(columns=period.inputs, forecasts=period.forecasts)
    return Report([RowCount(), drift, LabelledRows(items=[RocAuc()])])


def monitored(
    warehouse: Warehouse,
    served: Served,
    artifacts: Versions,
    checks: Checks = counted,
) -> MonitoredPeriod:
    """What is known of the period."""
    found, snapshot = check_period(
        warehouse.rows, warehouse.features, served, artifacts, warehouse.contract, checks
    )
    assert (snapshot is None) == (found.performance.rows == 0)
    return found


def test_the_artifact_that_served_answers_the_same_offline(warehouse: Warehouse) -> None:
    found = monitored(warehouse, log_of(warehouse), {"1": warehouse.artifact})
    assert (found.span, found.versions) == (Span(*PERIOD, last=(1, 0)), ("1",))
    assert found.performance.rows == len(warehouse.due()) > 100
    assert found.largest_difference < 1e-12


def test_a_wrong_artifact_is_noticed(warehouse: Warehouse) -> None:
    wrong = replace(warehouse.artifact, calibration=Calibration(1.1))
    found = monitored(warehouse, log_of(warehouse), {"1": wrong})
    due = warehouse.due().index
    offline = artifact_forecast(wrong, warehouse.features.iloc[due])
    assert found.largest_difference == pytest.approx(np.abs(offline - warehouse.probability[due]).max())
    assert found.largest_difference > 0.001


def test_one_wrong_answer_of_one_version_is_noticed(warehouse: Warehouse) -> None:
    served = log_of(warehouse)
    second = served.log.index >= 50
    forecast = forecasts_in(served.log) + 0.25 * (served.log.index == 60)
    told: Any = [(one,) for one in forecast.tolist()]
    version = np.where(second, "2", "1")
    both = replace(served, log=served.log.assign(model_version=version, forecast=told))
    artifacts = {"1": warehouse.artifact, "2": warehouse.artifact}
    found = monitored(warehouse, both, artifacts)
    assert found.versions == ("1", "2")
    assert found.largest_difference == pytest.approx(0.25)


def test_only_labels_known_at_the_end_are_judged(warehouse: Warehouse) -> None:
    found = monitored(warehouse, log_of(warehouse), {"1": warehouse.artifact})
    share = float((warehouse.due()["known_at"] < PERIOD[1]).mean())
    assert 0 < share < 1
    assert found.performance.label_share == pytest.approx(share)


def test_outcomes_of_which_the_quick_ones_come_first_are_no_other_rate(warehouse: Warehouse) -> None:
    """As where easy repairs end first: what has arrived at a period's end is compared with what had then."""
    rows, contract = warehouse.rows, warehouse.contract
    slow = rows[contract.label.name].to_numpy() == 1
    draw = np.random.default_rng(0)
    days = np.where(slow, draw.uniform(2, 20, len(rows)), draw.uniform(0, 2, len(rows)))
    late = replace(warehouse, rows=rows.assign(known_at=rows["decision_at"] + (days * DAY).astype(np.int64)))
    fresh = replace(warehouse.artifact, trained_until=PERIOD[0] - 35 * DAY)
    found = monitored(late, log_of(late), {"1": fresh}, with_labels)
    assert 0.3 < found.performance.label_share < 0.9
    assert not [one.sentence for one in found.causes if one.subject == "the label"]


def slow(warehouse: Warehouse) -> Warehouse:
    """Outcomes of one class come days later, so that those which come first are another rate."""
    rows = warehouse.rows
    late = rows[warehouse.contract.label.name].to_numpy() == 1
    return replace(warehouse, rows=rows.assign(known_at=rows["decision_at"] + np.where(late, 9, 0) * DAY))


def test_a_period_is_judged_by_all_of_its_labels_once_they_have_arrived(warehouse: Warehouse) -> None:
    late, ends = slow(warehouse), (PERIOD[1], PERIOD[1] + 2 * DAYS * DAY)
    first, second = (monitored(late, replace(log_of(late), as_of=end), {"1": late.artifact}) for end in ends)
    assert [one.performance.conclusive for one in (first, second)] == [False, True]
    scored = second.performance.scored
    assert scored is not None
    assert abs(scored["bias"].value) < 0.1  # about .3 by those that come first
    now = replace(second, span=Span(second.span.end, second.span.end + DAY), matured=(second,))
    past = [PeriodSummary(1.0, bad=False, broken=()), first.summary]
    assert now.history(past) == [past[0], second.summary, now.summary]


@pytest.mark.parametrize(
    ("later", "label_share", "checked"),
    [(14, 0.4, True), (0, 0.4, False), (14, 0.95, False), (365, 0.4, False)],
)
def test_a_period_is_checked_again_once_its_labels_have_arrived(
    warehouse: Warehouse, database: str, *, later: int, label_share: float, checked: bool
) -> None:
    late, end = slow(warehouse), PERIOD[1] + later * DAY
    due = warehouse.due()
    log(database, [answered("all", due, warehouse.probability[due.index], late.contract)])
    past = [PeriodSummary(label_share, bad=False, broken=(), span=Span(*PERIOD, last=(1, 0)))]
    span = end, end + DAY
    *earlier, now = periods_to_check(database, late.rows, span, (1, 0), past, late.contract)
    assert [(one.span.start, one.as_of, len(one.log)) for one in earlier] == [
        (PERIOD[0], end + DAY, len(due))
    ] * checked
    assert (now.span.start, now.span.end, now.as_of) == (*span, 0)


def test_a_period_whose_labels_do_not_come_is_checked_once_more_at_the_end(
    warehouse: Warehouse, database: str
) -> None:
    """Of slow labels none is late at a period's end: that they had stopped was never noticed."""
    late, due = slow(warehouse), warehouse.due()
    lost = replace(
        late,
        rows=late.rows.assign(known_at=late.rows["known_at"].where(~late.rows.index.isin(due.index), 2**40)),
    )
    log(database, [answered("all", due, warehouse.probability[due.index], late.contract)])
    rules = late.contract.monitoring
    past = [PeriodSummary(0.0, bad=False, broken=(), span=Span(*PERIOD, last=(1, 0)))]
    last = PERIOD[0] + rules.reference_days * DAY
    for now, checked in ((last - DAYS * DAY, False), (last, True), (last + DAYS * DAY, False)):
        span = now - DAYS * DAY, now
        *earlier, _ = periods_to_check(database, lost.rows, span, (1, 0), past, late.contract)
        assert len(earlier) == checked
        for served in earlier:
            found = monitored(lost, served, {"1": lost.artifact})
            assert (found.performance.conclusive, found.performance.label_share) == (False, 0)
            assert found.labels_due == rules.min_label_share


def drift_of_inputs(period: PeriodColumns) -> Report:
    """The drift of the inputs, as a project checks it."""
    return Report([CalibratedDrift(columns=period.inputs, days=period.days)])


@pytest.mark.parametrize(
    ("days", "after", "broken"),
    [
        (range(7), (9, 0), False),
        (range(4), (9, 0), True),
        (range(3, 7), (9, 0), True),
        (range(4), (0, 0), True),
        (range(3, 7), (0, 0), False),  # the service's first days: it started in the middle of the week
    ],
)
def test_days_without_a_request_are_seen_wherever_they_lie(
    warehouse: Warehouse, days: range, after: tuple[int, int], *, broken: bool
) -> None:
    """An outage at the start or the end of a week only made the week shorter."""
    served = log_of(warehouse)
    day = (warehouse.due()["decision_at"] - PERIOD[0]).to_numpy() // DAY
    some = replace(served, log=served.log[np.isin(day, days)], span=replace(served.span, after=after))
    found = monitored(warehouse, some, {"1": warehouse.artifact}, drift_of_inputs)
    assert (found.broken == ("whole rows",)) is broken
    sentences = [one.sentence for one in found.causes if one.kind == "data broken"]
    assert all("days without rows 42.9%, was 0.0%" in one for one in sentences)


def test_days_whose_requests_cannot_be_judged_are_no_outage(warehouse: Warehouse) -> None:
    """As where the data have a row once its outcome is known, or a version predicted other classes."""
    served = replace(log_of(warehouse), span=Span(*PERIOD, after=(9, 0)))
    day = (warehouse.due()["decision_at"] - PERIOD[0]).to_numpy() // DAY
    versions: Versions = {"1": warehouse.artifact, "0": "version 0 is gone"}
    for here in (day < 3, day > 3):
        unknown = served.log.assign(row=np.where(here, -1, served.log["row"]))
        gone = served.log.assign(model_version=np.where(here, "0", "1"))
        for log in (unknown, gone):
            found = monitored(warehouse, replace(served, log=log), versions, drift_of_inputs)
            assert not [one.sentence for one in found.causes if "days without rows" in one.sentence]


def test_labels_are_late_only_if_they_are_later_than_usual(warehouse: Warehouse) -> None:
    prompt = monitored(warehouse, log_of(warehouse), {"1": warehouse.artifact})
    late = slow(warehouse)
    usual = monitored(late, log_of(late), {"1": late.artifact})
    assert prompt.labels_due == warehouse.contract.monitoring.min_label_share
    assert 0.2 < usual.labels_due < usual.performance.label_share < prompt.labels_due


@pytest.mark.parametrize("needed", [0.0, 0.9])
def test_without_any_label_nothing_is_judged(warehouse: Warehouse, needed: float) -> None:
    rules = warehouse.contract.monitoring.model_copy(update={"min_label_share": needed})
    contract = warehouse.contract.model_copy(update={"monitoring": rules})
    unknown = warehouse.rows.assign(known_at=warehouse.rows["known_at"] + 99 * DAY)
    late = replace(warehouse, contract=contract, rows=unknown)

    found = monitored(late, log_of(warehouse), {"1": warehouse.artifact}, with_labels)
    assert not [one for one in found.causes if one.subject == "the label"]
    assert (found.performance.scored, found.performance.bad, found.slices) == (None, False, ())
    assert found.performance.sentence == "no label has arrived"
    assert found.performance.expected["cost_per_1000"].value > 0


def test_the_period_is_held_against_the_days_before_it(warehouse: Warehouse) -> None:
    columns, current, reference = compared(warehouse, replace(warehouse.artifact, trained_until=0))
    first, days = PERIOD[0] // DAY, DAY_COLUMN
    assert (current[days].min(), current[days].max()) == (first, first + DAYS - 1)
    assert reference[days].max() == first - 1
    assert set(reference) == set(current)
    assert not set(columns.inputs) & set(warehouse.contract.monitoring.unwatched)
    assert columns.scores == ("probability",)
    due = warehouse.probability[warehouse.due().index]
    np.testing.assert_array_equal(np.sort(current["probability"]), np.sort(due))
    assert reference["probability"].notna().all()


def test_the_score_is_held_against_days_that_the_model_has_not_learnt(warehouse: Warehouse) -> None:
    first = PERIOD[0] // DAY
    for days, enough in ((27, False), (28, True)):  # too few for windows of seven
        fresh = replace(warehouse.artifact, trained_until=PERIOD[0] - days * DAY)
        columns, current, reference = compared(warehouse, fresh)
        assert reference[DAY_COLUMN][reference["probability"].notna()].min() == first - days
        windows = windows_of(reference.dropna(subset=list(columns.scores)), current, columns.scores)
        assert (windows is not None) == enough
    assert windows is not None
    assert (windows[0].first, windows[0].days) == (first - 28, 28)


def compared(warehouse: Warehouse, artifact: Artifact) -> tuple[PeriodColumns, pd.DataFrame, pd.DataFrame]:
    """The columns that a report is built from, and the frames that it sees."""
    seen: list[Any] = []

    def checked(period: PeriodColumns) -> Report:
        seen.append(period)
        return Report([RowCount()])

    def run(report: Report, current: pd.DataFrame, reference: pd.DataFrame, *rest: Any) -> Any:
        seen.extend([current, reference])
        return run_checks(report, current, reference, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(periods, "run_checks", run)
        monitored(warehouse, log_of(warehouse), {"1": artifact}, checked)
    return tuple(seen)


def test_the_effect_of_a_column_is_what_it_does_to_score_decisions_and_money(warehouse: Warehouse) -> None:
    usual, model = warehouse.features, warehouse.artifact
    numbers = [name for name in model.features if pd.api.types.is_numeric_dtype(usual[name])]
    now = usual.assign(**{name: usual[name].max() for name in numbers})
    names = (*numbers, "no feature")
    causes = [Cause(kind, name, name) for name in names for kind in ("input shift", "data broken")]
    found = explained(tuple(causes), now, usual, model, warehouse.contract)
    assert [one.kind for one in found] == ["data broken"] * len(names) + ["input shift"] * len(names)
    broken, shifted = ([one.sentence for one in found if one.kind == kind] for kind in DATA)
    assert (broken[-1], shifted[-1]) == ("no feature", "no feature")
    told = r"; it moves the mean prediction by ([+-]0\.\d{3}) and changes (\d+\.\d)% of decisions"
    moved = [re.search(told + "$", one) for one in shifted[:-1]]
    shifts = [abs(float(one[1])) for one in moved if one]
    assert shifts == sorted(shifts, reverse=True)
    assert shifts[0] > 0.001
    cost = rf"{told}, which costs [\d,]+ EUR per 1,000 if the values are wrong$"
    assert [bool(re.search(cost, one)) for one in broken[:-1]] == [bool(one) for one in moved]
    (still,) = explained((Cause("input shift", numbers[0], ""),), usual, usual, model, warehouse.contract)
    assert "hardly" in still.sentence or abs(float(re.search(told, still.sentence)[1])) < 0.05  # type: ignore[index]


def test_leaving_out_what_is_no_feature_is_a_sentence(warehouse: Warehouse) -> None:
    rules = warehouse.contract.monitoring.model_copy(update={"unwatched": ("tempo",)})
    contract = warehouse.contract.model_copy(update={"monitoring": rules})
    with pytest.raises(UserError, match=r"monitoring.unwatched: tempo is not a feature"):
        monitored(replace(warehouse, contract=contract), log_of(warehouse), {"1": warehouse.artifact})


def test_a_feature_named_like_a_column_of_monitoring_is_a_sentence(warehouse: Warehouse) -> None:
    contract = warehouse.contract
    with pytest.raises(UserError, match=r"the feature 'label' has the name of a column"):
        contract.require_features([*warehouse.features, "label"])
    contract.require_features([*warehouse.features, "value"])  # only a regression has that column
