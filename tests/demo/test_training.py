"""The connections between the steps of a training; nothing runs."""

import pytest

from pipelines.training import training


@pytest.mark.parametrize("kept", ["", "4"])
def test_the_model_waits_for_the_data_alone_and_the_evaluation_for_the_probes_too(kept: str) -> None:
    training.prepare("data", "registry", "2013-09-01", kept, kept)
    waits = {name: step.upstream_steps for name, step in training.invocations.items()}
    assert waits["train_model"] == {"ingest", "featurise"}
    assert waits["evaluate_challenger"] == {"ingest", "featurise", "train_model", "probe_for_leakage"}
    assert waits["promote_challenger"] == {"train_model", "evaluate_challenger"}
    assert training.invocations["train_model"].parameters["same_settings_as"] == kept
