import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fivestage.artifact.artifact import (
    HISTORY,
    MANIFEST,
    MODEL,
    PARITY,
    Artifact,
    load_artifact,
    save_artifact,
)
from fivestage.artifact.calibration import Calibration
from fivestage.artifact.engine import Engine, predict_table
from fivestage.common.columns import Row
from fivestage.common.errors import UserError
from fivestage.data.event_tables import SMOKE_ROWS, known_between
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.features.definitions import FeatureDefinitions, Reference
from fivestage.features.stores import HOUR, AdditiveEvent, LoggedEvent, OfflineFeatureStore
from fivestage.training import conversion
from fivestage.training.conversion import trees_of
from fivestage.training.estimators import fit_classifier
from fivestage.training.packaging import Fitted, fit_chosen
from fivestage.training.selection import Selection
from tests.synthetic import (
    FEATURES,
    Prepared,
    boosting,
    packaged,
    prepared,
    synthetic_fitted,
    synthetic_problem,
)

AS_OF = 1_713_571_200  # 2024-04-20T00:00:00Z


def ended_and_due(event: Row, reference: Reference) -> list[LoggedEvent]:
    """Count a delivery when it has ended, and again when it was due, which may be later."""
    del reference
    due = event["ended_at"] - event["delay"] * 60
    return [
        AdditiveEvent("ended", event["customer"], event["ended_at"], (1,)),
        AdditiveEvent("due", event["customer"], due, (1,)),
    ]


DEFINITIONS = FeatureDefinitions({"delivery": ended_and_due}, {}, lookback_hours=14 * 24)


def ended(at: int, due: int) -> OfflineFeatureStore:
    """The history of a single delivery that ended at `at` and was due at `due`."""
    delivery = pd.DataFrame(
        {"order_number": [1], "customer": "c01", "delay": (at - due) // 60, "ended_at": at}
    )
    since = AS_OF - DEFINITIONS.lookback_seconds
    events = known_between({"delivery": delivery}, synthetic_problem("binary").contract, since, AS_OF)
    return DEFINITIONS.offline_store(events, {})


def counts(past: OfflineFeatureStore, at: int) -> tuple[Any, Any]:
    """Return how many deliveries of the last day have ended, and how many were due."""
    history = past.history()
    (_, of_ended), (_, of_due) = (history.window(log, "c01", at, 24, 1) for log in ("ended", "due"))
    return of_ended, of_due


def test_the_history_keeps_what_was_known_and_counts_later() -> None:
    early = ended(AS_OF - 60, due=AS_OF + 300)
    assert counts(early, AS_OF) == (1, 0)
    assert counts(early, AS_OF + 300) == (1, 1)


def test_the_history_ends_with_what_is_known() -> None:
    assert counts(ended(AS_OF, due=AS_OF - 300), AS_OF + HOUR) == (1, 1)
    assert counts(ended(AS_OF + 1, due=AS_OF - 300), AS_OF + HOUR) == (0, 0)


def test_the_history_reaches_as_far_back_as_a_feature() -> None:
    start = AS_OF - DEFINITIONS.lookback_seconds
    assert not ended(start, due=start).logs
    assert ended(start + 1, due=start).logs


def test_the_history_answers_as_all_events_do(data: Prepared, artifact: Artifact) -> None:
    """Compare forecasts for the day after the artifact was made, without any later event."""
    at = data.windows.as_of
    known = known_between(data.event_tables.events, data.contract, 0, at)
    due = data.rows[(data.rows["decision_at"] >= at) & (data.rows["decision_at"] < at + 24 * HOUR)]
    decided = due["decision_at"].to_numpy(dtype=np.int64)
    all_events = FEATURES.offline_store(known, artifact.reference)
    expected = predict_table(artifact, FEATURES, due, all_events, decided)
    assert len(due) > 10
    assert np.array_equal(predict_table(artifact, FEATURES, due, artifact.history, decided), expected)


def test_fitting_and_packaging_again_gives_the_same_artifact(
    data: Prepared, artifact: Artifact, tmp_path: Path
) -> None:
    candidates = {"boosting": boosting(data.contract.task)}
    selection = Selection("boosting", {}, artifact.calibration, ())
    again = packaged(data, fit_chosen(data.sample, selection, candidates))
    first = save_artifact(artifact, tmp_path / "first")
    assert save_artifact(again, tmp_path / "again") == first
    assert save_artifact(load_artifact(tmp_path / "first"), tmp_path / "copied") == first
    other = replace(artifact, as_of=artifact.as_of + 1)
    assert save_artifact(other, tmp_path / "other") != first


def test_a_saved_artifact_answers_to_the_last_bit(data: Prepared, artifact: Artifact, tmp_path: Path) -> None:
    save_artifact(artifact, tmp_path / "a")
    seen = data.features.iloc[data.windows.after]
    expected = artifact_forecast(artifact, seen)
    assert np.array_equal(artifact_forecast(load_artifact(tmp_path / "a"), seen), expected)


@pytest.mark.parametrize("name", [MODEL, HISTORY])
def test_a_changed_byte_is_refused(artifact: Artifact, tmp_path: Path, name: str) -> None:
    save_artifact(artifact, tmp_path / "a")
    spoiled = bytearray((tmp_path / "a" / name).read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    (tmp_path / "a" / name).write_bytes(spoiled)
    with pytest.raises(UserError, match=rf"{name} is not the file that was registered"):
        load_artifact(tmp_path / "a")


@pytest.mark.parametrize("name", [MODEL, HISTORY, PARITY, MANIFEST])
def test_a_missing_file_is_refused(artifact: Artifact, tmp_path: Path, name: str) -> None:
    save_artifact(artifact, tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(UserError, match=r"is not a complete artifact .* Train or download it again"):
        load_artifact(tmp_path / "a")


def test_trees_that_convert_into_others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data, few = prepared("binary"), {"boosting": boosting("binary", max_iter=5)}
    selection = Selection("boosting", {}, Calibration(), ())
    train = data.windows.train
    seen, label = data.sample.features[train], data.sample.label[train]
    other = trees_of([fit_classifier(boosting("binary", max_iter=5, learning_rate=0.11), seen, label)])
    fit_chosen(data.sample, selection, few)
    monkeypatch.setattr(conversion, "trees_of", lambda _: other)
    with pytest.raises(UserError, match="scores differ from those of its original model"):
        fit_chosen(data.sample, selection, few)


def test_the_artifact_is_of_the_training_window(data: Prepared, artifact: Artifact, fitted: Fitted) -> None:
    for name in ("channel", "region"):
        assert set(artifact.categories[name]) == set(data.features[name].iloc[data.windows.train])
    assert artifact.features == tuple(data.features)
    assert artifact.contract == data.contract
    assert (artifact.trained_until, artifact.as_of) == (data.windows.holdout_start, data.windows.as_of)
    served = artifact_forecast(artifact, data.features.iloc[data.windows.holdout])
    assert np.abs(served - fitted.holdout).max() < 1e-9


def test_smoke_rows_get_their_answers_from_the_artifacts_own_history(
    artifact: Artifact, data: Prepared
) -> None:
    assert len(artifact.smoke) == SMOKE_ROWS
    engine = Engine(artifact, FEATURES)
    found = [engine.form.forecast(engine.predict([smoke.row])[0]) for smoke in artifact.smoke]
    assert np.abs(np.subtract(found, [smoke.forecast for smoke in artifact.smoke])).max() < 1e-9
    holdout = data.rows.iloc[data.windows.holdout]
    last = holdout[list(data.contract.columns)].tail(1).to_dict(orient="records")[0]
    assert artifact.smoke[-1].row == last
    assert set(last) == set(data.contract.columns)


def test_rows_decided_long_before_the_artifact_was_made_are_smoke_rows_too() -> None:
    """This happens if rows are few or labels are late."""
    data, fitted, early = prepared("binary"), synthetic_fitted("binary"), np.arange(2 * SMOKE_ROWS)
    windows = replace(data.windows, holdout=data.windows.holdout[early])
    sample = replace(fitted.sample, windows=windows)
    artifact = packaged(data, replace(fitted, sample=sample, holdout=fitted.holdout[early]))
    assert len(artifact.smoke) == SMOKE_ROWS
    engine = Engine(artifact, FEATURES)
    found = [(engine.predict([smoke.row])[0].probability,) for smoke in artifact.smoke]
    assert np.abs(np.subtract(found, [smoke.forecast for smoke in artifact.smoke])).max() < 1e-9


def test_nothing_of_another_artifact_is_read(artifact: Artifact, tmp_path: Path) -> None:
    """The digest is compared before any file that the manifest lists is read."""
    digest = save_artifact(artifact, tmp_path / "a")
    assert load_artifact(tmp_path / "a", digest).as_of == artifact.as_of
    (tmp_path / "a" / "history.npz").write_bytes(b"not to be read")
    manifest = json.loads((tmp_path / "a" / MANIFEST).read_text())
    (tmp_path / "a" / MANIFEST).write_text(json.dumps(manifest | {"as_of": 0}))
    with pytest.raises(UserError, match="is not the artifact that was registered"):
        load_artifact(tmp_path / "a", digest)


@pytest.mark.parametrize(
    "change",
    [
        {"checksums": {"../secret": "0"}},
        {"checksums": {}},
        {"model": {"kind": "../secret", "link": "margin", "single": False}},
    ],
)
def test_a_manifest_names_no_file_but_an_artifacts_own(
    artifact: Artifact, tmp_path: Path, change: dict[str, Any]
) -> None:
    save_artifact(artifact, tmp_path / "a")
    (tmp_path / "secret").write_text("of somebody else")
    manifest = json.loads((tmp_path / "a" / MANIFEST).read_text())
    (tmp_path / "a" / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(UserError, match=r"is not a complete artifact \(the manifest"):
        load_artifact(tmp_path / "a")


def test_an_array_that_unpacks_to_too_much_is_not_unpacked(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_artifact(artifact, tmp_path / "a")
    monkeypatch.setattr("fivestage.artifact.artifact.MAX_BYTES", 10_000)
    with pytest.raises(UserError, match=r"more than 10,000 bytes|larger than 10,000 bytes"):
        load_artifact(tmp_path / "a")
