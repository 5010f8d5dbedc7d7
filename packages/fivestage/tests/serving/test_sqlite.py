"""The log's file: commits do not wait for the disk, and the write-ahead log beside it stays small."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fivestage.serving import sqlite
from fivestage.serving.sqlite import SqliteStore
from fivestage.serving.store import PredictionRecord
from tests.serving.conftest import Running, Traffic

BODY = "x" * 1000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "log.sqlite")) as opened:
        yield opened


def write(store: SqliteStore, commits: range) -> None:
    for number in commits:
        records = [PredictionRecord(f"{number}-{place}", 0.0, "1", 0, 5, BODY, BODY) for place in range(10)]
        store.write_answers(records)


def test_the_write_ahead_log_stays_small_while_answers_come_in(store: SqliteStore, tmp_path: Path) -> None:
    """It grew with every answer: 288 MB after 150,000 requests."""
    for start in range(0, 2000, 100):
        write(store, range(start, start + 100))
        store.checkpoint()
    assert (tmp_path / "log.sqlite-wal").stat().st_size < 10_000_000


def test_the_write_ahead_log_is_bounded_where_nobody_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LONGEST_LOG", 1000)
    with closing(SqliteStore(tmp_path / "log.sqlite")) as store:
        write(store, range(500))
        assert (tmp_path / "log.sqlite-wal").stat().st_size < 5_000_000


def test_a_long_write_ahead_log_begins_anew_though_commits_go_on(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint leaves what is written meanwhile: under a steady load there would always be something."""
    monkeypatch.setattr(sqlite, "LONG_LOG", 1000)
    log = tmp_path / "log.sqlite-wal"
    write(store, range(300))
    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as reader:  # as commits do, in its way
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM answers").fetchone()
        write(store, range(300, 310))
        store.checkpoint()
    grown = log.stat().st_size
    write(store, range(310, 500))
    assert log.stat().st_size < grown + 1_000_000


def test_no_commit_waits_for_the_disk_and_a_checkpoint_lets_the_log_begin_anew(
    store: SqliteStore, tmp_path: Path
) -> None:
    """Every few hundredth commit waited for two fsyncs: the slowest hundredth of requests under load."""
    file, log = tmp_path / "log.sqlite", tmp_path / "log.sqlite-wal"
    empty = file.stat().st_size
    write(store, range(300))
    assert file.stat().st_size == empty
    grown = log.stat().st_size
    assert grown > 5_000_000
    store.checkpoint()
    assert file.stat().st_size > 5_000_000
    write(store, range(300, 500))
    assert log.stat().st_size == grown


def test_a_service_moves_its_answers_from_the_log_to_the_file(live: Running, traffic: Traffic) -> None:
    name = live.client.post("/predict", json=traffic.request(0)).json()["request_id"].encode()
    file, until = live.service.settings.folder / "log.sqlite", time.monotonic() + 300
    while name not in file.read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not live.service.background.failing
