"""Record of the last finished demo, to skip another one with the same code, data and champion."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import typer

from fivestage.common.files import write_text
from fivestage.common.settings import DEMO
from fivestage.contract.contract import iso
from fivestage.features.problem import Problem
from fivestage.orchestration.lineage import project_digest
from fivestage.registry.versions import ModelRegistry


@dataclass(frozen=True)
class FinishedDemo:
    """The record of the last finished demo."""

    made_from: str  # hashes of code and data as they are now
    name: str  # of the registered model
    file: Path = DEMO / "finished.json"  # the record's file; it does not exist before a demo has finished

    @classmethod
    def of(cls, problem: Problem) -> "FinishedDemo":
        """Return the record for a problem with the current code and data."""
        return cls(project_digest() + problem.digest(), problem.contract.name)

    def remember(self) -> None:
        """Store the hashes and the champion of a demo that has just finished."""
        content = json.dumps({"from": self.made_from, "champion": self._champion(), "at": round(time.time())})
        write_text(self.file, content)

    def is_current(self, page: Path) -> bool:
        """Return whether another demo would give the same results and report (`page`); if so, print that."""
        if not (self.file.exists() and page.exists()):
            return False
        known = json.loads(self.file.read_text(encoding="utf-8"))
        if known["from"] != self.made_from or known["champion"] != self._champion():
            return False
        typer.echo(
            f"Code, data and champion are those of the demo that ended at {iso(known['at'])}: nothing is "
            f"computed again; its results are in {page}. To run it from scratch: make clean demo"
        )
        return True

    def _champion(self) -> list[str] | None:
        found = ModelRegistry(self.name).champion()
        return [found.version, found.digest, found.run_id] if found else None
