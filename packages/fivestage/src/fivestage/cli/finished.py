"""What the last demo was made from: one of the same code, data and champion has nothing left to compute."""

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
    """The record of the last demo that has ended."""

    made_from: str  # hashes of code and data as they are now
    name: str  # of the registered model
    file: Path = DEMO / "finished.json"  # where the record is kept; it is missing where no demo has ended

    @classmethod
    def of(cls, problem: Problem) -> "FinishedDemo":
        """The record of a problem's demo, as code and data are now.

        Args:
            problem: The problem that the demo is of.

        Returns:
            The record.
        """
        return cls(project_digest() + problem.digest(), problem.contract.name)

    def remember(self) -> None:
        """Keep what a demo that has just ended was made from, and the champion that it left."""
        content = json.dumps({"from": self.made_from, "champion": self._champion(), "at": round(time.time())})
        write_text(self.file, content)

    def is_current(self, page: Path) -> bool:
        """Whether another demo would come to the same; if so, say it.

        Args:
            page: The report that the last demo wrote.

        Returns:
            True where code, data and champion are those of the last demo, and its report is there.
        """
        if not (self.file.exists() and page.exists()):
            return False
        known = json.loads(self.file.read_text(encoding="utf-8"))
        if known["from"] != self.made_from or known["champion"] != self._champion():
            return False
        typer.echo(
            f"Code, data and champion are those of the demo that ended at {iso(known['at'])}: nothing is "
            f"computed again, and {page} has its results. To run it from scratch: make clean demo"
        )
        return True

    def _champion(self) -> list[str] | None:
        found = ModelRegistry(self.name).champion()
        return [found.version, found.digest, found.run_id] if found else None
