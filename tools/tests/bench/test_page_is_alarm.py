"""The report and the alarm agree for all faults of the benchmark, each in one column of a table."""

import numpy as np
import pytest
from evidently import Dataset, Report
from evidently.legacy.tests.base_test import TestStatus

from fivestage.monitoring.causes import failed_tests
from fivestage.monitoring.daily_statistics import Window
from fivestage.monitoring.drift import DAY_COLUMN, Reference, calibrate, compare
from fivestage.monitoring.evidently_drift import CalibratedDrift
from tests.monitoring.test_drift import PERIOD, REFERENCE, window
from tools.bench.faults import faults

USUAL = window(0, 0, REFERENCE)
FAULTS = {fault.name: fault for fault in faults(USUAL.frame, np.asarray(USUAL.day))}


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(USUAL)


def dataset(some: Window) -> Dataset:
    return Dataset.from_pandas(some.frame.assign(**{DAY_COLUMN: some.day}))


@pytest.mark.parametrize("name", FAULTS)
def test_tests_of_the_page_are_the_alarm(name: str, reference: Reference) -> None:
    current = FAULTS[name].put(window(10, REFERENCE, PERIOD), USUAL.frame, np.random.default_rng(1))
    snapshot = Report([CalibratedDrift(columns=list(USUAL.frame))]).run(dataset(current), dataset(USUAL))
    findings = compare(reference, current, calibrate(reference.statistics, PERIOD, 0.01))
    drifted = {(one.column, one.statistic) for one in findings if one.drifted}
    broken = {(one.column, one.statistic) for one in findings if one.is_broken}
    params = [(one.status, one.metric_config.params) for one in snapshot.tests_results]
    on_page = {
        status: {(one["column"], one["statistic"]) for which, one in params if which == status}
        for status in (TestStatus.WARNING, TestStatus.FAIL)
    }
    assert on_page[TestStatus.WARNING] == drifted
    assert on_page[TestStatus.FAIL] == broken
    causes = failed_tests(snapshot)
    assert {one.subject for one in causes} == {column for column, _ in drifted}
    assert {one.subject for one in causes if one.kind == "data broken"} == {column for column, _ in broken}
    descriptions = [one.description for one in snapshot.tests_results if one.status != TestStatus.SUCCESS]
    for cause in causes:
        sentence = cause.sentence.rpartition(", ")[0]
        assert any(one.startswith(f"{sentence}: Actual value ") for one in descriptions)
