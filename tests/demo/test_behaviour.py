"""Behaviour expected of a model of flights, whatever its scores."""

import numpy as np

from conftest import ProblemSlice
from fivestage.artifact.artifact import Artifact
from fivestage.artifact.engine import Engine
from fivestage.data.labels import labels_of
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.evaluation.metrics import scores
from problem import PROBLEM

CONTRACT = PROBLEM.contract
LEGS = 40  # departures within the last hour


def requests(problem_slice: ProblemSlice, origin: str, start: int) -> list[dict[str, object]]:
    """Return later rows of an origin, moved in time as if all were decided at `start`."""
    after = problem_slice.rows.iloc[problem_slice.windows.after]
    chosen = after[after["origin"] == origin].head(200)[list(CONTRACT.columns)]
    moved = start + CONTRACT.decision.lead_seconds - chosen["scheduled_departure"]
    times = ("scheduled_departure", "scheduled_arrival")
    rows = chosen.assign(**{name: chosen[name] + moved for name in times})
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict(orient="records")]


def test_late_departures_at_the_origin_raise_the_probability(
    problem_slice: ProblemSlice, small_artifact: Artifact
) -> None:
    rows = requests(problem_slice, "EWR", small_artifact.as_of)

    def after(delay: int, origin: str) -> float:
        engine = Engine(small_artifact, PROBLEM.features)
        for number in range(LEGS):
            left = small_artifact.as_of - number * 60
            leg = {"carrier": "UA", "flight": number + 1, "origin": origin, "dest": "IAH"}
            engine.observe("departure", leg | {"scheduled_departure": left - delay, "departed_at": left})
        return float(np.mean([one.probability for one in engine.predict(rows)]))

    assert len(rows) > 50
    assert after(90 * 60, "EWR") > after(0, "EWR") + 0.02
    assert after(90 * 60, "LGA") == after(0, "LGA")  # departures at another origin have no effect


def test_the_model_is_good_enough_and_not_too_good(
    problem_slice: ProblemSlice, small_artifact: Artifact
) -> None:
    after = problem_slice.windows.after
    forecast = artifact_forecast(small_artifact, problem_slice.features.iloc[after])
    found = scores(labels_of(problem_slice.rows.iloc[after], CONTRACT), forecast, CONTRACT.costs)
    assert CONTRACT.gates.suspicious_roc_auc is not None
    assert 0.65 < found["roc_auc"] < CONTRACT.gates.suspicious_roc_auc
    assert found["savings_share"] > 0
