"""The committed questions, with the pages that answer them; split by page into tuning and gate."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fivestage.common.errors import UserError
from fivestage.common.strict_yaml import read_yaml
from fivestage.contract.strict_model import StrictModel
from pydantic import Field, TypeAdapter, ValidationError

from fivestage_assistant.passages import Passage
from fivestage_assistant.text import numbers

NONE = "none"
TUNING_SHARE = 0.4  # of the pages; what is chosen or calibrated sees no other question

Part = Literal["tuning", "gate"]


class _Written(StrictModel):
    """A question as it stands in a file."""

    ask: str = Field(min_length=1)
    also: tuple[str, ...] = ()
    value: str = ""


@dataclass(frozen=True)
class Question:
    """A question of the set.

    Args:
        text: the question.
        places: pages that answer it, perhaps with "#" and the beginning of a heading, the best first; none
            where nothing in the corpus does.
        value: where in the results the answer's number stands, as "data/raw_rows/weather"; empty for none.
    """

    text: str
    places: tuple[str, ...]
    value: str = ""

    @property
    def page(self) -> str:
        """The page it is about: what intervals resample, and what the split goes by."""
        return self.places[0].partition("#")[0] if self.places else f"{NONE}: {self.text}"

    @property
    def part(self) -> Part:
        """Whether it tunes or judges; all questions of a page do the same."""
        place = int.from_bytes(hashlib.sha256(f"split/{self.page}".encode()).digest()[:4], "big") / 2**32
        return "tuning" if place < TUNING_SHARE else "gate"

    @property
    def answerable(self) -> bool:
        """Whether anything in the corpus answers it."""
        return bool(self.places)

    def pages(self) -> set[str]:
        """The pages that answer it."""
        return {place.partition("#")[0] for place in self.places}

    def is_answered_by(self, passage: Passage) -> bool:
        """Whether a passage lies on one of its pages."""
        return passage.path in self.pages()


def read_questions(folder: Path) -> list[Question]:
    """All questions of a folder.

    Args:
        folder: of YAML files; each maps a page to the questions that it answers.

    Returns:
        The questions in the order of files and lines.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    found: list[Question] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            written = TypeAdapter(dict[str, list[str | _Written]]).validate_python(_lists(read_yaml(path)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
        for place, some in written.items():
            for one in some:
                ask = _Written(ask=one) if isinstance(one, str) else one
                places = () if place == NONE else (place, *ask.also)
                found.append(Question(ask.ask, places, ask.value))
    if not found:
        raise UserError(f"{folder} holds no questions: write a YAML file of them (see docs/assistant.md).")
    twice = {one.text for one in found if sum(other.text == one.text for other in found) > 1}
    if twice:
        raise UserError(f"{folder} asks twice: {min(twice)!r}.")
    return found


def _lists(content: Any) -> Any:
    """YAML's lists as tuples where the strict model has tuples."""
    if not isinstance(content, dict):
        return content
    return {
        place: [
            {name: tuple(value) if isinstance(value, list) else value for name, value in one.items()}
            if isinstance(one, dict)
            else one
            for one in some or ()
        ]
        for place, some in content.items()
    }


def broken_places(questions: Iterable[Question], passages: Sequence[Passage]) -> list[str]:
    """What questions refer to and the corpus does not have.

    Args:
        questions: of the set.
        passages: of the index.

    Returns:
        A sentence for each reference that leads nowhere.
    """
    headings: dict[str, set[str]] = {}
    for passage in passages:
        headings.setdefault(passage.path, set()).add(passage.heading)
    found = []
    for question in questions:
        for place in question.places:
            page, _, heading = place.partition("#")
            if page not in headings:
                found.append(f"{question.text!r} refers to {page}, which is not in the corpus.")
            elif not any(one.startswith(heading) for one in headings[page]):
                found.append(f"{question.text!r} refers to “{heading}”, which {page} does not have.")
    return found


def value_at(results: Any, path: str) -> float:
    """The number at a path of results.

    Args:
        results: as JSON has them.
        path: keys with "/" between; in a list, a place or "name=value" of one of its items.

    Returns:
        The number.

    Raises:
        UserError: when there is none.
    """
    found = results
    try:
        for step in path.split("/"):
            if isinstance(found, list):
                name, _, value = step.partition("=")
                found = (
                    found[int(step)] if not value else next(one for one in found if str(one[name]) == value)
                )
            else:
                found = found[step]
        return float(found)
    except (KeyError, IndexError, StopIteration, TypeError, ValueError) as error:
        raise UserError(f"The results have no number at {path}.") from error


def states(text: str, value: float) -> bool:
    """Whether a text states a value, as a number or in percent, to the precision that it shows."""
    shown = re.sub(r"(?<=\d),(?=\d{3})", "", text.replace("−", "-"))
    for whole, decimals, percent in re.findall(r"([-+]?\d+(?:\.(\d+))?)(\s?%)?", shown):
        number, digits = float(whole), len(decimals)
        scale = 100 if percent else 1
        if abs(number / scale - value) <= 0.5000001 * 10**-digits / scale:
            return True
    return bool(numbers(text) & numbers(f"{value:.12g}"))
