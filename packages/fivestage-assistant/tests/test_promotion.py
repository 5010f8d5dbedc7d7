"""Each gate with an input that fails it; promotion and rollback of prompts and releases."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fivestage.common.errors import UserError
from stand_ins import StandIn, answer_from_passages

from fivestage_assistant import index_pipeline
from fivestage_assistant.answering import ALWAYS, Answerer
from fivestage_assistant.ask_evaluation import (
    AnswerRates,
    RetrievalScores,
    bootstrap,
    chance_mrr,
    evaluate_answers,
    evaluate_retrieval,
)
from fivestage_assistant.ask_service import AskSettings
from fivestage_assistant.assistant_contract import AssistantContract, Gates
from fivestage_assistant.passages import Chunking, Document, cut
from fivestage_assistant.promotion import (
    INDEXES,
    Evaluation,
    ServedRelease,
    current_release,
    history,
    index_gates,
    prompt_gates,
    readable_release,
    release,
    require_passed,
    roll_back,
)
from fivestage_assistant.prompts import (
    DEFAULT,
    champion_prompt,
    find_prompt,
    promote_prompt,
    register_prompt,
)
from fivestage_assistant.question_set import Question
from fivestage_assistant.retrieval import Bm25Retriever, ShuffledRetriever
from fivestage_assistant.search_index import SearchIndex, save_index
from fivestage_assistant.support import SupportRates

PAGES = tuple(f"docs/{number}.md" for number in range(20))
SERVED = ServedRelease(0, "index", 1, DEFAULT, ALWAYS, "corpus")


def scores(value: float) -> RetrievalScores:
    return RetrievalScores(PAGES, {"mrr@10": np.full(len(PAGES), value)})


GOOD = Evaluation(
    scores(0.5),
    scores(0.5),
    scores(0.05),
    SupportRates(0.99, 0.03, 0.9, 600),
    AnswerRates(0.95, 0.8, 0.5, 0.5, 1.0),
    0.04,
)


def test_a_good_index_passes_every_gate() -> None:
    gates = index_gates(GOOD, Gates())
    assert all(gate.passed for gate in gates)
    assert all(gate.passed for gate in index_gates(replace(GOOD, champion=None), Gates()))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("retrieval quality", replace(GOOD, scores=scores(0.37), champion=scores(0.37))),
        ("not worse than the champion", replace(GOOD, champion=scores(0.6))),
        ("shuffled control", replace(GOOD, shuffled=scores(0.3))),
        ("citations are retrieved", replace(GOOD, answers=replace(GOOD.answers, cited=0.99))),
        ("support by the own page", replace(GOOD, support=replace(GOOD.support, own=0.9))),
        ("support by another page", replace(GOOD, support=replace(GOOD.support, other=0.2))),
        ("altered numbers rejected", replace(GOOD, support=replace(GOOD.support, altered=0.7))),
        ("answerable questions answered", replace(GOOD, answers=replace(GOOD.answers, answered=0.8))),
        ("unanswerable questions declined", replace(GOOD, answers=replace(GOOD.answers, declined=0.5))),
    ],
)
def test_each_gate_refuses_what_it_is_for(name: str, bad: Evaluation) -> None:
    assert [gate.name for gate in index_gates(bad, Gates()) if not gate.passed] == [name]


def test_of_few_pages_chance_finds_many_and_the_control_may_too() -> None:
    texts = [Document(f"docs/{n}.md", "# A page\n\nIt says little.\n") for n in range(11)]
    pages = [one for text in texts for one in cut(text, Chunking())]
    question = Question("Who?", ("docs/0.md",))
    assert chance_mrr(pages[:1], [question]) == 1.0
    chance = chance_mrr(pages, [question], 2000)
    assert chance == pytest.approx(0.266, abs=0.02)
    assert chance_mrr([*pages, *[pages[0]] * 30], [question]) > 0.7  # a long page comes early in any order
    few = replace(GOOD, shuffled=scores(0.3), chance=chance)
    assert all(gate.passed for gate in index_gates(few, Gates()))


def test_what_was_not_measured_fails() -> None:
    bad = replace(GOOD, answers=replace(GOOD.answers, declined=math.nan))
    (failed,) = [gate for gate in index_gates(bad, Gates()) if not gate.passed]
    assert failed.sentence == "not measured"
    with pytest.raises(UserError, match="release that served before stays"):
        require_passed([failed], "The index")


def test_shuffled_names_are_refused_by_the_gate_on_retrieval(small: SearchIndex) -> None:
    questions = [
        Question("Who may roll back?", ("docs/rollback.md",)),
        Question("What is a gate?", ("docs/gates.md",)),
    ]
    retriever = Bm25Retriever(small)
    honest = evaluate_retrieval(retriever, questions)
    assert honest.interval("mrr@10").value == 1.0
    shuffled = evaluate_retrieval(ShuffledRetriever(retriever, small.passages, seed=2), questions)
    assert not index_gates(replace(GOOD, scores=shuffled, champion=honest), Gates())[1].passed


def test_intervals_resample_pages_and_not_questions() -> None:
    values = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    one_page_each, two_pages = [str(n) for n in range(8)], ["a"] * 4 + ["b"] * 4
    narrow, wide = bootstrap(values, one_page_each), bootstrap(values, two_pages)
    assert wide.high - wide.low > narrow.high - narrow.low
    assert math.isnan(bootstrap(np.array([]), []).value)


def test_a_worse_prompt_is_refused(answerer: Answerer) -> None:
    questions = [
        Question("Who may roll back?", ("docs/rollback.md",)),
        Question("What is a gate?", ("docs/gates.md",)),
    ]
    chat = StandIn(
        lambda prompt: (
            answer_from_passages(prompt) if "number of the passage" in prompt else "Surely it is fine."
        )
    )
    before = evaluate_answers(answerer, questions, {}, DEFAULT, chat)
    worse = evaluate_answers(answerer, questions, {}, "Be brief.\n{context}\n\nQuestion: {question}", chat)
    assert all(gate.passed for gate in prompt_gates(before, None, Gates()))
    failed = [gate.name for gate in prompt_gates(worse, before, Gates()) if not gate.passed]
    assert failed == ["answers pass the checks"]


def test_a_prompt_is_promoted_and_rolled_back_in_the_registry() -> None:
    first = champion_prompt("test_prompt")
    assert (first.version, first.template) == (1, DEFAULT)
    second = register_prompt("test_prompt", DEFAULT + " Be brief.", "shorter")
    assert register_prompt("test_prompt", DEFAULT + " Be brief.", "again") == second
    assert champion_prompt("test_prompt") == first
    promote_prompt(second)
    assert champion_prompt("test_prompt") == second
    promote_prompt(find_prompt("test_prompt", 1))
    assert champion_prompt("test_prompt") == first
    with pytest.raises(UserError, match="no version 3"):
        find_prompt("test_prompt", 3)


def test_the_command_refuses_a_worse_prompt_and_lets_a_good_one_serve(
    tmp_path: Path, small: SearchIndex, contract: AssistantContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_index(small, tmp_path / INDEXES / small.version)
    first = champion_prompt(f"{contract.name}_prompt")
    release(tmp_path, replace(SERVED, index=small.version, prompt_version=first.version), "a test")
    questions = [
        Question("Who may roll back?", ("docs/rollback.md",)),
        Question("What is a gate?", ("docs/gates.md",)),
    ]
    monkeypatch.setattr(Question, "part", "gate")
    monkeypatch.setattr(index_pipeline, "questions_of", lambda *_: questions)
    chat = StandIn(
        lambda prompt: answer_from_passages(prompt) if "number of the passage" in prompt else "Surely."
    )
    monkeypatch.setattr(index_pipeline, "chat_of", lambda *_: chat)
    monkeypatch.setattr(index_pipeline, "results_as_json", dict)
    settings = AskSettings(folder=tmp_path)
    with pytest.raises(UserError, match="is refused"):
        index_pipeline.change_prompt(contract, "Be brief. {context} {question}", "worse", settings)
    kept = current_release(tmp_path)
    assert kept is not None
    assert kept.template == DEFAULT
    _, version = index_pipeline.change_prompt(contract, DEFAULT.replace("three", "two"), "shorter", settings)
    now = current_release(tmp_path)
    assert now is not None
    assert (now.prompt_version, now.number) == (version, 2)
    assert roll_back(tmp_path, "").template == DEFAULT


def test_a_served_index_of_another_version_is_no_champion(
    tmp_path: Path, small: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_index(small, tmp_path / INDEXES / small.version)
    release(tmp_path, replace(SERVED, index=small.version), "a test")
    monkeypatch.setattr(index_pipeline, "FOLDER", tmp_path)
    assert index_pipeline.served_index() is not None
    about = folder / "index.json"
    about.write_text(about.read_text().replace('"accepted"', '"formerly_unknown"'))
    assert index_pipeline.served_index() is None


def test_a_release_of_another_version_is_replaced_and_stays_in_the_history(tmp_path: Path) -> None:
    release(tmp_path, SERVED, "first")
    for name in ("current.json", "releases.jsonl"):
        path = tmp_path / name
        path.write_text(
            path.read_text()
            .replace("[0.0, 0.0, 0.0, 0.0]", "[0.0]")
            .replace("[\n   0.0,\n   0.0,\n   0.0,\n   0.0\n  ]", "[0.0]")
        )
    with pytest.raises(UserError, match="make index-assistant"):
        current_release(tmp_path)
    assert readable_release(tmp_path) is None
    assert release(tmp_path, SERVED, "second").number == 2
    assert [one.why for one in history(tmp_path)] == ["second"]
    assert len((tmp_path / "releases.jsonl").read_text().splitlines()) == 2


def test_releases_have_a_history_and_a_way_back(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no earlier release"):
        roll_back(tmp_path, "")
    release(tmp_path, SERVED, "first")
    second = release(tmp_path, replace(SERVED, index="other"), "second")
    assert (second.number, current_release(tmp_path)) == (2, second)
    third = roll_back(tmp_path, "")
    assert (third.number, third.index, third.why) == (3, "index", "rollback to release 1")
