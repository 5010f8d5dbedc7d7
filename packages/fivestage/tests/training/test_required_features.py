"""A version whose features the project no longer has is refused by their names, wherever it is asked."""

from dataclasses import replace
from typing import Any

import pytest

from fivestage.artifact.artifact import Artifact, FormatError
from fivestage.artifact.engine import Engine, predict_table
from fivestage.artifact.required_features import MissingFeatureError
from fivestage.evaluation.evaluate import answers_of
from fivestage.features.definitions import FeatureDefinitions
from fivestage.training.selection import Selection
from fivestage.training.version_evaluation import VersionEvaluation
from tests.synthetic import FEATURES, Prepared, prepared, synthetic_artifact

SENTENCE = r"The project no longer has feature weekday, .* Train again \(`make train`\), or restore it"


def without_weekday(*given: Any) -> dict[str, Any]:
    found = FEATURES.sets["order"](*given)
    del found["weekday"]
    return found


LATER = replace(FEATURES, sets={**FEATURES.sets, "order": without_weekday})


@pytest.fixture(scope="module")
def data() -> Prepared:
    return prepared("binary")


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return synthetic_artifact("binary")


def test_it_cannot_be_compared(data: Prepared, artifact: Artifact) -> None:
    with pytest.raises(MissingFeatureError, match=SENTENCE):
        answers_of(artifact, data.features.drop(columns="weekday"))


def test_it_cannot_be_served(artifact: Artifact) -> None:
    with pytest.raises(MissingFeatureError, match=SENTENCE):
        Engine(artifact, LATER)


@pytest.mark.parametrize("sets", [{"order": FEATURES.sets["order"]}, {}])
def test_a_set_that_is_gone_is_named(artifact: Artifact, sets: dict[str, Any]) -> None:
    with pytest.raises(MissingFeatureError, match=r"no longer has .*feature set history"):
        Engine(artifact, FeatureDefinitions(FEATURES.events, sets, FEATURES.lookback_hours))


def test_it_cannot_score_a_table(data: Prepared, artifact: Artifact) -> None:
    past = FEATURES.offline_store(data.event_tables.events, artifact.reference)
    rows = data.rows.tail(10)
    with pytest.raises(MissingFeatureError, match=SENTENCE):
        predict_table(artifact, LATER, rows, past, rows["decision_at"].to_numpy())


def test_it_cannot_be_evaluated(data: Prepared, artifact: Artifact) -> None:
    selection = Selection("boosting", {}, artifact.calibration, ())
    problem, features = replace(data.problem, features=LATER), data.features.drop(columns="weekday")
    with pytest.raises(MissingFeatureError, match=SENTENCE):
        VersionEvaluation.of(problem, artifact, selection, data.rows, data.event_tables, features)


def test_a_column_that_was_added_later_is_said_to_be_new(artifact: Artifact) -> None:
    def with_new_column(*given: Any) -> dict[str, Any]:
        return FEATURES.sets["order"](*given) | {"paid_at": given[0]["paid_at"]}

    reads = (
        r"reads row\['paid_at'\], which is not a column of the contract that this version was trained with: "
    )
    advice = (
        r".* If problem.yaml has it now, train a new version \(`make train`\), or read the column in a new "
    )
    later = replace(FEATURES, sets={**FEATURES.sets, "order": with_new_column})
    with pytest.raises(FormatError, match=reads + advice):
        Engine(artifact, later)
    Engine(artifact, replace(FEATURES, sets={**FEATURES.sets, "later": with_new_column}))


def test_an_evaluation_names_only_the_features_that_the_version_has(
    data: Prepared, artifact: Artifact
) -> None:
    def with_another(*given: Any) -> dict[str, Any]:
        return FEATURES.sets["order"](*given) | {"another": 0.0 * given[1]}

    sets = {"order": with_another, "history": FEATURES.sets["history"], "later": with_another}
    problem = replace(data.problem, features=replace(FEATURES, sets=sets))
    features, selection = (
        data.features.assign(another=0.0),
        Selection("boosting", {}, artifact.calibration, ()),
    )
    found = VersionEvaluation.of(problem, artifact, selection, data.rows, data.event_tables, features)
    assert {name for names in found.sets.values() for name in names} == set(artifact.features)
    assert [sets for sets, _ in found.ablation] == ["order", "order + history"]


def test_more_features_than_it_has_are_no_matter(data: Prepared, artifact: Artifact) -> None:
    more = data.features.assign(another=0.0)
    assert (answers_of(artifact, more).forecast == answers_of(artifact, data.features).forecast).all()
