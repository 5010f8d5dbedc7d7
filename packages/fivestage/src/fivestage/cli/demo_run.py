"""A run of the five stages, as `make demo` does it."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.settings import DEMO, REPORTS, RESULTS
from fivestage.contract.contract import iso
from fivestage.features.problem import Problem

if TYPE_CHECKING:  # they take seconds to import
    import pandas as pd

    from fivestage.data.event_tables import EventTables
    from fivestage.deployment.service_client import Deployment
    from fivestage.monitoring.retraining_loop import RetrainingLoop, TrainingResult
    from fivestage.registry.versions import Version

PAGE = REPORTS / "index.html"


class DemoRun:
    """A run of the stages: it prints and times them, and simulates the months after the training.

    Args:
        problem: The problem.
        record: The file that says what the last finished demo was made from.

    Attributes:
        seconds: The duration of each stage so far.
        cached: Whether the data came from ZenML's cache.
        folder: The folder of the demo's service.
    """

    folder = str(DEMO)

    def __init__(self, problem: Problem, record: Path = DEMO / "finished.json") -> None:
        self.seconds: dict[str, float] = {}
        self.cached = False
        self._problem, self._record = problem, record

    @contextmanager
    def stage(self, name: str, sentence: str) -> Iterator[None]:
        """Time one of the five stages."""
        from fivestage.reporting.number_format import seconds
        from fivestage.reporting.sentences import STAGES

        names = [stage.name for stage in STAGES]
        typer.echo(f"{name} ({names.index(name) + 1} of {len(names)}): {sentence}")
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        typer.echo(f"  {name} took {seconds(self.seconds[name])}")

    def is_current(self, page: Path = PAGE) -> bool:
        """Return whether another demo would give the same results and report; if so, print that."""
        made_from = self._made_from
        if not (self._record.exists() and page.exists()):
            return False
        known = json.loads(self._record.read_text(encoding="utf-8"))
        if known["from"] != made_from or known["champion"] != self._champion():
            return False
        typer.echo(
            f"Code, data and champion are those of the demo that ended at {iso(known['at'])}: nothing is "
            f"computed again; its results are in {page}. To run it from scratch: make clean demo"
        )
        return True

    def remember(self) -> None:
        """Store the hashes and the champion of a demo that has just finished."""
        content = json.dumps(
            {"from": self._made_from, "champion": self._champion(), "at": round(time.time())}
        )
        write_text(self._record, content)

    @cached_property
    def _made_from(self) -> str:
        """Hashes of code and data as they were when the demo started."""
        from fivestage.orchestration.lineage import project_digest

        return project_digest() + self._problem.digest()

    def _champion(self) -> list[str] | None:
        from fivestage.registry.versions import ModelRegistry

        found = ModelRegistry(self._problem.contract.name).champion()
        return [found.version, found.digest, found.run_id] if found else None

    def clear(self) -> None:
        """Stop and delete what an earlier demo left, and check that the service's port is free.

        Raises:
            UserError: If another process listens on the port.
        """
        from fivestage.deployment.local_process import stop
        from fivestage.deployment.service_client import require_free_port
        from fivestage.serving.service_settings import Settings

        settings = Settings.of_folder(self.folder)
        stop(settings)
        shutil.rmtree(DEMO, ignore_errors=True)
        require_free_port(settings)

    def simulate(
        self,
        trained: "TrainingResult",
        data: "tuple[pd.DataFrame, EventTables]",
        loop: "RetrainingLoop",
        deploy: "Callable[[Version], Deployment]",
    ) -> None:
        """Serve a version as a local process, and simulate the following months.

        Args:
            trained: The version and its gates.
            data: All rows and events, including those after the training day.
            loop: The retraining loop in the folder of the service.
            deploy: Serves a version from that folder.

        Raises:
            UserError: If the version was not promoted, or a request failed.
        """
        from fivestage.cli.simulation import Simulation
        from fivestage.deployment.local_process import stop
        from fivestage.reporting.results import MonitoringSection, ServingSection, forget
        from fivestage.serving.service_settings import Settings

        forget(ServingSection, RESULTS)  # so that a failing run is not reported with results of the last one
        forget(MonitoringSection, RESULTS)
        if not trained.promoted:
            failed = ", ".join(gate.name for gate in trained.gates if not gate.passed)
            if not failed:
                raise UserError(
                    "The model passed its gates and waits for approval: make approve, then make deploy."
                )
            raise UserError(
                f"The model did not pass its gates ({failed}), so nothing is served; {PAGE} shows how it did."
            )
        settings = Settings.of_folder(loop.folder)
        try:
            with self.stage("serving", f"version {trained.version.version} as a local process"):
                deployed = deploy(trained.version)
                parity = f"predictions differ from the offline ones by at most {deployed.difference:.1g}"
                typer.echo(f"  {deployed.url}: {parity}")
            with self.stage("monitoring", "the months after training, a period at a time"):
                Simulation(loop.contract, settings, loop, deploy).run(trained.version, *data)
        finally:
            stop(settings)
