"""The committed questions, with the pages that answer them; split by page into tuning and gate questions."""

import hashlib
import re
from collections.abc import Mapping, Sequence
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
TUNING_SHARE = 0.4  # of the pages; choices and calibration use only their questions

Part = Literal["tuning", "gate"]


class _Written(StrictModel):
    """A question as written in a YAML file."""

    ask: str = Field(min_length=1)
    also: tuple[str, ...] = Field(default=(), strict=False)
    value: str = ""


@dataclass(frozen=True)
class Question:
    """A question of the set."""

    text: str
    # pages that answer it, best first, optionally with "#" and the start of a heading; empty if none does
    places: tuple[str, ...]
    value: str = ""  # where its number is in the results, as "data/raw_rows/weather"; empty for none

    @property
    def page(self) -> str:
        """The page that it is about, by which the set is split and intervals are resampled."""
        return self.places[0].partition("#")[0] if self.places else f"{NONE}: {self.text}"

    @property
    def part(self) -> Part:
        """The part of the set that it belongs to; the same for all questions of a page."""
        place = int.from_bytes(hashlib.sha256(f"split/{self.page}".encode()).digest()[:4], "big") / 2**32
        return "tuning" if place < TUNING_SHARE else "gate"

    @property
    def answerable(self) -> bool:
        """Whether the corpus answers it."""
        return bool(self.places)

    def pages(self) -> set[str]:
        """Return the pages that answer it."""
        return {place.partition("#")[0] for place in self.places}


def read_questions(folder: Path) -> list[Question]:
    """Read the questions of a folder, whose YAML files map each page to the questions that it answers.

    Raises a UserError that names the file and its fault.
    """
    found: list[Question] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            written = TypeAdapter(dict[str, list[str | _Written] | None]).validate_python(read_yaml(path))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
        for place, some in written.items():
            for one in some or ():
                ask = _Written(ask=one) if isinstance(one, str) else one
                places = () if place == NONE else (place, *ask.also)
                found.append(Question(ask.ask, places, ask.value))
    if not found:
        raise UserError(f"{folder} holds no questions: add a YAML file with some (see docs/assistant.md).")
    twice = {one.text for one in found if sum(other.text == one.text for other in found) > 1}
    if twice:
        raise UserError(f"{folder} asks twice: {min(twice)!r}. Remove one of them.")
    return found


def headings_of(passages: Sequence[Passage]) -> dict[str, set[str]]:
    """Return the headings of each page of a corpus."""
    headings: dict[str, set[str]] = {}
    for passage in passages:
        headings.setdefault(passage.path, set()).add(passage.heading)
    return headings


def missing(place: str, headings: Mapping[str, set[str]]) -> str:
    """Describe what a corpus lacks of a question's place; empty if it has both page and heading."""
    page, _, heading = place.partition("#")
    if page not in headings:
        return f"{page}, which is not in the corpus."
    if not any(one.startswith(heading) for one in headings[page]):
        return f"“{heading}”, which {page} does not have."
    return ""


def value_at(results: Any, path: str) -> float:
    """Return the number at a path of the results.

    Args:
        results: results as JSON values.
        path: keys separated by "/"; in a list, an index or "name=value" of one of its items.

    Returns:
        The number.

    Raises:
        UserError: if there is none.
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
    """Return whether a text states a value, as a number or in percent, to the displayed precision."""
    shown = re.sub(r"(?<=\d),(?=\d{3})", "", text.replace("−", "-"))
    for whole, decimals, percent in re.findall(r"([-+]?\d+(?:\.(\d+))?)(\s?%)?", shown):
        number, digits = float(whole), len(decimals)
        scale = 100 if percent else 1
        if abs(number / scale - value) <= 0.5000001 * 10**-digits / scale:
            return True
    return bool(numbers(text) & numbers(f"{value:.12g}"))
