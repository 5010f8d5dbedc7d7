import json
from pathlib import Path

import numpy as np
import pytest
from fivestage.common.settings import ROOT
from fivestage.serving.log import open_store
from fivestage.serving.store import EventRecord, PredictionRecord, Store

from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.embedding import MiniLm
from fivestage_assistant.question_set import read_questions
from fivestage_assistant.watching import (
    permutation_p_value,
    question_report,
    save_window,
    watch,
    windows_before,
)

QUESTIONS = read_questions(ROOT / "assistant" / "questions")
KNOWN = [one.text for one in QUESTIONS if one.answerable]
# Of other subjects; the unanswerable ones of the set are of this one on purpose.
FOREIGN = Path(__file__).with_name("foreign_questions.txt").read_text(encoding="utf-8").splitlines()


def log(
    folder: Path, questions: list[str], *, kind: str = "extractive", thumbs: tuple[bool, ...] = ()
) -> Store:
    store = open_store(f"sqlite:///{folder / 'log.sqlite'}")
    quote = {"quote": "It is.", "path": "a.md"}
    body = {"answer": "It is. [1]", "kind": kind, "citations": [quote], "retrieved": ["a"], "fell_back": ""}
    records = [
        PredictionRecord(f"ask-{n}", float(n), "1", 0, 1, json.dumps({"question": one}), json.dumps(body))
        for n, one in enumerate(questions)
    ]
    store.write_answers(records)
    events = [
        EventRecord("feedback", f"ask-{n}", 1.0, json.dumps({"request_id": f"ask-{n}", "helpful": one}))
        for n, one in enumerate(thumbs)
    ]
    if events:
        store.write_events(events)
    return store


def test_drift_alarms_seldom_on_clean_windows_and_nearly_always_on_half_foreign_ones(model: MiniLm) -> None:
    known, foreign = model.embed(KNOWN), model.embed(FOREIGN)
    chance = np.random.default_rng(1)
    clean = half = 0
    for _ in range(40):
        order, others = chance.permutation(len(known)), chance.permutation(len(foreign))
        window, reference = known[order[:40]], known[order[40:]]
        clean += permutation_p_value(reference, window) <= 0.01
        half += permutation_p_value(reference, np.vstack([window[:20], foreign[others[:20]]])) <= 0.01
    assert clean <= 2
    assert half >= 38


def test_evidently_reports_drift_and_descriptors_without_downloads(model: MiniLm, tmp_path: Path) -> None:
    known, foreign = KNOWN[:80], FOREIGN[:25]
    p_value, described = question_report(
        known, model.embed(known), foreign, model.embed(foreign), 0.01, tmp_path / "page.html"
    )
    assert p_value <= 0.01
    assert described["words"] == pytest.approx(np.mean([len(one.split()) for one in foreign]), rel=0.1)
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_a_window_like_the_set_raises_no_alert(
    tmp_path: Path, contract: AssistantContract, model: MiniLm
) -> None:
    chance = np.random.default_rng(3)
    order = [KNOWN[n] for n in chance.permutation(len(KNOWN))]
    store = log(tmp_path, order[:40], thumbs=(True,) * 12)
    found = watch(store, order[40:], model, contract.monitoring, corpus_changed=False)
    assert found.alerts == ()
    assert (found.questions, found.feedback, found.thumbs_down, found.supported) == (40, 12, 0.0, 1.0)
    assert not found.summary.bad


def test_each_alert_fires_for_what_it_is_for(
    tmp_path: Path, contract: AssistantContract, model: MiniLm
) -> None:
    store = log(tmp_path, FOREIGN[:30], kind="unknown", thumbs=(False,) * 8 + (True,) * 4)
    found = watch(store, KNOWN, model, contract.monitoring, corpus_changed=True)
    for number, words in enumerate(("Documents have changed", "Questions differ", "declined", "thumbs")):
        assert words in found.alerts[number]
    assert found.summary.bad


def test_windows_are_what_the_policy_decides_on(
    tmp_path: Path, contract: AssistantContract, model: MiniLm
) -> None:
    from fivestage.monitoring.retraining import RetrainingHistory
    from monitoring.policy import decide
    from problem import PROBLEM

    store = log(tmp_path, FOREIGN[:30], kind="unknown")
    found = watch(store, KNOWN, model, contract.monitoring, corpus_changed=False)
    path = tmp_path / "windows.jsonl"
    rules = PROBLEM.contract.monitoring
    now = 100 * 86_400
    trained = [now - (rules.cooldown_days + 1) * 86_400]
    for _ in range(rules.bad_periods - 1):
        so_far = [*windows_before(path), found.summary]
        assert not decide(RetrainingHistory(so_far, trained, now, PROBLEM.contract)).retrain
        save_window(found, path)
    so_far = [*windows_before(path), found.summary]
    assert decide(RetrainingHistory(so_far, trained, now, PROBLEM.contract)).retrain


def test_too_few_questions_say_nothing(tmp_path: Path, contract: AssistantContract, model: MiniLm) -> None:
    found = watch(
        log(tmp_path, FOREIGN[:5], kind="unknown"), KNOWN, model, contract.monitoring, corpus_changed=False
    )
    assert found.alerts == ()
    assert np.isnan(found.p_value)
