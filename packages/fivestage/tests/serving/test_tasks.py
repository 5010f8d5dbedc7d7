"""Several classes and numbers over HTTP: the answers of offline evaluation, in messages of their contract."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import treelite
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from fivestage.artifact.artifact import load_artifact, save_artifact
from fivestage.artifact.calibration import MulticlassCalibration, RegressionCalibration
from fivestage.artifact.engine import Engine
from fivestage.artifact.predictions import MulticlassForm, form_of, numbers_in
from fivestage.common.columns import Floats
from fivestage.contract.contract import BinaryContract, MulticlassContract
from fivestage.serving.log import open_store, predictions
from fivestage.training.treelite_trees import trees_from
from tests.serving.conftest import Running, Traffic, deploy, offline, post_events, running, traffic_of
from tests.synthetic import CLASSES, FEATURES, synthetic_artifact, synthetic_problem

TASKS = ("multiclass", "regression")
ROWS = 200


def learnt(task: str, table: Floats, target: Floats) -> tuple[list[Any], Any]:
    """Trees of a task."""
    settings: dict[str, Any] = {"max_iter": 8, "max_leaf_nodes": 9, "random_state": 0}
    if task == "multiclass":
        label = np.digitize(target, [-0.5, 0, 0.5])
        return [HistGradientBoostingClassifier(**settings).fit(table, label)], MulticlassCalibration(0.8)
    losses: list[dict[str, Any]] = [{"loss": "squared_error"}]
    losses += [{"loss": "quantile", "quantile": level} for level in (0.1, 0.9, 0.75)]
    models = [HistGradientBoostingRegressor(**settings, **loss).fit(table, target) for loss in losses]
    return models, RegressionCalibration(-0.5, 0.7, 0.1, 0.3)


def margins_of(task: str, models: list[Any], table: Floats) -> Floats:
    """What scikit-learn itself answers."""
    if task == "multiclass":
        return np.asarray(models[0].decision_function(table))
    return np.column_stack([model.predict(table) for model in models])


@pytest.mark.parametrize("task", TASKS)
def test_compiled_trees_of_several_outputs_answer_as_scikit_learn_does(task: str) -> None:
    artifact, random = synthetic_artifact(task), np.random.default_rng(0)
    table = random.normal(size=(600, len(artifact.features)))
    target = table[:, 0] + random.normal(0, 0.2, 600)
    table[random.random(table.shape) < 0.2] = np.nan
    models, calibration = learnt(task, table, target)
    stored = trees_from([treelite.sklearn.import_model(model) for model in models])
    engine = Engine(replace(artifact, models=stored, calibration=calibration), FEATURES)
    assert engine.scorer.why_slow == ""
    assert np.allclose(engine.scorer.margins(table), margins_of(task, models, table), rtol=1e-12, atol=1e-9)
    forecast = engine.scorer.forecast(table)
    assert np.allclose(
        [engine.scorer.forecast_one(row) for row in table.tolist()], forecast, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("task", TASKS)
def test_an_artifact_comes_back_whole(task: str, tmp_path: Path) -> None:
    digest = save_artifact(synthetic_artifact(task), tmp_path / "first")
    back = load_artifact(tmp_path / "first")
    assert repr(back.calibration) == repr(synthetic_artifact(task).calibration)
    assert save_artifact(back, tmp_path / "again") == digest


def asked(live: Running, traffic: Traffic, rows: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for start in range(0, rows, 50):
        body = {"rows": [traffic.request(i) for i in range(start, start + 50)]}
        answer = live.client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        found += answer.json()["predictions"]
    return found


@pytest.mark.parametrize("task", TASKS)
def test_raw_rows_get_the_offline_answers_and_they_are_in_the_log(task: str, tmp_path: Path) -> None:
    artifact, traffic = synthetic_artifact(task), traffic_of(task)
    deployed = deploy(artifact, tmp_path, "1")
    expected = offline(artifact, traffic)[:ROWS]
    with running(deployed.settings, problem=deployed.problem) as live:
        post_events(live.client, traffic.events)
        found = asked(live, traffic, ROWS)
        alone = [live.client.post("/predict", json=traffic.request(i)).json() for i in range(5)]
        metrics = live.client.get("/metrics").text
    assert np.allclose([numbers_in(one) for one in found], expected, rtol=1e-12, atol=1e-12)
    told = [one["decision"] for one in found]
    decided = form_of(artifact.contract).decided(artifact.decide(expected)).tolist()
    if task == "multiclass":
        assert told == decided
        assert len(set(told)) > 1
        assert list(found[0]["probabilities"]) == list(CLASSES)
        assert f'decision="{told[0]}"' in metrics
    else:
        assert np.allclose(told, decided)
        assert all(one["low"] <= one["value"] <= one["high"] for one in found)
        assert 'decision="number"' in metrics
    assert [one["predictions"][0] for one in alone] == found[:5]
    assert "threshold" not in alone[0]
    with closing(open_store(deployed.settings.database_url)) as store:
        logged = list(predictions(store, artifact.contract))
    assert [one["forecast"] for one in logged[:ROWS]] == [numbers_in(one) for one in found]
    assert [one["decision"] for one in logged[:ROWS]] == told


@pytest.mark.parametrize("task", TASKS)
def test_reasons_add_up_to_what_they_explain(task: str, tmp_path: Path) -> None:
    deployed, traffic = deploy(synthetic_artifact(task), tmp_path, "1"), traffic_of(task)
    with running(deployed.settings, problem=deployed.problem) as live:
        post_events(live.client, traffic.events)
        rows = [traffic.request(i) for i in range(8)]
        found = live.client.post("/predict?explain=true", json={"rows": rows}).json()["predictions"]
    for one in found:
        reasons = one["reasons"]
        added = sum(part.get("log_odds", part.get("adds")) for part in reasons["strongest"])
        total = reasons["average"] + added + reasons["rest"]
        if task == "regression":
            assert total == pytest.approx(one["value"])
            continue
        chance = np.array(list(one["probabilities"].values()))
        likeliest = int(chance.argmax())
        assert reasons["of"] == CLASSES[likeliest]
        assert total == pytest.approx(np.log(chance[likeliest]) - np.log(chance).mean())


@pytest.mark.parametrize("task", TASKS)
def test_the_other_protocol_the_document_and_the_page_follow_the_task(task: str, tmp_path: Path) -> None:
    artifact, traffic = synthetic_artifact(task), traffic_of(task)
    deployed = deploy(artifact, tmp_path, "1")
    with running(deployed.settings, problem=deployed.problem) as live:
        name = artifact.contract.name
        described = live.client.get(f"/v2/models/{name}").json()["outputs"]
        row = traffic.request(0)
        inputs = [
            {"name": key, "shape": [2], "datatype": "BYTES", "data": [value] * 2}
            for key, value in row.items()
        ]
        given = live.client.post(f"/v2/models/{name}/infer", json={"inputs": inputs}).json()["outputs"]
        plain = live.client.post("/predict", json=row).json()["predictions"][0]
        document = live.client.get("/openapi.json").json()["components"]["schemas"]
        page = live.client.get("/").text
        model = live.client.get("/model").json()
    assert [one["name"] for one in described] == [one["name"] for one in given]
    numbers = list(numbers_in(plain))
    if task == "multiclass":
        assert given[0]["shape"] == [2, len(CLASSES)]
        assert given[0]["data"] == numbers * 2
        assert given[1]["data"] == [plain["decision"]] * 2
        assert set(document["Probabilities"]["properties"]) == set(CLASSES)
        assert document["Prediction"]["properties"]["decision"]["enum"] == ["call", "nothing", "warn"]
    else:
        assert [one["data"] for one in given] == [[number] * 2 for number in numbers]
        assert set(document["NumberPrediction"]["properties"]) >= {"value", "low", "high", "decision"}
    assert f'"task": "{task}"' in page
    assert model["contract"]["costs"] == json.loads(artifact.contract.costs.model_dump_json())


def test_an_answer_to_act_or_to_wait_has_the_shape_it_always_had() -> None:
    contract = synthetic_problem("binary").contract
    assert isinstance(contract, BinaryContract)
    form = form_of(contract)
    assert form.answer.__struct_fields__ == ("request_id", "model_version", "threshold", "predictions")
    assert form.prediction(0.9, ()).decision == contract.decision.act
    assert numbers_in({"probability": 0.25, "decision": "wait"}) == (0.25,)


def test_of_equally_cheap_actions_the_first_is_taken() -> None:
    contract = synthetic_problem("multiclass").contract
    assert isinstance(contract, MulticlassContract)
    prices = {"a": [1.0, 0.0, 5.0, 5.0], "b": [0.0, 1.0, 5.0, 5.0]}
    named = {name: dict(zip(CLASSES, row, strict=True)) for name, row in prices.items()}
    costs = contract.costs.model_copy(update={"actions": named})
    form = form_of(contract.model_copy(update={"costs": costs}))
    assert form.prediction([0.5, 0.5, 0.0, 0.0], ()).decision == "a"
    assert form.prediction([0.6, 0.4, 0.0, 0.0], ()).decision == "b"


def test_a_class_may_have_quotes_in_its_name() -> None:
    """Keys of the answer stand without them, as nothing there is escaped."""
    contract = synthetic_problem("multiclass").contract
    assert isinstance(contract, MulticlassContract)
    names = ('size "L"', "a\\b", *contract.label.classes[2:])
    label = contract.label.model_copy(update={"classes": names})
    form = form_of(contract.model_copy(update={"label": label}))
    assert isinstance(form, MulticlassForm)
    one = form.prediction([1 / len(names)] * len(names), ())
    answer = json.loads(msgspec.json.encode(form.message("1", "1", [one])))
    keys = list(answer["predictions"][0]["probabilities"])
    assert keys == ["size 'L'", "a/b", *names[2:]]
