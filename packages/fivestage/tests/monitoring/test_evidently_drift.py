"""The report decides: what its tests say, what the page shows and what is alarmed are one."""

import json
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from evidently import DataDefinition, Dataset, Report
from evidently.core.report import Snapshot
from evidently.metrics import DriftedColumnsCount, LogLoss, MaxValue, RocAuc, RowCount, ValueDrift
from evidently.presets import DataDriftPreset, DataSummaryPreset
from evidently.tests import gt, lt

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, MulticlassContract
from fivestage.evaluation.metrics import Answers
from fivestage.monitoring import evidently_quality
from fivestage.monitoring.causes import (
    Cause,
    explained,
    failed_tests,
    furthest_findings,
)
from fivestage.monitoring.daily_statistics import Window
from fivestage.monitoring.drift import detect_drift
from fivestage.monitoring.evidently_drift import (
    FORECAST_COLUMN,
    LABEL_COLUMN,
    CalibratedDrift,
    DriftStatistic,
    LabelDrift,
)
from fivestage.monitoring.evidently_quality import LabelledRows, ScoreLimit
from fivestage.monitoring.performance import judge
from fivestage.monitoring.period_report import period_frame, run_checks
from fivestage.monitoring.workspace import add_run, open_workspace
from tests.contract.contracts import contract_of
from tests.monitoring.test_drift import FAULTS, PERIOD, REFERENCE, changed, window
from tests.synthetic import prepared, synthetic_artifact

INPUTS = ("temperature", "rain", "late_share", "minute", "place", "score")
DAY = 24 * 3600


def frame(some: Window, contract: Contract, seed: int, more: float = 0.0, known: float = 1.0) -> pd.DataFrame:
    """A period's frame: labels that come as the score says, or more often."""
    draw = np.random.default_rng(seed)
    chance = some.frame["score"].fillna(0.3).to_numpy(dtype=np.float64)
    label = draw.random(chance.size) < chance + more
    late = np.where(np.arange(chance.size) < known * chance.size, 0, 10**6 * DAY)
    moment = np.asarray(some.day) * DAY
    rows = pd.DataFrame({"decision_at": moment, "known_at": moment + late, contract.label.name: label * 1})
    return period_frame(some.frame, rows, chance, 10**5 * DAY, contract)


def checked(current: Window, seed: int = 10, more: float = 0.0, known: float = 1.0) -> Snapshot:
    contract = contract_of("binary")
    now, then = frame(current, contract, seed, more, known), frame(window(0, 0, REFERENCE), contract, 0)
    label, chance = now[LABEL_COLUMN].to_numpy(), now[FORECAST_COLUMN].to_numpy()
    there = ~np.isnan(label)
    answers = Answers(chance, chance >= contract.costs.threshold)
    performance = judge(label, there, answers, np.sort(current.day), np.array([1, 0, 0]), contract)
    report = Report(
        [
            RowCount(tests=[gt(0)]),
            CalibratedDrift(columns=INPUTS),
            LabelDrift(columns=INPUTS, forecasts=[FORECAST_COLUMN]),
            *map(ScoreLimit.of, performance.judged),
            LabelledRows(items=[RocAuc(tests=[gt(0.4, is_critical=False)])]),
            LabelledRows(items=[LogLoss()]),
        ]
    )
    return run_checks(report, now, then, contract, 63 * DAY)


def subjects(causes: Sequence[object], kind: str) -> set[str]:
    return {one.subject for one in causes if one.kind == kind}  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_page_and_alarm_come_from_the_same_tests(fault: str | None) -> None:
    current = window(10, REFERENCE, PERIOD)
    if fault:
        current = changed(current, *FAULTS[fault])
    snapshot = checked(current)
    causes = failed_tests(snapshot)
    found = detect_drift(window(0, 0, REFERENCE), current, 0.01)
    of_inputs = {one.column for one in found if one.drifted}
    assert subjects(causes, "data broken") == {one.column for one in found if one.is_broken}
    assert subjects(causes, "data broken") | subjects(causes, "input shift") == of_inputs
    assert {one.column for one in furthest_findings(snapshot) if one.exceedance >= 1} == of_inputs
    failing = {one.description for one in snapshot.tests_results if one.status.value in ("FAIL", "WARNING")}
    for cause in causes:
        sentence, _, times = cause.sentence.rpartition(", ")
        assert any(one.startswith(f"{sentence}: Actual value ") for one in failing)
        assert times in {f"{one.exceedance:.1f} times its limit" for one in found if one.drifted}
    page = json.dumps(snapshot.get_html_str(as_iframe=False))
    for finding in (one for one in found if one.drifted):
        assert json.dumps(f"{finding.column}: {finding.sentence}")[1:-1].split("'")[0] in page


def test_a_week_like_the_others_passes_every_test() -> None:
    snapshot = checked(window(10, REFERENCE, PERIOD))
    assert failed_tests(snapshot) == ()
    assert len(snapshot.tests_results) > 4 * len(INPUTS)


def test_a_test_says_the_value_its_limit_and_since_when() -> None:
    current = changed(
        window(10, REFERENCE, PERIOD),
        "temperature",
        lambda values: values.mask(np.arange(len(values)) >= 180),
    )
    (cause,) = failed_tests(checked(current))
    assert (cause.kind, cause.subject) == ("data broken", "temperature")
    expected = r"temperature: missing share 57\.1%, was 0\.0%; since 1970-03-01, \d+\.\d times its limit"
    assert re.fullmatch(expected, cause.sentence)
    assert cause.series is not None


def test_labels_that_come_more_often_are_a_rate_shift_and_a_bad_period() -> None:
    snapshot = checked(window(10, REFERENCE, PERIOD), more=0.25)
    causes = failed_tests(snapshot)
    assert {one.kind for one in causes} >= {"label-rate shift", "performance"}
    assert {one.subject for one in causes if one.kind == "label-rate shift"} == {"the label"}
    broken = changed(window(10, REFERENCE, PERIOD), *FAULTS["missing"])
    kinds = {one.kind for one in failed_tests(checked(broken, more=0.25))}
    assert "data broken" in kinds
    assert not kinds & {"label-rate shift", "concept shift"}  # the data explain them


def test_the_performance_is_as_the_tests_judge_it() -> None:
    contract, current = contract_of("binary"), window(10, REFERENCE, PERIOD)
    now = frame(current, contract, 10, 0.25)
    label, chance = now[LABEL_COLUMN].to_numpy(), now[FORECAST_COLUMN].to_numpy()
    answers = Answers(chance, chance >= 0.33)
    found = judge(label, np.ones(label.size, dtype=bool), answers, current.day, np.array([1, 0]), contract)
    failed = failed_tests(checked(current, more=0.25))
    assert found.faults == tuple(one.sentence for one in failed if one.kind == "performance")
    assert "off the rate" in found.sentence


def test_the_tile_of_a_score_shows_its_value_and_its_limit() -> None:
    page = checked(window(10, REFERENCE, PERIOD)).get_html_str(as_iframe=False)
    limit = contract_of("binary").monitoring.max_bias
    assert re.search(rf"[+-]0\.\d{{3}}, within (±|\\u00b1){limit:g}", page)
    assert re.search(r"-[\d,]+ \w+, at most ", page)


def test_without_labels_nothing_of_them_is_tested() -> None:
    snapshot = checked(window(10, REFERENCE, PERIOD), known=0.0)
    assert failed_tests(snapshot) == ()
    metrics = [snapshot.context.get_metric(one).to_metric() for one in snapshot.metric_results]
    assert {one.check for one in metrics if isinstance(one, DriftStatistic)} == {"inputs", "labels"}
    assert not [one for one in snapshot.tests_results if one.metric_config.params.get("check") == "labels"]
    few = checked(window(10, REFERENCE, PERIOD), more=0.4, known=0.5)
    assert not [one for one in failed_tests(few) if one.kind == "performance"]  # too few to judge by


def test_what_has_no_test_decides_nothing() -> None:
    """Evidently's default tests, 10% off the reference, would call most periods bad."""
    snapshot = checked(window(10, REFERENCE, PERIOD))
    tested = {one.metric_config.params["type"].split(":")[-1] for one in snapshot.tests_results}
    assert tested == {"RowCount", "DriftStatistic", "ScoreLimit", "RocAuc"}


def test_a_line_of_an_owner_decides_too() -> None:
    contract = contract_of("binary")
    now, then = (
        frame(window(seed, first, days), contract, seed) for seed, first, days in ((10, 56, 7), (0, 0, 56))
    )
    report = Report([MaxValue(column="temperature", tests=[lt(5)])])
    (cause,) = failed_tests(run_checks(report, now, then, contract, 63 * DAY))
    assert (cause.kind, cause.subject) == ("data broken", "temperature")
    warning = Report([MaxValue(column="temperature", tests=[lt(5, is_critical=False)])])
    (cause,) = failed_tests(run_checks(warning, now, then, contract, 63 * DAY))
    assert cause.kind == "input shift"
    quality = Report([LabelledRows(items=[RocAuc(tests=[gt(0.99)])])])
    (cause,) = failed_tests(run_checks(quality, now, then, contract, 63 * DAY))
    assert cause.kind == "performance"


def test_a_check_of_a_column_that_there_is_not_names_it() -> None:
    contract = contract_of("binary")
    now, then = (
        frame(window(seed, first, days), contract, seed) for seed, first, days in ((10, 56, 7), (0, 0, 56))
    )
    report = Report([MaxValue(column="temperatur", tests=[lt(5)])])
    with pytest.raises(UserError, match=r"checks.py uses the column 'temperatur'.*'temperature'"):
        run_checks(report, now, then, contract, 63 * DAY)


@pytest.mark.parametrize("known", [0.0, 0.5])
@pytest.mark.parametrize("gone", ["now", "then"])
def test_evidentlys_own_drift_and_summary_survive_columns_without_values(known: float, gone: str) -> None:
    """They raised: an alarm was lost, and monitoring stopped, just when a feed or the labels failed."""
    contract = contract_of("binary")
    now, then = (
        frame(window(seed, first, days), contract, seed, known=known)
        for seed, first, days in ((10, 56, 7), (0, 0, 56))
    )
    empty = now if gone == "now" else then
    empty["temperature"], empty["place"] = np.nan, None
    own = [
        ValueDrift(column="temperature", tests=[lt(0.5)]),
        ValueDrift(column="rain", tests=[gt(10)]),
        MaxValue(column="temperature", tests=[lt(1000)]),
        DriftedColumnsCount(tests=[gt(10)]),
        DataDriftPreset(),
        DataDriftPreset(columns=["temperature", "place"]),
        DataSummaryPreset(),
        CalibratedDrift(columns=INPUTS),
    ]
    causes = failed_tests(run_checks(Report(own), now, then, contract, 63 * DAY))
    broken = {one.subject for one in causes if one.kind == "data broken"}
    assert broken >= {"rain", "whole rows"}
    assert gone == "then" or broken >= {"temperature", "place"}


def test_a_week_that_begins_after_a_long_pause_is_not_compared() -> None:
    """Its few days could be compared with the reference's, but not its whole week: monitoring stopped."""
    contract = contract_of("binary")
    now, then = (frame(window(10, first, days), contract, 10) for first, days in ((60, 3), (0, 13)))
    report = Report([RowCount(tests=[gt(0)]), CalibratedDrift(columns=INPUTS, days=(56, 63))])
    assert failed_tests(run_checks(report, now, then, contract, 63 * DAY)) == ()


def test_a_metric_of_quality_needs_the_labelled_rows() -> None:
    """Evidently's message for labels that are missing was about binary and continuous targets."""
    contract, now = contract_of("binary"), frame(window(10, 56, 7), contract_of("binary"), 10, known=0.9)
    report = Report([RowCount(), RocAuc(tests=[gt(0.7)])])
    with pytest.raises(UserError, match=r"LabelledRows\(items=\[RocAuc"):
        run_checks(report, now, now, contract, 63 * DAY)


def test_a_thinned_reference_leaves_the_current_quality_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def quality() -> list[str]:
        tests = checked(window(10, REFERENCE, PERIOD)).tests_results
        return [one.description for one in tests if one.metric_config.params["type"].endswith(":RocAuc")]

    whole = quality()
    monkeypatch.setattr(evidently_quality, "REFERENCE_ROWS", 50)
    assert quality() == whole
    assert len(whole) == 1
    sizes = [len(evidently_quality._labelled(labelled_rows(), most).as_dataframe()) for most in (50, 10**6)]
    assert sizes == [50, 400]


def labelled_rows() -> Dataset:
    chance = np.linspace(0.1, 0.9, 400)
    rows = pd.DataFrame({LABEL_COLUMN: chance > 0.5, FORECAST_COLUMN: chance})
    definition = DataDefinition(numerical_columns=[FORECAST_COLUMN])
    return Dataset.from_pandas(rows.astype(np.float64), data_definition=definition)


def test_runs_of_a_period_lie_in_the_workspace_once(tmp_path: object) -> None:
    snapshot, place = checked(window(10, REFERENCE, PERIOD)), str(tmp_path)
    for _ in range(2):
        add_run("deliveries", snapshot, place)
    workspace = open_workspace(place)
    (project,) = workspace.search_project("deliveries")
    assert len(workspace.list_runs(project.id)) == 1
    assert len(workspace.get_dashboard(project.id).panels) == 4


def test_a_metric_is_one_series_over_the_periods() -> None:
    """The dashboard draws a line for each set of parameters, so what differs by period is no parameter."""

    def parameters(snapshot: Snapshot) -> set[str]:
        results = snapshot.to_snapshot_model().metric_results.values()
        found = [one.metric_value_location.metric.params for one in results if one.metric_value_location]
        return {json.dumps({name: of for name, of in one.items() if name != "tests"}) for one in found}

    calm, faulty = (
        checked(some)
        for some in (
            window(10, REFERENCE, PERIOD),
            changed(window(11, REFERENCE, PERIOD), *FAULTS["missing"]),
        )
    )
    assert parameters(calm) == parameters(faulty)


def test_an_alarm_of_a_class_has_its_name() -> None:
    contract = contract_of("multiclass")
    assert isinstance(contract, MulticlassContract)
    cause = Cause("label-rate shift", "label", "label-rate shift: class 1: label: the rate is higher")
    features = prepared("multiclass").features
    given = (cause,), features, features, synthetic_artifact("multiclass")
    (named,) = explained(*given, contract)
    assert named.sentence == f"label-rate shift: “{contract.label.classes[1]}”: label: the rate is higher"
    assert explained(*given, contract_of("binary")) == (cause,)
