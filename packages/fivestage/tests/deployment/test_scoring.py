import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import create_engine

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.engine import predict_table
from fivestage.common.columns import Floats
from fivestage.common.database import connect, require_no_secret
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import EventTables
from fivestage.deployment import batch_scoring as scoring
from fivestage.deployment.batch_scoring import BatchResult, read_batch, write_batch
from problem import PROBLEM, dataset
from tests.flights.world import REFERENCE, made_artifact, made_world

ELSEWHERE = Path(tempfile.gettempdir())

FLIGHTS, ASKED = 400, 40
TIMES = ("scheduled_departure", "scheduled_arrival")


@dataclass(frozen=True)
class Batch:
    """A made-up world with its artifact, some of its rows as a person writes them, and their answers."""

    contract: Contract
    artifact: Artifact
    world: EventTables
    rows: pd.DataFrame
    probability: Floats


@pytest.fixture(scope="module")
def batch() -> Batch:
    contract, made = PROBLEM.contract, made_world(flights=FLIGHTS)
    artifact = made_artifact(made, contract)
    rows = pd.DataFrame(made.rows).iloc[-ASKED:].reset_index(drop=True)
    rows.loc[3, ["carrier", "dest"]] = "NA"  # somebody's code, which is not a gap
    at = rows["scheduled_departure"].to_numpy(dtype=np.int64) - contract.decision.lead_seconds
    probability = predict_table(
        artifact, PROBLEM.features, rows, PROBLEM.features.offline_store(made.events, REFERENCE), at
    )
    events = {kind: pd.DataFrame(frame) for kind, frame in made.events.items()}
    return Batch(contract, artifact, EventTables(events, REFERENCE), written(rows), probability)


def written(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with their moments as ISO 8601 texts."""
    texts = {name: pd.to_datetime(rows[name], unit="s").dt.strftime("%Y-%m-%dT%H:%M:%SZ") for name in TIMES}
    return rows.assign(**texts)


def score(batch: Batch, source: object, target: object, quarantine: Path = ELSEWHERE) -> BatchResult:
    return scoring.score(PROBLEM, batch.world, batch.artifact, "1", str(source), str(target), quarantine)


def put(rows: pd.DataFrame, place: str) -> str:
    if "://" in place:
        url, _, table = place.partition("#")
        rows.to_sql(table, create_engine(url), index=False)
    elif place.endswith(".parquet"):
        rows.assign(**{name: pd.to_datetime(rows[name]) for name in TIMES}).to_parquet(place, index=False)
    else:
        rows.to_csv(place, index=False)
    return place


def test_a_problem_may_read_its_own_batches(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(source: str, contract: Contract) -> pd.DataFrame:
        assert (source, contract) == ("anywhere", batch.contract)
        return batch.rows

    monkeypatch.setattr(dataset, "read_batch", read)
    assert score(batch, "anywhere", tmp_path / "out.csv").rows == ASKED


def place(folder: Path, form: str, name: str) -> str:
    return f"sqlite:///{folder}/{name}.sqlite#flights" if form == "table" else f"{folder}/{name}.{form}"


@pytest.mark.parametrize("target_form", ["csv", "parquet", "table"])
@pytest.mark.parametrize("source_form", ["csv", "parquet", "table"])
def test_every_form_in_and_out_gives_the_answers_of_the_engine(
    batch: Batch, tmp_path: Path, source_form: str, target_form: str
) -> None:
    source = put(batch.rows, place(tmp_path, source_form, "in"))
    target = place(tmp_path, target_form, "out")
    scored = score(batch, source, target)
    answers = read_batch(target)
    acted = batch.artifact.decide(batch.probability)
    assert (scored.rows, scored.decisions["rebook"], scored.quarantined) == (ASKED, int(acted.sum()), 0)
    assert 0 < scored.decisions["rebook"] < ASKED
    np.testing.assert_allclose(answers["probability"], batch.probability, rtol=0, atol=1e-12)
    assert answers["decision"].tolist() == np.where(acted, "rebook", "wait").tolist()
    assert answers["model_version"].astype(str).unique().tolist() == ["1"]
    for name in TIMES:
        moments = pd.to_datetime(answers[name], utc=True)
        assert (moments == pd.to_datetime(batch.rows[name])).all()
    others = [name for name in batch.contract.columns if name not in TIMES]
    assert (answers[others] == batch.rows[others]).all(axis=None)


def test_epoch_seconds_are_moments_too(batch: Batch, tmp_path: Path) -> None:
    second = pd.Timedelta(seconds=1)
    start = pd.Timestamp(0, tz="UTC")
    seconds = {name: (pd.to_datetime(batch.rows[name]) - start) // second for name in TIMES}
    source = put(batch.rows.assign(**seconds), f"{tmp_path}/in.csv")
    score(batch, source, f"{tmp_path}/out.csv")
    answers = read_batch(f"{tmp_path}/out.csv")
    np.testing.assert_allclose(answers["probability"], batch.probability, rtol=0, atol=1e-12)


def test_na_is_a_code_and_not_a_gap(batch: Batch, tmp_path: Path) -> None:
    source = put(batch.rows, f"{tmp_path}/in.csv")
    assert score(batch, source, f"{tmp_path}/out.csv").quarantined == 0
    answers = read_batch(f"{tmp_path}/out.csv")
    assert (answers["carrier"][3], answers["dest"][3]) == ("NA", "NA")


def test_bad_rows_are_put_beside_the_answers_with_reasons(batch: Batch, tmp_path: Path) -> None:
    rows = batch.rows.copy()
    rows.loc[1, "origin"] = "XXX"
    rows.loc[5, "scheduled_departure"] = str(rows.loc[5, "scheduled_departure"]).removesuffix("Z")
    rows.loc[7, "distance"] = 7000.0
    rows.loc[8, "carrier"] = None
    target = tmp_path / "out.csv"
    scored = score(batch, put(rows, f"{tmp_path}/in.csv"), target)
    bad = pd.read_csv(f"{target}.quarantine.csv")
    assert (scored.rows, scored.quarantined) == (ASKED - 4, 4)
    assert scored.quarantine == f"{target}.quarantine.csv"
    assert bad["row"].tolist() == [1, 5, 7, 8]
    words = ("origin XXX: not one of EWR", "scheduled_departure 2013", "distance 7000.0: outside", "carrier:")
    assert all(word in reason for word, reason in zip(words, bad["reason"], strict=True))
    assert "not a moment" in bad["reason"][1]
    kept = np.delete(batch.probability, [1, 5, 7, 8])
    np.testing.assert_allclose(read_batch(str(target))["probability"], kept, rtol=0, atol=1e-12)


def test_a_batch_of_bad_rows_alone_gives_no_answers(batch: Batch, tmp_path: Path) -> None:
    source = put(batch.rows.assign(origin="XXX"), f"{tmp_path}/in.csv")
    scored = score(batch, source, f"{tmp_path}/out.csv")
    assert (scored.rows, scored.decisions, scored.quarantined) == (0, {}, ASKED)
    assert read_batch(f"{tmp_path}/out.csv").empty


def test_the_quarantine_of_a_table_is_a_file_of_ours(batch: Batch, tmp_path: Path) -> None:
    source = put(batch.rows.assign(origin="XXX"), f"{tmp_path}/in.csv")
    scored = score(batch, source, place(tmp_path, "table", "out"), tmp_path / "quarantine")
    assert Path(scored.quarantine) == tmp_path / "quarantine" / "scoring.csv"
    assert len(pd.read_csv(scored.quarantine)) == ASKED


@pytest.mark.parametrize("name", ["distance", "scheduled_arrival"])
def test_a_missing_column_is_a_sentence(batch: Batch, tmp_path: Path, name: str) -> None:
    source = f"{tmp_path}/in.csv"
    batch.rows.drop(columns=name).to_csv(source, index=False)
    with pytest.raises(UserError, match=rf"in\.csv has no column {name}\. Add it"):
        score(batch, source, f"{tmp_path}/out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_batch_is_not_scored_onto_itself(batch: Batch, tmp_path: Path) -> None:
    source = put(batch.rows, f"{tmp_path}/in.csv")
    before = Path(source).read_bytes()
    with pytest.raises(UserError, match=r"in\.csv cannot be scored onto itself: name another output"):
        score(batch, source, source)
    assert Path(source).read_bytes() == before


def test_a_table_that_is_there_is_refused_and_left(batch: Batch, tmp_path: Path) -> None:
    source = put(batch.rows, f"{tmp_path}/in.csv")
    target = put(pd.DataFrame({"mine": [1, 2]}), place(tmp_path, "table", "out"))
    with pytest.raises(UserError, match=r"cannot be written: the table flights already exists"):
        score(batch, source, target)
    pd.testing.assert_frame_equal(read_batch(target), pd.DataFrame({"mine": [1, 2]}))


@pytest.mark.parametrize("source", ["nowhere.csv", "nowhere.parquet", "table"])
def test_what_is_not_there_is_a_sentence(batch: Batch, tmp_path: Path, source: str) -> None:
    here = place(tmp_path, "table", "in") if source == "table" else f"{tmp_path}/{source}"
    with pytest.raises(UserError, match="cannot be read as rows"):
        score(batch, here, f"{tmp_path}/out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("database", ["nodriver://me:secret@host/db", "sqlite://me:secret@/no/where.sqlite"])
def test_a_password_is_in_no_message(batch: Batch, tmp_path: Path, database: str) -> None:
    table = f"{database}#flights"
    source = put(batch.rows, f"{tmp_path}/in.csv")
    for one, other in ((table, f"{tmp_path}/out.csv"), (source, table), (table, table)):
        with pytest.raises(UserError) as caught:
            score(batch, one, other)
        assert "secret" not in str(caught.value)
        assert "***" in str(caught.value)


@pytest.mark.parametrize("kept", ["rows.csv", "sqlite:////a/b#t", "postgresql://me:$DB_PASSWORD@host/db#t"])
def test_what_holds_no_password_may_be_kept(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "p@ss/word")
    require_no_secret(kept)


def test_a_password_is_not_kept_with_the_run() -> None:
    with pytest.raises(UserError, match=r"host/db#t: the password would be kept.*write \$NAME") as error:
        require_no_secret("postgresql://me:secret@host/db#t")
    assert "secret" not in str(error.value)


def test_a_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    word = "p@ss/word"
    monkeypatch.setenv("DB_PASSWORD", word)
    assert connect("postgresql+psycopg://me:$DB_PASSWORD@host/db").url.password == word


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_is_whole_or_as_it_was(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def half(_: pd.DataFrame, path: Path, **_more: Any) -> None:
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    source = put(batch.rows, f"{tmp_path}/in.csv")
    folder = tmp_path / "out"
    target = folder / f"answers.{form}"
    score(batch, source, target)
    before = target.read_bytes()
    monkeypatch.setattr(pd.DataFrame, f"to_{form}", half)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        write_batch(batch.rows, str(target))
    assert target.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [target.name, f"{target.name}.quarantine.csv"]


def test_a_table_is_whole_or_not_there(tmp_path: Path) -> None:
    rows = pd.DataFrame({"fine": [1, 2], "odd": [1, object()]})  # fails in the insert, after the creation
    target = place(tmp_path, "table", "out")
    with pytest.raises(UserError, match="cannot be written"):
        write_batch(rows, target)
    with closing(sqlite3.connect(tmp_path / "out.sqlite")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


@pytest.mark.parametrize("url", ["postgresql://me:secret@host:notaport/db#t", "://secret#t"])
def test_a_malformed_url_is_a_sentence(url: str) -> None:
    with pytest.raises(UserError, match="cannot be read as rows") as error:
        read_batch(url)
    assert "secret@" not in str(error.value).split(" cannot ")[0]
