"""What a run has to tell people elsewhere: Markdown, with a head that programs read."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from fivestage.common.errors import UserError
from fivestage.common.files import write_whole

FENCE = "---\n"


@dataclass(frozen=True)
class Notice:
    """A report and whether somebody is to look at it; `facts` are for whatever runs next."""

    kind: str  # there is one open notice of a kind
    title: str
    attention: bool
    body: str
    facts: dict[str, str] = field(default_factory=dict)


def write_notice(notice: Notice, path: Path) -> Path:
    """Write a notice.

    Raises:
        UserError: when the file cannot be written.
    """
    head = {
        "kind": notice.kind,
        "title": notice.title,
        "attention": notice.attention,
        "facts": notice.facts,
    }
    text = (
        f"{FENCE}{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}{FENCE}\n{notice.body.strip()}\n"
    )
    return write_whole(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def read_notice(path: Path) -> Notice:
    """Read a notice.

    Raises:
        UserError: when there is none, or the file is something else.
    """
    try:
        _, head, body = path.read_text(encoding="utf-8").split(FENCE, maxsplit=2)
        return TypeAdapter(Notice).validate_python(yaml.safe_load(head) | {"body": body.strip()})
    except OSError as error:
        raise UserError(
            f"There is no notice at {path}: the verb that writes it did not get so far."
        ) from error
    except (ValueError, TypeError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{path} is not a notice: it needs a head between two lines of ---.") from error
