"""Gates of index and prompt, and the release that serves: index, prompt and rule of abstention."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.evaluation.gates import Gate
from pydantic import TypeAdapter

from fivestage_assistant.answering import Abstention
from fivestage_assistant.ask_evaluation import AnswerRates, RetrievalScores
from fivestage_assistant.assistant_contract import Gates
from fivestage_assistant.support import SupportRates

CURRENT, HISTORY, INDEXES = "current.json", "releases.jsonl", "indexes"


@dataclass(frozen=True)
class Evaluation:
    """The measurements that the gates of an index use."""

    scores: RetrievalScores  # of its retriever on the gate questions
    champion: RetrievalScores | None  # the champion's scores on the same questions; None for the first index
    shuffled: RetrievalScores  # scores of the control
    support: SupportRates  # rates of the support check
    answers: AnswerRates  # rates of extractive answers
    chance: float  # MRR@10 of passages in random order


@dataclass(frozen=True)
class ServedRelease:
    """A release: what serves."""

    number: int  # from 1
    index: str  # version of the index, which is the name of its folder
    prompt_version: int  # in MLflow
    template: str  # of the prompt
    abstention: Abstention  # the rule for "I do not know"
    corpus: str  # digest of the indexed corpus
    at: str = ""  # time in ISO 8601
    why: str = ""  # the reason, a sentence


def index_gates(found: Evaluation, limits: Gates) -> tuple[Gate, ...]:
    """Return the gates of an index, in the order of the page; a missing measurement fails."""
    mrr = found.scores.interval("mrr@10")
    shuffled = found.shuffled.interval("mrr@10").value
    support, answers = found.support, found.answers
    if found.champion is None:
        paired = Gate(
            name="not worse than the champion",
            passed=True,
            value=0.0,
            limit=0.0,
            sentence="there is no champion yet",
            applicable=False,
        )
    else:
        against = found.scores.against(found.champion, "mrr@10")
        sentence = (
            f"MRR@10 {against.value:+.3f} against the champion ({against.low:+.3f} to {against.high:+.3f})"
        )
        paired = at_least("not worse than the champion", against.low, -limits.max_mrr_loss, sentence)
    excess = shuffled - found.chance
    control = f"MRR@10 {shuffled:.3f} with shuffled passages, {excess:+.3f} against chance"
    quality = f"MRR@10 {mrr.value:.3f} ({mrr.low:.3f} to {mrr.high:.3f})"
    own, other, altered = support.own, support.other, support.altered
    answered, declined = answers.answered, answers.declined
    return (
        at_least("retrieval quality", mrr.value, limits.min_mrr, quality),
        paired,
        at_most("shuffled control", excess, limits.max_shuffled_mrr, control),
        citations_gate(answers),
        at_least("support by the own page", own, limits.min_support_own, f"{own:.1%} pass"),
        at_most("support by another page", other, limits.max_support_random, f"{other:.1%} pass"),
        at_least("altered numbers rejected", altered, limits.min_altered_caught, f"{altered:.1%} rejected"),
        at_least("answerable questions answered", answered, limits.min_answered, f"{answered:.1%} answered"),
        at_least(
            "unanswerable questions declined", declined, limits.min_declined, f"{declined:.1%} declined"
        ),
    )


def prompt_gates(challenger: AnswerRates, champion: AnswerRates | None, limits: Gates) -> tuple[Gate, ...]:
    """Return the gates of a prompt, from a chat model's answers to the gate questions."""
    supported = challenger.supported
    floor = (
        limits.min_prompt_supported
        if champion is None
        else max(limits.min_prompt_supported, champion.supported - limits.max_mrr_loss)
    )
    shown = f"{supported:.1%} of the model's answers are shown"
    return at_least("answers pass the checks", supported, floor, shown), citations_gate(challenger)


def citations_gate(answers: AnswerRates) -> Gate:
    """Build the gate that every answer cites retrieved passages only."""
    sentence = f"{answers.cited:.1%} of the answers cite retrieved passages only"
    return at_least("citations are retrieved", answers.cited, 1.0, sentence)


def at_least(name: str, value: float, limit: float, sentence: str) -> Gate:
    """Build a gate that fails if the value is below the limit, or NaN."""
    sentence = "not measured" if math.isnan(value) else f"{sentence}; at least {limit:.3g} required"
    return Gate(name, value >= limit, value, limit, sentence)


def at_most(name: str, value: float, limit: float, sentence: str) -> Gate:
    """Build a gate that fails if the value exceeds the limit, or is NaN."""
    sentence = "not measured" if math.isnan(value) else f"{sentence}; at most {limit:.3g} allowed"
    return Gate(name, value <= limit, value, limit, sentence)


def require_passed(gates: Sequence[Gate], what: str) -> None:
    """Raise a UserError that names the failed gates, if any."""
    failed = [f"{gate.name}: {gate.sentence}" for gate in gates if not gate.passed]
    if failed:
        raise UserError(f"{what} is refused; the release that served before stays. {'; '.join(failed)}.")


def current_release(folder: Path) -> ServedRelease | None:
    """Return the release that serves, if any; raise a UserError if another version wrote it."""
    path = folder / CURRENT
    if not path.exists():
        return None
    try:
        return TypeAdapter(ServedRelease).validate_json(path.read_bytes())
    except ValueError as error:
        raise UserError(
            f"{path} was written by another version of the assistant: run `make index-assistant` again."
        ) from error


def release(folder: Path, new: ServedRelease, why: str) -> ServedRelease:
    """Let an index and a prompt serve, and add the release to the history.

    Args:
        folder: the assistant's folder.
        new: the release; its number, time and reason are set here.
        why: the reason, a sentence.

    Returns:
        The release as recorded.
    """
    past = _lines(folder)
    recorded = replace(new, number=len(past) + 1, at=datetime.now(UTC).isoformat(timespec="seconds"), why=why)
    lines = [*past, json.dumps(asdict(recorded))]
    write_text(folder / HISTORY, "\n".join(lines) + "\n")
    write_text(folder / CURRENT, json.dumps(asdict(recorded), indent=1))
    return recorded


def roll_back(folder: Path, why: str) -> ServedRelease:
    """Return to the last release with another index or prompt; raise a UserError if there is none."""
    past, now = history(folder), current_release(folder)
    before = [one for one in past if now is not None and one.number < now.number and _differs(one, now)]
    if not before:
        raise UserError("There is no earlier release to go back to.")
    return release(folder, before[-1], why or f"rollback to release {before[-1].number}")


def history(folder: Path) -> list[ServedRelease]:
    """Return all releases, oldest first, without those that another version of the assistant wrote."""
    read, found = TypeAdapter(ServedRelease), []
    for line in _lines(folder):
        with suppress(ValueError):
            found.append(read.validate_json(line))
    return found


def readable_release(folder: Path) -> ServedRelease | None:
    """Return the release that serves; None also if another version wrote it, so that it is replaced."""
    try:
        return current_release(folder)
    except UserError:
        return None


def _lines(folder: Path) -> list[str]:
    path = folder / HISTORY
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _differs(one: ServedRelease, other: ServedRelease) -> bool:
    return (one.index, one.template) != (other.index, other.template)
