import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from fastapi.testclient import TestClient
from fivestage.common.errors import UserError
from stand_ins import StandIn

from fivestage_assistant.answering import UNKNOWN, Abstention
from fivestage_assistant.ask_app import create_app
from fivestage_assistant.ask_service import AskSettings
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.passages import Document
from fivestage_assistant.promotion import INDEXES, ServedRelease, release, roll_back
from fivestage_assistant.prompts import DEFAULT
from fivestage_assistant.search_index import SearchIndex, build_index, save_index, without

QUESTION = {"question": "Who may roll back?"}


def served(folder: Path, index: SearchIndex, threshold: float = 0.0, template: str = DEFAULT) -> None:
    save_index(index, folder / INDEXES / index.version)
    rule = Abstention((5.0, 3.0, 3.0, 0.0), -4.6, threshold)
    release(folder, ServedRelease(0, index.version, 1, template, rule, "corpus"), "a test")


@pytest.fixture
def client(tmp_path: Path, small: SearchIndex, contract: AssistantContract) -> Iterator[TestClient]:
    served(tmp_path, small, 0.3)
    with TestClient(create_app(contract, AskSettings(folder=tmp_path, trace=False))) as found:
        yield found


def test_an_answer_has_its_citations_and_versions(client: TestClient, small: SearchIndex) -> None:
    found = client.post("/ask", json=QUESTION).json()
    assert found["kind"] == "extractive"
    assert "on call" in found["answer"]
    cited = found["citations"][0]
    assert (cited["path"], cited["line"]) == ("docs/rollback.md", 3)
    assert (found["index_version"], found["prompt_version"]) == (small.version, 1)
    opened = client.get("/passage", params={"name": cited["passage"]}).json()
    assert [cited["line"], cited["quote"]] in opened["lines"]


def test_a_trace_in_mlflow_has_both_parts_of_an_answer(
    tmp_path: Path, small: SearchIndex, contract: AssistantContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    served(tmp_path, small)
    with TestClient(create_app(contract, AskSettings(folder=tmp_path))) as client:
        answer = client.post("/ask", json=QUESTION).json()
    experiment = mlflow.get_experiment_by_name(contract.name)
    assert experiment
    (trace,) = mlflow.search_traces(locations=[experiment.experiment_id], return_type="list")
    assert {one.name for one in trace.data.spans} == {"ask", "retrieve", "answer"}
    assert (trace.info.tags["request_id"], trace.info.tags["kind"]) == (answer["request_id"], "extractive")


def test_what_is_not_known_is_said(client: TestClient) -> None:
    found = client.post("/ask", json={"question": "Who won the football world cup?"}).json()
    assert (found["kind"], found["answer"], found["citations"]) == ("unknown", UNKNOWN, [])


def test_a_stream_has_sentences_and_then_the_answer(client: TestClient) -> None:
    events = client.post("/ask/stream", json=QUESTION)
    assert events.headers["content-type"].startswith("text/event-stream")
    parsed = [
        dict(line.split(": ", 1) for line in one.splitlines()) for one in events.text.strip().split("\n\n")
    ]
    assert parsed[0]["event"] == "sentence"
    assert parsed[-1]["event"] == "answer"
    assert json.loads(parsed[-1]["data"])["answer"] == client.post("/ask", json=QUESTION).json()["answer"]


def test_the_same_question_comes_from_the_cache_until_the_release_changes(
    client: TestClient, small: SearchIndex
) -> None:
    assert [client.post("/ask", json=QUESTION).json()["cached"] for _ in range(2)] == [False, True]
    service = client.app.state.service  # type: ignore[attr-defined]
    served(service.settings.folder, small, 0.31)
    client.portal.call(service.reload)  # type: ignore[union-attr]
    assert not client.post("/ask", json=QUESTION).json()["cached"]


@pytest.mark.parametrize(
    "body", [{"question": ""}, {"question": "x" * 1001}, {"question": 3}, {}, {"question": "Who?", "more": 1}]
)
def test_what_is_no_question_gets_problem_details(client: TestClient, body: dict[str, object]) -> None:
    found = client.post("/ask", json=body)
    assert found.status_code == 422
    assert found.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "question", ["' OR 1=1 --", "<script>alert(1)</script>", "\u0000\u202e hidden", "🙂" * 300, "{{7*7}}"]
)
def test_odd_questions_never_fail_the_service(client: TestClient, question: str) -> None:
    assert client.post("/ask", json={"question": question}).status_code in {200, 422}


def test_keys_and_limits_are_those_of_the_scoring_service(
    tmp_path: Path, small: SearchIndex, contract: AssistantContract
) -> None:
    served(tmp_path, small)
    settings = AskSettings(
        folder=tmp_path, trace=False, api_keys="secret-key", rate_per_second=1, burst_seconds=2
    )
    with TestClient(create_app(contract, settings)) as client:
        assert client.post("/ask", json=QUESTION).status_code == 401
        key = {"x-api-key": "secret-key"}
        assert [client.post("/ask", json=QUESTION, headers=key).status_code for _ in range(3)] == [
            200,
            200,
            429,
        ]
        assert client.get("/healthz").status_code == 200
        other = client.post("/ask", json=QUESTION, headers=key | {"sec-fetch-site": "cross-site"})
        assert other.status_code == 403


def test_a_passage_that_nobody_has_accepted_is_not_opened(
    tmp_path: Path, small: SearchIndex, contract: AssistantContract
) -> None:
    page = Document("docs/notes.md", "# Notes\n\nThe cache is marigold.\n")
    served(tmp_path, build_index([*without(small, ()), page], contract.chunking, None))
    with TestClient(create_app(contract, AskSettings(folder=tmp_path, trace=False))) as client:
        assert client.get("/passage", params={"name": small.passages[0].name}).status_code == 200
        assert client.get("/passage", params={"name": "docs/notes.md#Notes/1"}).status_code == 404


def test_without_an_index_it_lives_and_is_not_ready(tmp_path: Path, contract: AssistantContract) -> None:
    with TestClient(create_app(contract, AskSettings(folder=tmp_path, trace=False))) as client:
        assert client.get("/healthz").status_code == 200
        assert "index-assistant" in client.get("/readyz").json()["detail"]
        assert client.post("/ask", json=QUESTION).status_code == 503


def test_each_answer_and_thumb_is_in_the_log(client: TestClient) -> None:
    name = client.post("/ask", json=QUESTION).json()["request_id"]
    thumb = {"request_id": name, "helpful": False}
    assert [client.post("/feedback", json=thumb).json()["kept"] for _ in range(2)] == [True, False]
    assert client.post("/feedback", json={"request_id": "x", "helpful": True}).status_code == 422
    store = client.app.state.service._store  # type: ignore[attr-defined]
    ((_, record),) = store.answers()
    assert (record.request_id, json.loads(record.request)) == (name, QUESTION)
    assert [kind for _, kind, _ in store.events()] == ["feedback"]


def test_a_chat_model_is_asked_and_a_bad_one_done_without(
    tmp_path: Path, small: SearchIndex, contract: AssistantContract
) -> None:
    served(tmp_path, small)
    settings = AskSettings(folder=tmp_path, trace=False)
    with TestClient(create_app(contract, settings, StandIn())) as client:
        found = client.post("/ask", json={"question": "What is cached?"}).json()
        assert (found["kind"], found["model"]) == ("generated", "stand-in")
        assert found["tokens"]["output"] == 20
        assert found["cost"] > 0
    with TestClient(create_app(contract, settings, StandIn(lambda _: "Bananas [1]."))) as client:
        found = client.post("/ask", json={"question": "What is cached?"}).json()
        assert found["kind"] == "extractive"
        assert "not supported" in found["fell_back"]


def test_a_rollback_restores_the_answer(
    client: TestClient, small: SearchIndex, contract: AssistantContract
) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    before = client.post("/ask", json=QUESTION).json()
    less = build_index(without(small, ["docs/rollback.md"]), contract.chunking, None)
    served(service.settings.folder, less)
    client.portal.call(service.reload)  # type: ignore[union-attr]
    changed = client.post("/ask", json=QUESTION).json()
    assert all(one["path"] != "docs/rollback.md" for one in changed["citations"])
    roll_back(service.settings.folder, "")
    client.portal.call(service.reload)  # type: ignore[union-attr]
    again = client.post("/ask", json=QUESTION).json()
    assert (again["answer"], again["index_version"]) == (before["answer"], before["index_version"])


def test_a_broken_release_leaves_the_one_that_serves(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    (service.settings.folder / "current.json").write_text("{}")
    client.portal.call(service.reload)  # type: ignore[union-attr]
    assert "another version" in client.get("/readyz").json()["detail"]
    assert client.post("/ask", json=QUESTION).status_code == 200


def test_the_page_and_the_document_load_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert "https://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/ask", "/ask/stream", "/feedback", "/passage"} <= paths.keys()
    assert client.get("/metrics").text.count("http_requests_total") > 0


def test_settings_come_from_the_environment_by_their_own_prefix() -> None:
    assert AskSettings.from_environment({"ASK_PORT": "9001", "SERVE_PORT": "1"}).port == 9001
    with pytest.raises(UserError, match="ASK_PORTS"):
        AskSettings.from_environment({"ASK_PORTS": "1"})
    assert "secret" not in repr(AskSettings(chat_key="secret"))
