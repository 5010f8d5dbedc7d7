"""Gates of index and prompt, and the release that serves: which index, which prompt, and when to abstain."""

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
    """What was found about an index before it may serve.

    Args:
        scores: of its retriever on the gate questions.
        champion: of the champion's, on the same questions; None for the first.
        shuffled: of the control.
        support: of the check.
        answers: of extractive answers.
        chance: MRR@10 of one right page among so many in any order.
    """

    scores: RetrievalScores
    champion: RetrievalScores | None
    shuffled: RetrievalScores
    support: SupportRates
    answers: AnswerRates
    chance: float


@dataclass(frozen=True)
class ServedRelease:
    """What serves.

    Args:
        number: from 1.
        index: the version of the index, the name of its folder.
        prompt_version: in the registry.
        template: of the prompt.
        abstention: when to say "I do not know".
        corpus: digest of the corpus that was indexed.
        at: when, in ISO 8601.
        why: a sentence.
    """

    number: int
    index: str
    prompt_version: int
    template: str
    abstention: Abstention
    corpus: str
    at: str = ""
    why: str = ""


def index_gates(found: Evaluation, limits: Gates) -> tuple[Gate, ...]:
    """The conditions that an index must meet; what could not be measured fails.

    Args:
        found: on the gate questions.
        limits: of the contract.

    Returns:
        The gates in the order of the page.
    """
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
    return (
        at_least(
            "pages are found",
            mrr.value,
            limits.min_mrr,
            f"MRR@10 {mrr.value:.3f} ({mrr.low:.3f} to {mrr.high:.3f})",
        ),
        paired,
        at_most(
            "shuffled passages are not",
            shuffled - found.chance,
            limits.max_shuffled_mrr,
            f"MRR@10 {shuffled:.3f} under other names, {shuffled - found.chance:+.3f} against chance",
        ),
        at_least(
            "citations are retrieved",
            answers.cited,
            1.0,
            f"{answers.cited:.1%} of the answers cite what was retrieved",
        ),
        at_least(
            "its own page supports a sentence", support.own, limits.min_support_own, f"{support.own:.1%} pass"
        ),
        at_most(
            "another page does not", support.other, limits.max_support_random, f"{support.other:.1%} pass"
        ),
        at_least(
            "altered numbers are caught",
            support.altered,
            limits.min_altered_caught,
            f"{support.altered:.1%} caught",
        ),
        at_least(
            "the answerable is answered",
            answers.answered,
            limits.min_answered,
            f"{answers.answered:.1%} answered",
        ),
        at_least(
            "the unanswerable is declined",
            answers.declined,
            limits.min_declined,
            f"{answers.declined:.1%} declined",
        ),
    )


def prompt_gates(challenger: AnswerRates, champion: AnswerRates | None, limits: Gates) -> tuple[Gate, ...]:
    """The conditions that a prompt must meet, by a chat model's answers to the gate questions.

    Args:
        challenger: with the new prompt.
        champion: with the one that serves; None for the first.
        limits: of the contract.

    Returns:
        The gates.
    """
    supported = challenger.supported
    floor = (
        limits.min_prompt_supported
        if champion is None
        else max(limits.min_prompt_supported, champion.supported - limits.max_mrr_loss)
    )
    return (
        at_least(
            "answers pass the checks", supported, floor, f"{supported:.1%} of the model's answers are shown"
        ),
        at_least(
            "citations are retrieved",
            challenger.cited,
            1.0,
            f"{challenger.cited:.1%} of the answers cite what was retrieved",
        ),
    )


def at_least(name: str, value: float, limit: float, sentence: str) -> Gate:
    """A gate that stops what falls below a limit, and what could not be measured."""
    if math.isnan(value):
        return Gate(name, passed=False, value=value, limit=limit, sentence="not measured")
    return Gate(name, value >= limit, value, limit, f"{sentence}; at least {limit:.3g} required")


def at_most(name: str, value: float, limit: float, sentence: str) -> Gate:
    """A gate that stops what exceeds a limit, and what could not be measured."""
    if math.isnan(value):
        return Gate(name, passed=False, value=value, limit=limit, sentence="not measured")
    return Gate(name, value <= limit, value, limit, f"{sentence}; at most {limit:.3g} allowed")


def require_passed(gates: Sequence[Gate], what: str) -> None:
    """Stop what a gate refuses.

    Raises:
        UserError: naming the gates that failed.
    """
    failed = [f"{gate.name}: {gate.sentence}" for gate in gates if not gate.passed]
    if failed:
        raise UserError(f"{what} is refused, and what served before stays. {'; '.join(failed)}.")


def current_release(folder: Path) -> ServedRelease | None:
    """What serves; None before the first promotion.

    Raises:
        UserError: when the file cannot be read.
    """
    path = folder / CURRENT
    if not path.exists():
        return None
    try:
        return TypeAdapter(ServedRelease).validate_json(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is of another version: run `make index-assistant` again.") from error


def release(folder: Path, new: ServedRelease, why: str) -> ServedRelease:
    """Let an index and a prompt serve, and add a line to the history.

    Args:
        folder: of the assistant.
        new: what is to serve; number and time are set here.
        why: a sentence.

    Returns:
        The release as it stands in the history.
    """
    past = _lines(folder)
    made = replace(new, number=len(past) + 1, at=datetime.now(UTC).isoformat(timespec="seconds"), why=why)
    lines = [*past, json.dumps(asdict(made))]
    write_text(folder / HISTORY, "\n".join(lines) + "\n")
    write_text(folder / CURRENT, json.dumps(asdict(made), indent=1))
    return made


def roll_back(folder: Path, why: str) -> ServedRelease:
    """Return to what served before the current release, whatever it was that changed.

    Raises:
        UserError: when nothing did.
    """
    past, now = history(folder), current_release(folder)
    before = [one for one in past if now is not None and one.number < now.number and _differs(one, now)]
    if not before:
        raise UserError("Nothing served before this release, so there is nothing to go back to.")
    return release(folder, before[-1], why or f"back to what release {before[-1].number} was")


def history(folder: Path) -> list[ServedRelease]:
    """All releases, the oldest first; without those that another version of the assistant wrote."""
    read, found = TypeAdapter(ServedRelease), []
    for line in _lines(folder):
        with suppress(ValueError):
            found.append(read.validate_json(line))
    return found


def readable_release(folder: Path) -> ServedRelease | None:
    """What serves; None also where another version of the assistant wrote it, which a new index replaces."""
    try:
        return current_release(folder)
    except UserError:
        return None


def _lines(folder: Path) -> list[str]:
    path = folder / HISTORY
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _differs(one: ServedRelease, other: ServedRelease) -> bool:
    return (one.index, one.template) != (other.index, other.template)
