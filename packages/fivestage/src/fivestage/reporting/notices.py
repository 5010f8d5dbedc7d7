"""Notices: reports of a run that become an issue.

A notice is a Markdown file with YAML front matter, which `fivestage.ci` turns into an issue.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from fivestage.common.errors import UserError
from fivestage.common.files import write_text

FENCE = "---\n"


@dataclass(frozen=True)
class Notice:
    """A report for people, and whether it needs their attention."""

    kind: str  # `monitoring` or `retraining`; at most one issue per kind is open
    title: str  # of the issue
    attention: bool  # whether a person must act on it
    body: str  # markdown
    facts: dict[str, str] = field(default_factory=dict)  # outputs for the workflow's next steps, by name

    def write(self, path: Path) -> Path:
        """Write the notice to a file atomically, and return the path."""
        head = asdict(self)
        body = head.pop("body").strip()
        text = f"{FENCE}{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}{FENCE}\n{body}\n"
        return write_text(path, text)


def read_notice(path: Path) -> Notice:
    """Read a notice that `Notice.write` has written."""
    try:
        _, head, body = path.read_text(encoding="utf-8").split(FENCE, maxsplit=2)
        return TypeAdapter(Notice).validate_python(yaml.safe_load(head) | {"body": body.strip()})
    except OSError as error:
        raise UserError(
            f"There is no notice at {path}: the command that writes it failed before writing it."
        ) from error
    except (ValueError, TypeError, yaml.YAMLError, ValidationError) as error:
        raise UserError(
            f"{path} is not a notice: it must start with YAML front matter between two lines of ---."
        ) from error
