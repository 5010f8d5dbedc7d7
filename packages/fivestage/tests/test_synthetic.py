"""The synthetic problems are realistic: the engine predicts as training did, and the model saves money."""

import numpy as np
import pytest

from fivestage.artifact.engine import Engine
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.evaluation.metrics import scores
from tests.synthetic import TASKS, prepared, synthetic_artifact


@pytest.mark.parametrize("task", TASKS)
def test_the_engine_answers_raw_rows_as_training_did(task: str) -> None:
    artifact = synthetic_artifact(task)
    engine = Engine(artifact, prepared(task).problem.features)
    found = [engine.form.forecast(one) for one in engine.predict([one.row for one in artifact.smoke])]
    assert len(found) > 10
    assert np.allclose(found, [one.forecast for one in artifact.smoke], rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_the_model_saves_money_in_the_holdout_window(task: str) -> None:
    one, holdout = prepared(task), prepared(task).windows.holdout
    forecast = artifact_forecast(synthetic_artifact(task), one.features.iloc[holdout])
    assert scores(one.sample.label[holdout], forecast, one.contract.costs)["savings_share"] > 0.2
