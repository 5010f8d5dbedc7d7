"""The corpus: accepted pages of the repository and records of runs, checked for secrets.

Whether a text may be quoted depends on its origin: a page is quoted once the digest of its wording is in
`assistant/accepted.txt`, which is committed and so reviewed. Someone who slips a text into a page cannot make
the assistant say it. Numbers are not part of the wording, as measured ones change.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.contract.contract import Contract
from fivestage.deployment.releases import Release
from fivestage.reporting.results import Results
from pydantic import TypeAdapter

from fivestage_assistant.assistant_contract import Corpus
from fivestage_assistant.passages import Document
from fivestage_assistant.run_records import records

SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|DSN", re.IGNORECASE)
SECRET_FORMS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|://[^/\s:@]+:(?![A-Z_]+@)[^/\s:@]+@"  # capitals are a placeholder
)
# A number, or a digest such as that of the measured commit.
FIGURE = re.compile(r"\b[0-9a-f]{10,}\b|\d(?:[\d.,]*\d)?")
ACCEPTED = "assistant/accepted.txt"  # in the format of `sha256sum`: a digest and a path per line
SHORTEST_SECRET = 8  # characters; shorter values may be ordinary words


def collect(
    corpus: Corpus,
    root: Path,
    contract: Contract,
    results: Results,
    releases: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[Document]:
    """Read the corpus.

    Args:
        corpus: which pages and records belong to it.
        root: the project's folder.
        contract: the problem's contract, for the records.
        results: the results of the last run, for the records.
        releases: the release history, one JSON object per line; it may be missing.
        environment: environment variables, whose secrets must not occur in the corpus.

    Returns:
        The documents, pages in the order of their paths.

    Raises:
        UserError: if a line holds a secret, or no document is found.
    """
    paths = sorted({path for pattern in corpus.pages for path in root.glob(pattern) if path.is_file()})
    accepted = accepted_wordings(root)
    found = []
    for path in paths:
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        found.append(Document(name, text, accepted=accepted.get(name) == wording_digest(text)))
    if corpus.records:
        refused = {one.path for one in found if not one.accepted}
        written = records(contract, results, _releases(releases))
        found += [replace(one, accepted=one.origin not in refused) for one in written]
    if not found:
        raise UserError(f"No document was found under {root}: name pages in assistant/assistant.yaml.")
    require_no_secrets(found, environment)
    return found


def wording_digest(text: str) -> str:
    """Return the SHA-256 of a page's words; numbers and white space do not count."""
    words = " ".join(FIGURE.sub("0", text).split())
    return hashlib.sha256(words.encode()).hexdigest()


def accepted_wordings(root: Path) -> dict[str, str]:
    """Return the digest of each page's accepted wording; empty if nothing has been accepted."""
    path = root / ACCEPTED
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def accept_pages(root: Path, documents: Iterable[Document]) -> Path:
    """Record that all pages may be quoted as they are worded now, and return the file to commit.

    Records of runs need no acceptance.
    """
    lines = [f"{wording_digest(one.text)}  {one.path}\n" for one in documents if not one.origin]
    return write_text(root / ACCEPTED, "".join(lines))


def corpus_digest(documents: Iterable[Document]) -> str:
    """Return the SHA-256 of all documents; when it changes, the index is out of date."""
    digests = sorted(one.digest for one in documents)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def require_no_secrets(documents: Iterable[Document], environment: Mapping[str, str] = os.environ) -> None:
    """Raise a UserError naming file and line (not the secret) if a document holds a secret.

    Secrets are the values of environment variables with names such as `API_TOKEN`, and known forms of keys.
    """
    secrets = {
        value: name
        for name, value in environment.items()
        if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET and not value.isdecimal()
    }
    for document in documents:
        for number, line in enumerate(document.text.splitlines(), 1):
            what = next((f"the value of {name}" for value, name in secrets.items() if value in line), "")
            if SECRET_FORMS.search(line):
                what = "what looks like a key or a password"
            if what:
                raise UserError(f"{document.path}, line {number}, holds {what}: remove it, then index again.")


def _releases(history: Path | None) -> list[Release]:
    if history is None or not history.exists():
        return []
    read = TypeAdapter(Release)
    lines = history.read_text(encoding="utf-8").splitlines()
    return [read.validate_python(json.loads(line)) for line in lines if line.strip()]
