import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import create_engine

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.engine import predict_table
from fivestage.artifact.predictions import form_of
from fivestage.common.columns import Floats
from fivestage.common.database import connect, require_no_secret
from fivestage.common.errors import UserError
from fivestage.contract.contract import ColumnRule, Contract, NumberColumn
from fivestage.data.event_tables import EventTables
from fivestage.deployment.batch_scoring import (
    BatchModel,
    BatchResult,
    artifact_forecast,
    read_batch,
    write_batch,
)
from fivestage.features.problem import Problem
from tests.synthetic import FEATURES, SyntheticProblem, prepared, synthetic_artifact

ELSEWHERE = Path(tempfile.gettempdir())

SCORED = 40
TIMES = ("deliver_at",)


@dataclass(frozen=True)
class Batch:
    """Some rows of a problem as a person writes them, its events, its model and the model's predictions."""

    problem: Problem
    artifact: Artifact
    events: EventTables
    rows: pd.DataFrame
    predictions: Floats

    @property
    def contract(self) -> Contract:
        return self.problem.contract


def batch_of(task: str) -> Batch:
    made, artifact = prepared(task), synthetic_artifact(task)
    rows = made.rows[[*made.contract.columns]].dropna().iloc[-SCORED:].reset_index(drop=True)
    rows.loc[3, "customer"] = "NA"  # somebody's code, which is not a gap
    at = rows["deliver_at"].to_numpy(dtype=np.int64) - made.contract.decision.lead_seconds
    past = FEATURES.offline_store(made.event_tables.events, artifact.reference)
    predictions = predict_table(artifact, FEATURES, rows, past, at)
    return Batch(made.problem, artifact, made.event_tables, written(rows), predictions)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of("binary")


def written(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with their timestamps as ISO 8601 texts."""
    texts = {name: pd.to_datetime(rows[name], unit="s").dt.strftime("%Y-%m-%dT%H:%M:%SZ") for name in TIMES}
    return rows.assign(**texts)


def score(batch: Batch, source: object, target: object, quarantine: Path = ELSEWHERE) -> BatchResult:
    model = BatchModel("1", batch.artifact.contract, partial(artifact_forecast, batch.artifact))
    return model.score(batch.problem, batch.events, str(source), str(target), quarantine)


def put(rows: pd.DataFrame, place: str) -> str:
    if "://" in place:
        url, _, table = place.partition("#")
        rows.to_sql(table, create_engine(url), index=False)
    elif place.endswith(".parquet"):
        rows.assign(**{name: pd.to_datetime(rows[name]) for name in TIMES}).to_parquet(place, index=False)
    else:
        rows.to_csv(place, index=False)
    return place


def test_a_problem_may_read_its_own_batches(batch: Batch, tmp_path: Path) -> None:
    class OwnReader(SyntheticProblem):
        def read_batch(self, source: str, contract: Contract) -> pd.DataFrame | None:
            assert (source, contract) == ("anywhere", batch.contract)
            return batch.rows

    own = replace(batch, problem=OwnReader(batch.contract))
    assert score(own, "anywhere", tmp_path / "out.csv").rows == SCORED


def place(folder: Path, form: str, name: str) -> str:
    return f"sqlite:///{folder}/{name}.sqlite#orders" if form == "table" else f"{folder}/{name}.{form}"


@pytest.mark.parametrize("target_form", ["csv", "parquet", "table"])
@pytest.mark.parametrize("source_form", ["csv", "parquet", "table"])
def test_every_form_in_and_out_gives_the_answers_of_the_engine(
    batch: Batch, tmp_path: Path, source_form: str, target_form: str
) -> None:
    source = put(batch.rows, place(tmp_path, source_form, "in"))
    target = place(tmp_path, target_form, "out")
    scored = score(batch, source, target)
    answers = read_batch(target)
    acted = batch.artifact.decide(batch.predictions)
    assert (scored.rows, scored.decisions["call"], scored.quarantined) == (SCORED, int(acted.sum()), 0)
    assert 0 < scored.decisions["call"] < SCORED
    np.testing.assert_allclose(answers["probability"], batch.predictions, rtol=0, atol=1e-12)
    assert answers["decision"].tolist() == np.where(acted, "call", "wait").tolist()
    assert answers["model_version"].astype(str).unique().tolist() == ["1"]
    for name in TIMES:
        moments = pd.to_datetime(answers[name], utc=True)
        assert (moments == pd.to_datetime(batch.rows[name])).all()
    others = [name for name in batch.contract.columns if name not in TIMES]
    assert (answers[others] == batch.rows[others]).all(axis=None)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_every_task_is_scored(task: str, tmp_path: Path) -> None:
    batch = batch_of(task)
    scored = score(batch, put(batch.rows, f"{tmp_path}/in.csv"), tmp_path / "out.csv")
    answers = read_batch(f"{tmp_path}/out.csv")
    form = form_of(batch.contract)
    np.testing.assert_allclose(answers[[*form.columns]], batch.predictions, rtol=1e-9)
    decisions = form.decided(batch.artifact.decide(batch.predictions)).tolist()
    assert answers["decision"].tolist() == pytest.approx(decisions)
    assert sum(scored.decisions.values()) == (SCORED if task == "multiclass" else 0)


def test_whole_numbers_with_gaps_stay_whole(batch: Batch, tmp_path: Path) -> None:
    visits = NumberColumn(type="integer", about="visits", min=0, max=9, example=2, nullable=True)
    columns = dict(batch.contract.columns) | {"visits": visits}
    own = replace(batch, problem=SyntheticProblem(batch.contract.model_copy(update={"columns": columns})))
    rows = batch.rows.assign(visits=pd.array([2, None] * (SCORED // 2), dtype="Int64"))
    score(own, put(rows, f"{tmp_path}/in.csv"), f"{tmp_path}/out.csv")
    assert pd.read_csv(f"{tmp_path}/out.csv", dtype="str")["visits"].dropna().unique().tolist() == ["2"]


def test_epoch_seconds_are_moments_too(batch: Batch, tmp_path: Path) -> None:
    second = pd.Timedelta(seconds=1)
    start = pd.Timestamp(0, tz="UTC")
    seconds = {name: (pd.to_datetime(batch.rows[name]) - start) // second for name in TIMES}
    source = put(batch.rows.assign(**seconds), f"{tmp_path}/in.csv")
    score(batch, source, f"{tmp_path}/out.csv")
    answers = read_batch(f"{tmp_path}/out.csv")
    np.testing.assert_allclose(answers["probability"], batch.predictions, rtol=0, atol=1e-12)


def test_na_is_a_code_and_not_a_gap(batch: Batch, tmp_path: Path) -> None:
    source = put(batch.rows, f"{tmp_path}/in.csv")
    assert score(batch, source, f"{tmp_path}/out.csv").quarantined == 0
    answers = read_batch(f"{tmp_path}/out.csv")
    assert answers["customer"][3] == "NA"


def test_bad_rows_are_put_beside_the_answers_with_reasons(batch: Batch, tmp_path: Path) -> None:
    rows = batch.rows.copy()
    rows.loc[1, "channel"] = "fax"
    rows.loc[5, "deliver_at"] = str(rows.loc[5, "deliver_at"]).removesuffix("Z")
    rows.loc[7, "amount"] = 7000.0
    rows.loc[8, "customer"] = None
    target = tmp_path / "out.csv"
    scored = score(batch, put(rows, f"{tmp_path}/in.csv"), target)
    bad = pd.read_csv(f"{target}.quarantine.csv")
    assert (scored.rows, scored.quarantined) == (SCORED - 4, 4)
    assert scored.quarantine == f"{target}.quarantine.csv"
    assert bad["row"].tolist() == [1, 5, 7, 8]
    words = ("channel fax: not one of web", "deliver_at 2024", "amount 7000.0: outside", "customer:")
    assert all(word in reason for word, reason in zip(words, bad["reason"], strict=True))
    assert "not a time in ISO 8601 with a zone" in bad["reason"][1]
    kept = np.delete(batch.predictions, [1, 5, 7, 8])
    np.testing.assert_allclose(read_batch(str(target))["probability"], kept, rtol=0, atol=1e-12)


def test_a_row_that_breaks_a_rule_between_columns_is_put_aside(batch: Batch, tmp_path: Path) -> None:
    rules = (ColumnRule.model_validate("order_number > amount"),)
    ruled = replace(batch, problem=SyntheticProblem(batch.contract.model_copy(update={"rules": rules})))
    rows = batch.rows.copy()
    rows.loc[2, ["order_number", "amount"]] = (1, 50.0)
    scored = score(ruled, put(rows, f"{tmp_path}/in.csv"), tmp_path / "out.csv")
    assert (scored.rows, scored.quarantined) == (SCORED - 1, 1)
    (reason,) = pd.read_csv(scored.quarantine)["reason"]
    assert "breaks the rule order_number > amount" in reason


def test_a_batch_of_bad_rows_alone_gives_no_answers(batch: Batch, tmp_path: Path) -> None:
    source = put(batch.rows.assign(channel="fax"), f"{tmp_path}/in.csv")
    scored = score(batch, source, f"{tmp_path}/out.csv")
    assert (scored.rows, scored.decisions, scored.quarantined) == (0, {}, SCORED)
    assert read_batch(f"{tmp_path}/out.csv").empty


def test_the_quarantine_of_a_table_is_a_file_of_ours(batch: Batch, tmp_path: Path) -> None:
    source = put(batch.rows.assign(channel="fax"), f"{tmp_path}/in.csv")
    scored = score(batch, source, place(tmp_path, "table", "out"), tmp_path / "quarantine")
    assert Path(scored.quarantine) == tmp_path / "quarantine" / "scoring.csv"
    assert len(pd.read_csv(scored.quarantine)) == SCORED


@pytest.mark.parametrize("name", ["amount", "deliver_at"])
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
    with pytest.raises(UserError, match=r"cannot be written: the table orders already exists"):
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
    table = f"{database}#orders"
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
    with pytest.raises(UserError, match=r"host/db#t: the password would be saved.*write \$NAME") as error:
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
