"""The rows of the page that a simulation of months leaves behind; the retraining loop is a stand-in."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from fivestage.cli.simulated_client import Exchange
from fivestage.cli.simulation import Simulation
from fivestage.common.clock import DAY
from fivestage.monitoring.period import MonitoredPeriod
from fivestage.monitoring.retraining import RetrainingDecision, Span
from tests.contract.contracts import contract_of
from tests.monitoring.test_performance import judged, week


def test_a_period_that_is_judged_late_keeps_the_verdict_of_its_day(
    capsys: pytest.CaptureFixture[str],
) -> None:
    contract = contract_of("binary")
    few, enough = (judged(contract, *week(2, 0.08), share=share) for share in (0.1, 1))
    first = MonitoredPeriod(Span(0, 7 * DAY), ("1",), few)
    second = replace(first, span=Span(7 * DAY, 14 * DAY), matured=(replace(first, performance=enough),))
    verdicts = [RetrainingDecision(retrain=False, reason=one) for one in ("of the first", "of the second")]
    results = zip((first, second), verdicts, strict=True)
    loop: Any = SimpleNamespace(monitor_all=lambda: results, follow_verdict=lambda: None)
    nothing: Any = None
    simulation = Simulation(contract, nothing, loop, nothing)
    for one in (first, second):
        simulation._period(Exchange(1, 0, 1), pd.DataFrame(), one.span.start, one.span.end, "")
    assert [(row.bad, row.verdict.rpartition(": ")[2]) for row in simulation.periods] == [
        (True, "of the first"),
        (False, "of the second"),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert [("arrived since: bad" in line, "not judged" in line) for line in lines] == [
        (False, True),
        (True, False),
        (False, True),
    ]
