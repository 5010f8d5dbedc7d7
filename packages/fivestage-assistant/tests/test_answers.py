import math

import pytest
from fivestage.common.errors import UserError
from stand_ins import StandIn, answer_from_passages, openai_server

from fivestage_assistant.answering import ALWAYS, UNKNOWN, Abstention, Answerer, answer_kinds, cite, fill
from fivestage_assistant.ask_evaluation import AnswerRates, evaluate_answers, fit_abstention
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.chat_model import IndexRetriever, chain, open_chat_model
from fivestage_assistant.embedding import MiniLm
from fivestage_assistant.passages import Chunking, Document, cut
from fivestage_assistant.prompts import DEFAULT
from fivestage_assistant.question_set import Question
from fivestage_assistant.retrieval import retriever_of
from fivestage_assistant.search_index import build_index
from fivestage_assistant.support import alter_number, measure_support, quotable, support

QUESTION = "What is cached?"


def test_an_extractive_answer_quotes_and_cites_what_was_retrieved(answerer: Answerer) -> None:
    answer = answerer.answer("Which share of the CPU could a cache of answers save?")
    assert answer.kind == "extractive"
    assert "31.7%" in answer.text
    assert {one.passage for one in answer.citations} <= set(answer.retrieved)
    cited = answer.citations[0]
    assert (
        answerer.index.documents[cited.path]
        .splitlines()[cited.line - 1]
        .startswith("A cache of answers could")
    )


def test_a_question_is_answered_by_what_follows_it(answerer: Answerer) -> None:
    assert "on call" in answerer.answer("Who may roll back?").text


def test_a_name_that_is_in_nothing_found_is_a_sign_that_nothing_answers(answerer: Answerer) -> None:
    for question, named in (
        ("How do I cache in Redis?", 0.0),
        ("Does Rollback take long?", 1.0),
        ("Who may?", 1.0),
    ):
        assert answerer.signals.of(question, answerer.retrieve(question))[3] == named


def test_below_the_threshold_nothing_is_answered(answerer: Answerer) -> None:
    answerer.abstention = Abstention((5.0, 3.0, 3.0, 0.0), -4.6, 0.5)
    answer = answerer.answer("Who won the football world cup?", DEFAULT, StandIn())
    assert (answer.text, answer.kind, answer.citations) == (UNKNOWN, "unknown", ())
    assert answerer.answer("Who may roll back?").kind == "extractive"


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("How many rows were kept?", {"number"}),
        ("Which week was bad?", {"time"}),
        ("Why was version 2 refused?", {"reason"}),
        ("How do I add a gate?", {"doing"}),
        ("In which file is the gate?", {"place"}),
        ("Who may roll back?", set()),
    ],
)
def test_what_kind_of_answer_a_question_wants(question: str, kinds: set[str]) -> None:
    assert answer_kinds(question) == kinds


def test_both_halves_of_a_question_are_answered(answerer: Answerer) -> None:
    answer = answerer.answer("Who may roll back and how long does it take?")
    assert "on call" in answer.text
    assert "20 seconds" in answer.text


def test_a_number_of_another_line_supports_nothing() -> None:
    cited = "The median latency is 4 ms.\nThe budget is 12 retrainings a year."
    assert support("The median latency is 4 ms.", cited).passed
    assert not support("The median latency is 12 ms.", cited).passed


def test_a_model_that_keeps_to_the_passages_is_shown(answerer: Answerer) -> None:
    answer = answerer.answer(QUESTION, DEFAULT, StandIn())
    assert (answer.kind, answer.fell_back) == ("generated", "")
    assert {one.passage for one in answer.citations} <= set(answer.retrieved)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("State is cached, answers are not [9].", "not retrieved"),
        ("State is cached, answers are not.", "has no citation"),
        ("A cache of answers could save 99.7% of the CPU [1].", "not supported"),
        ("Redis keeps everything in three regions [1].", "not supported"),
        ("What is cached [1]?", "not supported"),
        ("", "empty"),
    ],
)
def test_what_fails_the_checks_falls_back(answerer: Answerer, said: str, why: str) -> None:
    answer = answerer.answer(QUESTION, DEFAULT, StandIn(lambda _: said))
    assert answer.kind == "extractive"
    assert why in answer.fell_back


def test_a_prompt_over_the_budget_is_not_sent(answerer: Answerer, contract: AssistantContract) -> None:
    answerer.limits = contract.answers.model_copy(update={"max_cost": 1e-9, "input_price": 1.0})
    chat = StandIn()
    assert "budget" in answerer.answer(QUESTION, DEFAULT, chat).fell_back
    assert not chat.prompts


def test_the_real_client_speaks_to_a_server_of_openais_protocol(
    answerer: Answerer, contract: AssistantContract
) -> None:
    with openai_server() as (url, requests):
        chat = open_chat_model("openai:stand-in", contract.answers, url, "no-key")
        answer = answerer.answer(QUESTION, DEFAULT, chat)
    assert answer.kind == "generated"
    assert answer.generated is not None
    assert (answer.generated.input_tokens, answer.generated.output_tokens) == (900, 30)
    assert answer.cost(contract.answers) == pytest.approx((900 * 0.5 + 30 * 2.0) / 1e6)
    assert requests[0]["temperature"] == 0
    assert QUESTION in requests[0]["messages"][0]["content"]


def test_a_failing_server_is_asked_again_and_then_done_without(
    answerer: Answerer, contract: AssistantContract
) -> None:
    limits = contract.answers.model_copy(update={"retries": 1})
    with openai_server(failures=1) as (url, requests):
        chat = open_chat_model("openai:stand-in", limits, url, "no-key")
        assert answerer.answer(QUESTION, DEFAULT, chat).kind == "generated"
        assert len(requests) == 2
    with openai_server(failures=9) as (url, requests):
        chat = open_chat_model("openai:stand-in", limits, url, "no-key")
        answer = answerer.answer(QUESTION, DEFAULT, chat)
        assert "chat model failed" in answer.fell_back
        assert len(requests) == 2


def test_a_slow_server_is_not_waited_for(answerer: Answerer, contract: AssistantContract) -> None:
    limits = contract.answers.model_copy(update={"retries": 0, "timeout_seconds": 0.2})
    with openai_server(delay=1.0) as (url, _):
        chat = open_chat_model("openai:stand-in", limits, url, "no-key")
        assert "Timeout" in answerer.answer(QUESTION, DEFAULT, chat).fell_back


def test_an_unknown_provider_is_a_sentence(contract: AssistantContract) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        open_chat_model("nobody:model", contract.answers)


def test_langchain_retrieves_and_answers_as_the_core_does(
    answerer: Answerer, contract: AssistantContract
) -> None:
    documents = IndexRetriever(answerer=answerer).invoke(QUESTION)
    assert [one.id for one in documents] == [one.passage.name for one in answerer.retrieve(QUESTION)]
    assert documents[0].metadata["path"] == "docs/cache.md"
    assert chain(answerer, DEFAULT, None).invoke(QUESTION) == answerer.answer(QUESTION)
    with openai_server() as (url, _):
        chat = open_chat_model("openai:stand-in", contract.answers, url, "no-key")
        assert chain(answerer, DEFAULT, chat).invoke(QUESTION).kind == "generated"


def test_a_prompt_needs_its_places_and_fills_them_once() -> None:
    with pytest.raises(UserError, match="template lacks"):
        fill("Answer {question}", QUESTION, ())
    assert fill("{context} | {question}", "What is {context}?", ()) == " | What is {context}?"


def test_support_is_held_against_stems_numbers_and_the_question() -> None:
    cited = "A cache of answers could save 31.7% of the CPU that a request costs."
    assert support("The cache could save 31.7% of a request's CPU.", cited).passed
    assert support("The cache could save 32.7% of a request's CPU.", cited).numbers == {"32.7"}
    assert not support("The planets could save 31.7% of a comet's light.", cited).passed
    assert support("A cache of answers could save CPU", cited, "Could a cache of answers save CPU?").echo


def test_the_check_is_measured_where_the_truth_is_known(answerer: Answerer) -> None:
    found = measure_support(answerer.index.passages)
    assert found.own == 1.0
    assert found.other <= 0.1
    import random

    assert alter_number("It takes 20 seconds.", random.Random(1)) != "It takes 20 seconds."


def test_rates_count_what_they_say(answerer: Answerer) -> None:
    questions = [
        Question("Which share of the CPU could a cache of answers save?", ("docs/cache.md",), "x"),
        Question("Who may roll back?", ("docs/rollback.md",)),
        Question("How many gates has the stadium?", ()),
    ]
    found = evaluate_answers(answerer, questions, {"x": 0.317})
    assert (found.answered, found.declined, found.right_page, found.right_value, found.cited) == (
        1,
        0,
        1,
        1,
        1,
    )
    assert math.isnan(found.supported)
    assert (
        evaluate_answers(answerer, questions, {"x": 0.317}, DEFAULT, StandIn(answer_from_passages)).supported
        > 0.5
    )
    assert isinstance(found, AnswerRates)


def test_abstention_is_learnt_from_both_kinds_of_questions(
    answerer: Answerer, contract: AssistantContract
) -> None:
    known = ["Who may roll back?", "What is a gate?", "What is cached?", "How long does a rollback take?"]
    foreign = [
        "Who won the football world cup?",
        "Which wine goes with fish?",
        "What is the tallest mountain?",
    ]
    questions = [Question(one, ("docs/gates.md",)) for one in known] + [Question(one, ()) for one in foreign]
    rule = fit_abstention(answerer.index, answerer.retriever, questions, contract)
    answerer.abstention = rule
    assert sum(answerer.answer(one).kind != "unknown" for one in known) >= 3
    assert all(answerer.answer(one).kind == "unknown" for one in foreign)
    assert fit_abstention(answerer.index, answerer.retriever, questions[:2], contract).threshold == 0.0


def test_two_numbers_of_different_lines_are_not_put_together() -> None:
    cited = "In the week from 1 Oct to 7 Oct it was 0.75.\nIn the week from 8 Oct to 14 Oct it was 0.71."
    assert support("In the week from 8 Oct to 14 Oct it was 0.71.", cited).passed
    assert not support("In the week from 8 Oct to 14 Oct it was 0.75.", cited).passed


def test_how_many_of_the_set_are_unanswerable_does_not_move_the_rule(
    answerer: Answerer, contract: AssistantContract
) -> None:
    known = ["Who may roll back?", "What is a gate?", "What is cached?", "How long does a rollback take?"]
    foreign = ["Who won the football world cup?", "Which wine goes with fish?", "What is a tall mountain?"]
    few = [Question(one, ("docs/gates.md",)) for one in known] + [Question(one, ()) for one in foreign]
    many = few + [Question(one, ()) for one in foreign] * 4
    rules = [fit_abstention(answerer.index, answerer.retriever, one, contract) for one in (few, many)]
    seen = answerer.signals.of(known[1], answerer.retrieve(known[1]))
    assert rules[0].confidence(seen) == pytest.approx(rules[1].confidence(seen), abs=0.06)


def test_a_sentence_that_adds_one_word_to_the_question_answers_it() -> None:
    cited = "A timer closes the harbour gate at night."
    assert support(cited, cited, "What closes the harbour gate at night?").passed
    assert support("The harbour gate closes at night.", cited, "What closes the harbour gate at night?").echo


def test_what_was_rejected_is_quoted_as_such_with_the_reason() -> None:
    text = "# Baseline\n\n## Rejected\n\nThe champion as the only baseline. A bad champion is easy to beat.\n"
    (passage,) = cut(Document("docs/a.md", text), Chunking())
    quote = "Rejected: The champion as the only baseline. A bad champion is easy to beat."
    assert cite(passage, 0).quote == quote


def test_where_numbers_come_from_is_never_quoted() -> None:
    text = (
        "# Speed\n\nA request takes 4 ms on one core.\n\n"
        "*Numbers: `make demo`, commit `8bd920886e01`, 2 cores.*"
        "\n\n| file | digest |\n|---|---|\n| model file | 8199be6f699a395f |\n"
    )
    (passage,) = cut(Document("docs/a.md", text), Chunking())
    assert [one.text for one in quotable(passage)] == ["A request takes 4 ms on one core."]


def test_an_absent_verb_or_acronym_of_english_is_no_sign_that_nothing_answers(answerer: Answerer) -> None:
    for plain, worded in (
        ("Who may roll back?", "How do you plug a gate?"),
        ("What is a gate?", "How much RAM has a gate?"),
    ):
        seen = [answerer.signals.of(one, answerer.retrieve(one)) for one in (plain, worded)]
        assert seen[1][3] == 1.0
    assert answerer.signals.of("Do you plug a gate?", answerer.retrieve("gate"))[2] == 1.0
    assert answerer.signals.of("Is a plug a gate?", answerer.retrieve("gate"))[2] < 1.0


def test_where_the_heading_alone_names_what_is_asked_its_sentences_answer(
    contract: AssistantContract, model: MiniLm
) -> None:
    text = "# Why not deep learning?\n\nBecause it was tried, and trees saved more money.\n"
    index = build_index([Document("docs/a.md", text, accepted=True)], contract.chunking, model)
    answerer = Answerer(index, retriever_of(index, model, "hybrid"), model, contract.answers, ALWAYS)
    assert "trees saved more" in answerer.answer("Why is there no deep learning here?").text


def test_sentences_of_a_page_are_read_in_its_order(contract: AssistantContract, model: MiniLm) -> None:
    text = "# Spool\n\nThe spool holds answers of an hour.\n\nAnswers leave the spool when the log is back.\n"
    index = build_index([Document("docs/a.md", text, accepted=True)], contract.chunking, model)
    answerer = Answerer(index, retriever_of(index, model, "hybrid"), model, contract.answers, ALWAYS)
    answer = answerer.answer("When do answers leave the spool?")
    lines = [one.line for one in answer.citations]
    assert lines == sorted(lines)
    assert lines[0] < lines[-1]
