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
from fivestage.common.errors import UserError
from fivestage.data.event_tables import SMOKE_ROWS, known_between
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.features.stores import HOUR, OfflineFeatureStore
from fivestage.training import conversion
from fivestage.training.conversion import trees_of
from fivestage.training.estimators import fit_classifier, with_settings
from fivestage.training.packaging import Fitted, fit_chosen
from fivestage.training.selection import Selection
from problem import PROBLEM
from tests.conftest import CANDIDATES, Slice, packaged

AS_OF = 1_380_585_600  # 2013-10-01T00:00:00Z
LEG = {"carrier": ["UA"], "flight": [1], "origin": ["EWR"], "dest": ["IAH"]}


def left(known: int, due: int) -> OfflineFeatureStore:
    """The history of a single departure that left at `known` and was due at `due`."""
    departure = pd.DataFrame({**LEG, "scheduled_departure": [due], "departed_at": [known]})
    since = AS_OF - PROBLEM.features.lookback_seconds
    events = known_between({"departure": departure}, PROBLEM.contract, since, AS_OF)
    return PROBLEM.features.offline_store(events, {"region": {}})


def waiting(past: OfflineFeatureStore, at: int) -> Any:
    return past.history().window("waiting/origin", "EWR", at, 24, 1)


def test_the_history_keeps_what_was_known_and_counts_later() -> None:
    early = left(known=AS_OF - 60, due=AS_OF + 300)
    assert waiting(early, AS_OF) == (0, 0)
    assert waiting(early, AS_OF + 300) == (1, -1)
    assert early.history().window("left/origin", "EWR", AS_OF, 1, 2) == (1, 0, -6)


def test_the_history_ends_with_what_is_known() -> None:
    assert waiting(left(known=AS_OF, due=AS_OF - 300), AS_OF + HOUR) == (1, -1)
    assert waiting(left(known=AS_OF + 1, due=AS_OF - 300), AS_OF + HOUR) == (0, 0)


def test_the_history_reaches_as_far_back_as_a_feature() -> None:
    start = AS_OF - PROBLEM.features.lookback_seconds
    assert not left(known=start, due=start).logs
    assert left(known=start + 1, due=start).logs


def test_the_history_answers_as_all_events_do(real: Slice, artifact: Artifact) -> None:
    """Up to the day after it was made, when nothing more was heard."""
    at = real.windows.as_of
    heard = known_between(real.event_tables.events, real.contract, 0, at)
    due = real.rows[(real.rows["decision_at"] >= at) & (real.rows["decision_at"] < at + 24 * HOUR)]
    asked = due["decision_at"].to_numpy(dtype=np.int64)
    expected = predict_table(
        artifact, PROBLEM.features, due, PROBLEM.features.offline_store(heard, artifact.reference), asked
    )
    assert len(due) > 100
    assert np.array_equal(predict_table(artifact, PROBLEM.features, due, artifact.history, asked), expected)


def test_fitting_and_packaging_again_gives_the_same_artifact(
    real: Slice, artifact: Artifact, tmp_path: Path
) -> None:
    selection = Selection("boosting", {}, artifact.calibration, ())
    again = packaged(real, fit_chosen(real.sample, real.windows, selection, real.contract, CANDIDATES))
    first = save_artifact(artifact, tmp_path / "first")
    assert save_artifact(again, tmp_path / "again") == first
    assert save_artifact(load_artifact(tmp_path / "first"), tmp_path / "copied") == first
    other = replace(artifact, calibration=Calibration(1.0))
    assert save_artifact(other, tmp_path / "other") != first


def test_a_saved_artifact_answers_to_the_last_bit(real: Slice, artifact: Artifact, tmp_path: Path) -> None:
    save_artifact(artifact, tmp_path / "a")
    seen = real.features.iloc[real.windows.after]
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


@pytest.mark.parametrize("name", [MODEL, "trees.npz", HISTORY, PARITY, MANIFEST])
def test_a_missing_file_is_refused(artifact: Artifact, tmp_path: Path, name: str) -> None:
    save_artifact(artifact, tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(UserError, match=r"is not a whole artifact .* Train or download it again"):
        load_artifact(tmp_path / "a")


def test_trees_that_convert_into_others_are_refused(real: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"boosting": with_settings(CANDIDATES["boosting"], {"max_iter": 5})}
    selection = Selection("boosting", {}, Calibration(), ())
    train = real.windows.train
    other = trees_of(
        [
            fit_classifier(
                with_settings(few["boosting"], {"learning_rate": 0.11}),
                real.sample.features[train],
                real.sample.label[train],
            )
        ]
    )
    fit_chosen(real.sample, real.windows, selection, real.contract, few)
    monkeypatch.setattr(conversion, "trees_of", lambda _: other)
    with pytest.raises(UserError, match="otherwise than the model it was made from"):
        fit_chosen(real.sample, real.windows, selection, real.contract, few)


def test_the_artifact_is_of_the_training_window(real: Slice, artifact: Artifact, fitted: Fitted) -> None:
    seen = set(real.features["carrier"].iloc[real.windows.train])
    assert set(artifact.categories["carrier"]) == seen
    assert artifact.features == tuple(real.features)
    assert artifact.contract == real.contract
    assert (artifact.trained_until, artifact.as_of) == (real.windows.holdout_start, real.windows.as_of)
    served = artifact_forecast(artifact, real.features.iloc[real.windows.holdout])
    assert np.abs(served - fitted.holdout).max() < 1e-9


def test_smoke_rows_get_their_answers_from_the_artifacts_own_history(artifact: Artifact, real: Slice) -> None:
    assert len(artifact.smoke) == SMOKE_ROWS
    engine = Engine(artifact, PROBLEM.features)
    found = [(engine.predict([smoke.row])[0].probability,) for smoke in artifact.smoke]
    assert np.abs(np.subtract(found, [smoke.forecast for smoke in artifact.smoke])).max() < 1e-9
    holdout = real.rows.iloc[real.windows.holdout]
    last = holdout[list(real.contract.columns)].tail(1).to_dict(orient="records")[0]
    assert artifact.smoke[-1].row == last
    assert set(last) == set(real.contract.columns)


def test_rows_decided_long_before_the_artifact_was_made_are_smoke_rows_too(
    real: Slice, fitted: Fitted
) -> None:
    """As where rows are few, or labels come late."""
    early = np.arange(2 * SMOKE_ROWS)
    windows = replace(real.windows, holdout=real.windows.holdout[early])
    artifact = packaged(replace(real, windows=windows), replace(fitted, holdout=fitted.holdout[early]))
    assert len(artifact.smoke) == SMOKE_ROWS
    found = [
        (Engine(artifact, PROBLEM.features).predict([smoke.row])[0].probability,) for smoke in artifact.smoke
    ]
    assert np.abs(np.subtract(found, [smoke.forecast for smoke in artifact.smoke])).max() < 1e-9


def test_nothing_of_another_artifact_is_read(artifact: Artifact, tmp_path: Path) -> None:
    """Its digest is compared before what its manifest names is followed."""
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
        {"model": {"kind": "trees", "files": 10**9, "link": "margin", "single": False}},
        {"model": {"kind": "../secret", "files": 1, "link": "margin", "single": False}},
    ],
)
def test_a_manifest_names_no_file_but_an_artifacts_own(
    artifact: Artifact, tmp_path: Path, change: dict[str, Any]
) -> None:
    save_artifact(artifact, tmp_path / "a")
    (tmp_path / "secret").write_text("of somebody else")
    manifest = json.loads((tmp_path / "a" / MANIFEST).read_text())
    (tmp_path / "a" / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(UserError, match=r"is not a whole artifact \(the manifest"):
        load_artifact(tmp_path / "a")


def test_an_array_that_unpacks_to_too_much_is_not_unpacked(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_artifact(artifact, tmp_path / "a")
    monkeypatch.setattr("fivestage.artifact.artifact.MAX_BYTES", 100_000)
    with pytest.raises(UserError, match=r"more than 100,000 bytes|larger than 100,000 bytes"):
        load_artifact(tmp_path / "a")
