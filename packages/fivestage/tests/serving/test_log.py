"""The log on each database: nothing twice, nothing lost, in order, through kills and outages."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import msgspec
import numpy as np
import pytest

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.predictions import form_of
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, MulticlassContract
from fivestage.deployment import local_process as local
from fivestage.deployment.service_client import url as url_of
from fivestage.serving.group_commit import Spool
from fivestage.serving.log import count_requests, open_store, predictions
from fivestage.serving.service_settings import Settings
from fivestage.serving.store import EventRecord, PredictionRecord, ShadowRecord, Store
from tests.contract.contracts import contract_of
from tests.serving.conftest import Traffic, deploy, free_port, messages, offline, post_events, running
from tests.serving.databases import Postgres, postgres, program


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres | None]:
    if program("initdb") is None:
        yield None
        return
    with postgres() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, server: Postgres | None) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'log.sqlite'}"
    if server is None:
        pytest.skip("Postgres is not installed")
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS answers, events, shadows")
    return server.url


@pytest.fixture
def present(server: Postgres | None) -> Postgres:
    if server is None:
        pytest.skip("Postgres is not installed")
    return server


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    found = open_store(url)
    yield found
    found.close()


def test_answers_are_read_though_an_action_has_another_name_now(tmp_path: Path) -> None:
    """One that the contract no longer had stopped monitoring for good."""
    contract = contract_of("multiclass")
    form: Any = form_of(contract)
    assert isinstance(contract, MulticlassContract)
    chances: Any = [1.0, *[0.0] * (len(contract.label.classes) - 1)]
    answer = msgspec.json.encode(form.message("a-0001", "1", [form.prediction(chances, ())])).decode()
    actions = {f"{name} now": costs for name, costs in contract.costs.actions.items()}
    changed = contract.costs.model_copy(update={"actions": actions})
    with closing(open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")) as store:
        store.write_answers([PredictionRecord("a-0001", 1.5, "1", 7, 5, "{}", answer)])
        (read,) = predictions(store, contract.model_copy(update={"costs": changed}))
    assert read["forecast"] == tuple(chances)
    assert read["decision"] in contract.costs.actions


def test_a_log_of_version_0_2_is_taken_over(url: str) -> None:
    record = PredictionRecord("a-0001", 1.5, "1", 7, 5, "{}", "{}")
    with closing(open_store(url)) as store:
        store.write_answers([record])
        old = "ALTER TABLE answers RENAME COLUMN event_offset TO heard"
        with store._transaction() as connection:  # type: ignore[attr-defined]
            connection.execute(old)
    for _ in range(2):
        with closing(open_store(url)) as store:
            assert list(store.answers()) == [(1, record)]


def test_a_database_without_an_encoding_gives_text(present: Postgres) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(present.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    with closing(open_store(present.url.removesuffix("/postgres") + "/plain")) as store:
        store.write_answers([answered(1)])
        assert [found for _, found in store.answers()] == [answered(1)]


def test_a_service_may_add_and_hear_and_nothing_else(present: Postgres) -> None:
    """Once the tables are there, its account needs no right to make, change or delete anything."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(present.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE kept")
        connection.execute("CREATE ROLE service LOGIN")
    owners = present.url.removesuffix("/postgres") + "/kept"
    open_store(owners).close()
    with psycopg.connect(owners, autocommit=True) as connection:
        connection.execute("GRANT INSERT ON answers, events, shadows TO service")
        connection.execute("GRANT SELECT ON events TO service")
    with closing(open_store(owners.replace("postgres@", "service@"))) as store:
        store.write_answers([answered(1)])
        assert store.write_events([told(1), told(1)]) == [1, None]
        store.write_shadows([ShadowRecord("a-0001", 2.5, "2", "[0.5]")])
        assert [number for number, _, _ in store.events()] == [1]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            list(store.answers())


def answered(number: int) -> PredictionRecord:
    return PredictionRecord(
        f"a-{number:04}", 1.5 + number, "1", number, 7, '{"rows":[{"é":"\\u0000"}]}', "{}"
    )


def test_requests_are_counted_without_decoding_them(url: str, store: Store) -> None:
    """Each row was decoded, only to be counted; this one is of another contract."""
    store.write_answers([answered(1), answered(2)])
    assert count_requests(url) == 2


def told(number: int, body: str = "{}") -> EventRecord:
    return EventRecord("delivery", f"[{number}]", float(number), body)


def settings_of(tmp_path: Path, artifact: Artifact, url: str, **more: Any) -> Settings:
    deploy(artifact, tmp_path, "1")
    return Settings(folder=tmp_path, database=url, port=free_port(), **more)


def until(reached: Any, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- the store ---


def test_answers_come_back_as_they_went_and_once(store: Store) -> None:
    first = [answered(number) for number in range(5)]
    store.write_answers(first)
    store.write_answers([*first, answered(5)])
    found = list(store.answers())
    assert [answer for _, answer in found] == [answered(number) for number in range(6)]
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert [answer for _, answer in store.answers(numbers[3])] == [answered(4), answered(5)]


def test_more_answers_than_a_page_come_back(store: Store) -> None:
    store.write_answers([answered(number) for number in range(2500)])
    assert [answer.request_id for _, answer in store.answers()] == [f"a-{n:04}" for n in range(2500)]


def test_events_are_numbered_without_gaps_and_the_first_of_an_identity_holds(store: Store) -> None:
    assert store.write_events([told(1), told(2)]) == [1, 2]
    assert store.write_events([told(2, "other"), told(3), told(3, "again"), told(4)]) == [None, 3, None, 4]
    assert store.write_events([told(1), told(4)]) == [None, None]
    assert store.write_events([told(5)]) == [5]
    assert [(number, body) for number, _, body in store.events()] == [(n, "{}") for n in range(1, 6)]
    assert [number for number, _, _ in store.events(3)] == [4, 5]


def test_writers_at_once_lose_nothing_and_skip_no_number(url: str) -> None:
    def write(part: int) -> None:
        mine = open_store(url)
        for step in range(20):
            mine.write_answers([answered(part * 1000 + step)])
            mine.write_events([told(step), told(part * 1000 + step)])
        mine.close()

    open_store(url).close()
    threads = [threading.Thread(target=write, args=(part,)) for part in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = open_store(url)
    assert len(list(store.answers())) == 60
    assert [number for number, _, _ in store.events()] == list(range(1, 81))
    store.close()


def test_a_database_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not supported: use sqlite:///file"):
        open_store("mysql://somewhere")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot be opened"):
        open_store(f"sqlite:///{tmp_path / 'file' / 'log.sqlite'}")
    pytest.importorskip("psycopg")
    with pytest.raises(UserError, match="cannot be opened"):
        open_store(f"postgresql://postgres@127.0.0.1:{free_port()}/none")


# --- the spool ---


def test_what_was_spooled_goes_to_the_database_in_order_and_once(store: Store, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    spool.add([answered(1), answered(2)])
    spool.add([answered(3)])
    assert spool.waiting == 3
    store.write_answers([answered(1)])  # as if the connection broke after the commit
    spool.drain(store)
    assert spool.waiting == spool.count() == 0
    assert [answer for _, answer in store.answers()] == [answered(1), answered(2), answered(3)]
    spool.add([answered(4)])
    spool.drain(store)
    assert len(list(store.answers())) == 4
    spool.close()


def test_what_a_process_spooled_before_it_was_killed_another_moves_on(store: Store, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "spool.sqlite"
    killed, alive = Spool(path), Spool(path)
    assert alive.count() == 0
    killed.add([answered(1), answered(2)])
    assert alive.count() == 2
    alive.drain(store)
    assert [answer for _, answer in store.answers()] == [answered(1), answered(2)]
    killed.add([answered(3)])  # it lives after all, and nothing of its goes lost
    assert killed.count() == 1
    killed.drain(store)
    assert [answer for _, answer in store.answers()] == [answered(1), answered(2), answered(3)]
    killed.close()
    alive.close()


def test_what_a_process_spools_while_two_others_move_answers_is_kept(store: Store, tmp_path: Path) -> None:
    """An empty spool numbers from 1 again: the slower process deleted an answer that it had not moved."""
    path = tmp_path / "spool.sqlite"
    slow, fast = Spool(path), Spool(path)
    slow.add([answered(1), answered(2)])
    meanwhile = Mock()

    def write_answers(answers: list[PredictionRecord]) -> None:
        store.write_answers(answers)
        fast.drain(store)
        fast.add([answered(3)])
        meanwhile.write_answers.side_effect = store.write_answers

    meanwhile.write_answers.side_effect = write_answers
    slow.drain(meanwhile)
    slow.drain(store)
    assert [answer for _, answer in store.answers()] == [answered(1), answered(2), answered(3)]
    slow.close()
    fast.close()


def test_while_the_database_is_away_answers_wait_on_disk(
    tmp_path: Path, artifact: Artifact, traffic: Traffic, contract: Contract
) -> None:
    settings = settings_of(tmp_path, artifact, "")
    with running(settings) as service:
        busy = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
        busy.execute("BEGIN EXCLUSIVE")
        names = [
            service.client.post("/predict", json=traffic.request(0)).json()["request_id"] for _ in range(5)
        ]
        refused = service.client.post("/outcomes", json={"events": messages(traffic.events)[:2]})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        ready = service.client.get("/readyz")
        assert ready.status_code == 200
        assert "wait on disk" in ready.json()["detail"]
        busy.execute("ROLLBACK")
        busy.close()
        until(lambda: service.client.get("/readyz").json()["detail"] == "")
        names.append(service.client.post("/predict", json=traffic.request(0)).json()["request_id"])
        assert [one["request_id"] for one in predictions(service.service.store, contract)] == names
        until(lambda: "answers_spooled 0.0" in service.client.get("/metrics").text)


def test_an_operator_may_choose_no_answer_over_one_that_is_not_logged(
    tmp_path: Path, artifact: Artifact, traffic: Traffic
) -> None:
    with running(settings_of(tmp_path, artifact, "", when_log_fails="refuse")) as service:
        busy = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
        busy.execute("BEGIN EXCLUSIVE")
        assert service.client.post("/predict", json=traffic.request(0)).status_code == 503
        busy.close()
        assert service.client.post("/predict", json=traffic.request(0)).status_code == 200


def test_with_room_nowhere_nothing_is_answered_and_readiness_says_so(
    tmp_path: Path, artifact: Artifact, traffic: Traffic, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError("no space left")

    with running(settings_of(tmp_path, artifact, "")) as service:
        with monkeypatch.context() as patched:
            patched.setattr(service.service.store, "write_answers", full)
            patched.setattr(service.service._spool, "add", full)
            for _ in range(2):
                refused = service.client.post("/predict", json=traffic.request(0))
                assert refused.status_code == 503
                assert refused.headers["retry-after"] == "1"
            assert "no space left" in service.client.get("/readyz").json()["detail"]
        name = service.client.post("/predict", json=traffic.request(0)).json()["request_id"]
        assert service.client.get("/readyz").json()["detail"] == ""
        assert [one["request_id"] for one in predictions(service.service.store, contract)] == [name]


def test_a_postgres_that_goes_and_comes_loses_no_answer(
    tmp_path: Path, artifact: Artifact, traffic: Traffic, contract: Contract, server: Postgres | None
) -> None:
    if server is None:
        pytest.skip("Postgres is not installed")
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS answers, events, shadows")
    with running(settings_of(tmp_path, artifact, server.url)) as service:
        names = []
        for change in (None, server.stop, server.start):
            if change:
                change()
            for _ in range(4):
                answer = service.client.post("/predict", json=traffic.request(0))
                assert answer.status_code == 200, answer.text
                names.append(answer.json()["request_id"])
        until(lambda: service.client.get("/readyz").json()["detail"] == "")
        assert [one["request_id"] for one in predictions(service.service.store, contract)] == names
        post_events(service.client, {"traffic": traffic.events["traffic"]})


def test_a_locked_postgres_is_treated_like_one_that_is_away(
    tmp_path: Path, artifact: Artifact, traffic: Traffic, contract: Contract, present: Postgres
) -> None:
    """Answers waited for as long as the lock was held, as while an operator changes or moves a table."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(present.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS answers, events, shadows")
        with running(settings_of(tmp_path, artifact, present.url)) as service:
            with connection.transaction():
                connection.execute("LOCK TABLE answers, events IN ACCESS EXCLUSIVE MODE")
                (event,) = messages({"traffic": traffic.events["traffic"].iloc[:1]})
                names = []
                for _ in range(3):
                    answer = service.client.post("/predict", json=traffic.request(0), timeout=30)
                    names.append(answer.json()["request_id"])
                assert service.client.post("/outcomes", json=event, timeout=30).status_code == 503
            until(lambda: service.client.get("/readyz").json()["detail"] == "")
            assert [one["request_id"] for one in predictions(service.service.store, contract)] == names


# --- processes that share a database ---


def test_processes_on_one_database_hear_each_others_events(
    url: str, tmp_path: Path, artifact: Artifact, traffic: Traffic
) -> None:
    rows = {"rows": [traffic.request(place) for place in range(len(traffic.at))]}
    one_settings = settings_of(tmp_path / "one", artifact, url, poll_seconds=0.05)
    other_settings = settings_of(tmp_path / "other", artifact, url, poll_seconds=0.05)
    with running(one_settings) as one, running(other_settings) as other:
        for place, (kind, frame) in enumerate(traffic.events.items()):
            post_events((one, other)[place % 2].client, {kind: frame})
        total = sum(1 for _ in one.service.store.events())
        until(lambda: one.service._log_offset == other.service._log_offset == total)
        for service in (one, other):
            found = service.client.post("/predict", json=rows).json()["predictions"]
            expected = offline(artifact, traffic)
            assert np.allclose([each["probability"] for each in found], expected, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("synthetic_process")
def test_a_kill_loses_no_acknowledged_outcome_and_no_answer(
    url: str, tmp_path: Path, artifact: Artifact, traffic: Traffic, contract: Contract
) -> None:
    settings = settings_of(tmp_path, artifact, url)
    events = messages({"delivery": traffic.events["delivery"]})
    names: list[str] = []
    accepted: list[int] = []

    def ask(client: httpx.Client) -> None:
        names.append(client.post("/predict", json=traffic.request(0)).json()["request_id"])

    def tell(client: httpx.Client) -> None:
        event = events[len(accepted)]
        accepted.append(client.post("/outcomes", json=event).json()["accepted"])

    def forever(step: Any) -> None:
        with httpx.Client(base_url=url_of(settings), timeout=300) as client:
            try:
                while True:
                    step(client)
            except httpx.HTTPError:
                pass

    threads = [threading.Thread(target=forever, args=(step,)) for step in (ask, ask, tell)]
    process = local.start(settings, 120)
    try:
        for thread in threads:
            thread.start()
        until(lambda: len(names) > 60 and len(accepted) > 30)
    finally:
        os.kill(process, signal.SIGKILL)
    for thread in threads:
        thread.join()
    store = open_store(url)
    assert set(names) <= {one["request_id"] for one in predictions(store, contract)}
    assert sum(1 for _ in store.events()) >= sum(accepted)
    store.close()
