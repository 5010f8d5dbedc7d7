"""What a person expects of the model, whatever its scores."""

import numpy as np

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.engine import Engine
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.evaluation.metrics import scores
from fivestage.features.stores import HOUR
from problem import PROBLEM
from tests.conftest import Slice


def asked(real: Slice, origin: str) -> list[dict[str, object]]:
    """Rows of an origin that are decided in the hours after the artifact was made."""
    rows, start = real.rows, real.windows.as_of
    soon = (rows["decision_at"] >= start) & (rows["decision_at"] < start + 24 * HOUR)
    chosen = rows[soon & (rows["origin"] == origin)][list(real.contract.columns)]
    # All are decided at once, when the artifact was made.
    moved = start + real.contract.decision.lead_seconds - chosen["scheduled_departure"]
    return [
        {str(name): value for name, value in row.items()}
        for row in chosen.assign(
            scheduled_departure=chosen["scheduled_departure"] + moved,
            scheduled_arrival=chosen["scheduled_arrival"] + moved,
        ).to_dict(orient="records")
    ]


def mean_probability(engine: Engine, rows: list[dict[str, object]]) -> float:
    return float(np.mean([one.probability for row in rows for one in engine.predict([row])]))


def test_late_departures_at_the_origin_raise_the_probability(real: Slice, artifact: Artifact) -> None:
    def after(delay: int, origin: str) -> float:
        engine = Engine(artifact, PROBLEM.features)
        for number in range(40):
            left = artifact.as_of - number * 60
            leg = {"carrier": "UA", "flight": number + 1, "origin": origin, "dest": "IAH"}
            engine.observe("departure", leg | {"scheduled_departure": left - delay, "departed_at": left})
        return mean_probability(engine, rows)

    rows = asked(real, "EWR")
    assert len(rows) > 50
    assert after(90 * 60, "EWR") > after(0, "EWR") + 0.02
    assert after(90 * 60, "LGA") == after(0, "LGA")  # another origin's are not this one's


def test_the_order_of_rows_does_not_matter(real: Slice, artifact: Artifact) -> None:
    features = real.features.iloc[real.windows.after]
    order = np.random.default_rng(0).permutation(len(features))
    expected = artifact_forecast(artifact, features)[order]
    assert np.array_equal(artifact_forecast(artifact, features.iloc[order]), expected)


def test_an_unknown_carrier_gets_a_valid_probability_and_is_told(real: Slice, artifact: Artifact) -> None:
    row = asked(real, "EWR")[0]
    found = Engine(artifact, PROBLEM.features).predict([row | {"carrier": "ZZ"}])[0]
    assert 0 < found.probability < 1
    assert found.unknown == ("carrier",)
    assert Engine(artifact, PROBLEM.features).predict([row])[0].unknown == ()


def test_the_model_is_good_enough_and_not_too_good(real: Slice, artifact: Artifact) -> None:
    after = real.windows.after
    found = scores(
        real.label(after), artifact_forecast(artifact, real.features.iloc[after]), real.contract.costs
    )
    assert 0.65 < found["roc_auc"] < real.contract.gates.suspicious_roc_auc
    assert found["savings_share"] > 0
