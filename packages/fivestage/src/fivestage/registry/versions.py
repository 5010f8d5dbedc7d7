"""Model versions in MLflow: runs, artifacts, lineage, and the aliases `champion`, `challenger`, `waiting`."""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import mlflow
import pandas as pd
from mlflow.artifacts import download_artifacts, load_text
from mlflow.entities import Param
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import TypeAdapter

from fivestage.artifact.artifact import (
    Artifact,
    FormatError,
    Lineage,
    artifact_digest,
    load_artifact,
    save_artifact,
)
from fivestage.artifact.required_features import require_features
from fivestage.common.errors import UserError
from fivestage.common.revision import commit
from fivestage.common.settings import VAR
from fivestage.contract.contract import day, day_of, epoch, iso
from fivestage.data.splits import TemporalSplit
from fivestage.features.definitions import FeatureDefinitions
from fivestage.registry.pyfunc_model import ARTIFACT, described, write_flavour
from fivestage.registry.training_runs import TrainingDetails, begin, details_of, known_numbers, metrics_of
from fivestage.training.selection import Candidates, Selection

CHAMPION, CHALLENGER, WAITING = "champion", "challenger", "waiting"
LOADER = "loader"  # the tag of a version that another package reads; it names a module with `load(folder)`
MODEL = "model"  # the folder of a run in which MLmodel is
NO_DETAILS = TrainingDetails()
_CACHE = VAR / "models"
Record = TypeVar("Record")


@dataclass(frozen=True)
class Version:
    """A registered version and where it came from; `loader`: the module that reads what is no `Artifact`."""

    name: str
    version: str
    digest: str
    run_id: str
    as_of: int
    commit: str
    loader: str = ""

    def record(self, value: object) -> None:
        """Keep a dataclass with the version's run, as JSON.

        Args:
            value: an instance of a dataclass; its file has the class's name, and replaces one of that name.
        """
        text = json.dumps(TypeAdapter(type(value)).dump_python(value, mode="json"), indent=1)  # keeps NaN
        MlflowClient().log_text(self.run_id, text, _record_path(type(value)))

    def load_record(self, kind: type[Record]) -> Record:
        """What `record` kept of this kind.

        Args:
            kind: the dataclass that was kept.

        Returns:
            An instance of it.

        Raises:
            UserError: when the run holds no such record.
            ValueError: when what it holds does not fit the dataclass.
        """
        try:
            text = load_text(f"runs:/{self.run_id}/{_record_path(kind)}")
        except MlflowException as error:
            raise UserError(
                f"Version {self.version} of {self.name} has no {_record_path(kind)}: "
                "train it again with `make train`."
            ) from error
        return TypeAdapter(kind).validate_python(json.loads(text))

    def selection(self) -> Selection:
        """How it was chosen on the folds, as `ModelRegistry.register_training` kept it.

        Returns:
            Its candidate, settings and calibration, and the leaderboard.

        Raises:
            UserError: when it was registered otherwise.
        """
        return self.load_record(Selection)

    def annotate(self, texts: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        """Add files of text and metrics to the version's run.

        Args:
            texts: contents by path in the run's artifacts.
            metrics: numbers by name; those that are NaN are left out.
        """
        client = MlflowClient()
        for path, text in texts.items():
            client.log_text(self.run_id, text, path)
        for key, value in known_numbers(metrics).items():
            client.log_metric(self.run_id, key, value)


@dataclass(frozen=True)
class ModelRegistry:
    """The versions of one model in MLflow, and which of them serves."""

    name: str  # of the registered model, and of the experiment that holds its trainings

    def register(
        self,
        artifact: Artifact,
        details: TrainingDetails = NO_DETAILS,
    ) -> Version:
        """Log a training as a run with its candidates below it, and register the artifact as an MLflow model.

        Args:
            artifact: what was trained.
            details: what the run shows: parameters, candidates, data, and times.

        Returns:
            The new version; of an artifact that is registered already, the version that it has.
        """
        folder = _CACHE / ".new"
        digest = save_artifact(artifact, folder)
        kept = _CACHE / digest
        if kept.exists():
            shutil.rmtree(folder)
        else:
            folder.replace(kept)
        if known := self.with_digest(digest):
            return known
        client, as_of = MlflowClient(), str(day_of(artifact.as_of))
        run_id = begin(client, self.name, digest, f"train as of {as_of}", details)
        parameters = {**details.parameters, "as_of": as_of, "features": len(artifact.features)}
        now = round(time.time() * 1000)
        client.log_batch(
            run_id,
            params=[Param(key, str(value)) for key, value in parameters.items()],
            metrics=[one for row in details.leaderboard if row.chosen for one in metrics_of(row, now)],
        )
        with tempfile.TemporaryDirectory() as scratch:
            model = Path(scratch) / MODEL
            shutil.copytree(kept, model / ARTIFACT)
            write_flavour(artifact, model, run_id, details.problem)
            client.log_artifacts(run_id, scratch)
        description = f"As of {as_of}. {described(artifact.contract)}"
        version = self.add(run_id, artifact.lineage, digest, as_of, description)
        client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        return version

    def register_training(
        self,
        artifact: Artifact,
        selection: Selection,
        candidates: Candidates,
        rows: pd.DataFrame,
        windows: TemporalSplit,
        started: float,
        kept: str = "",
    ) -> Version:
        """Register what a training made, with a run for each candidate below its own, and keep the selection.

        Args:
            artifact: what was trained.
            selection: what was tried, and chosen.
            candidates: unfitted estimators by name.
            rows: all rows, with `decision_at` (epoch seconds).
            windows: which of them are in which window.
            started: when the training began, epoch seconds.
            kept: the version whose selection was kept, so that nothing was tried; empty where all was.

        Returns:
            The new version; of an artifact that is registered already, the version that it has.
        """
        data = artifact.lineage.data
        details = details_of(selection, candidates, rows, windows, data, started, kept)
        version = self.register(artifact, details)
        version.record(selection)
        return version

    def add(
        self, run_id: str, lineage: Lineage, digest: str, as_of: str, description: str, loader: str = ""
    ) -> Version:
        """End a run, and make the model that lies in it a version; no alias points to it.

        Args:
            run_id: the run, whose folder `model` holds what is registered.
            lineage: what it was made from.
            digest: of its manifest.
            as_of: the day of its training, in ISO 8601.
            description: for MLflow's pages.
            loader: the module that reads it; empty: it is an artifact.

        Returns:
            The new version.
        """
        client = MlflowClient()
        client.set_terminated(run_id)
        tags = asdict(lineage) | {"digest": digest, "as_of": as_of, "commit": commit()}
        tags |= {LOADER: loader} if loader else {}
        source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL}"
        found = client.create_model_version(
            self.name, source, run_id=run_id, tags=tags, description=description
        )
        return _version(client.get_model_version(self.name, found.version))

    def versions(self) -> list[Version]:
        """All versions that were registered by `add`, those that another package reads included."""
        return [_version(one) for one in self._versions(MlflowClient()) if "digest" in one.tags]

    def with_digest(self, digest: str) -> Version | None:
        """The version that has this digest, if what it names is registered already."""
        return next((one for one in self.versions() if one.digest == digest), None)

    def key(self) -> str:
        """What tells this registry from another, for results that hold its version numbers."""
        client = MlflowClient()
        self._versions(client)
        return f"{mlflow.get_tracking_uri()} {client.get_registered_model(self.name).creation_timestamp}"

    def find(self, version: str) -> Version:
        """A registered version.

        Args:
            version: its number in the registry, as text.

        Returns:
            The version, with its digest, run, commit, and `as_of` in epoch seconds.

        Raises:
            UserError: when the registry does not have it.
        """
        try:
            return _version(MlflowClient().get_model_version(self.name, version))
        except MlflowException as error:
            raise UserError(
                f"The registry has no version {version} of {self.name}: train one with `make train`."
            ) from error

    def open(self, version: str, definitions: FeatureDefinitions | None = None) -> tuple[Version, Artifact]:
        """A registered version and its artifact.

        Args:
            version: its number in the registry, as text.
            definitions: the features that it would be served with, of which it must lack none.

        Returns:
            The version, and the artifact after its files were held against the registered digest.

        Raises:
            UserError: when the registry does not have it, or the artifact is damaged, another one, or of
                another format, or uses a feature that the definitions lack.
        """
        found = self.find(version)
        if found.loader:
            raise UserError(
                f"Version {version} of {self.name} is read by {found.loader} and scores in batch alone: "
                f'make score ARGS="--version {version} --input rows.csv --output scored.csv"'
            )
        artifact = load_artifact(self.fetch(version), found.digest)
        if definitions is not None:
            try:
                require_features(artifact, definitions)
            except FormatError as error:
                raise UserError(f"Version {version} of {self.name} cannot be asked: {error}") from error
        return found, artifact

    def fetch(self, version: str, into: Path = _CACHE) -> Path:
        """The folder of a registered version's artifact, brought here unless it is here already.

        Args:
            version: its number in the registry, as text.
            into: the folder that keeps artifacts, each in a folder named by its digest.

        Returns:
            The artifact's folder, whose manifest has the registered digest.

        Raises:
            UserError: when the registry does not have it, or the folder is not what was registered.
        """
        found = self.find(version)
        kept = into / found.digest
        if not kept.exists():
            scratch = into / f".{found.digest}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            _download(found, scratch).replace(kept)
            shutil.rmtree(scratch, ignore_errors=True)
        if artifact_digest(kept) != found.digest:
            raise UserError(
                f"{kept} is not what was registered as version {version}: delete it and run again."
            )
        return kept

    def champion(self) -> Version | None:
        """The version that holds the alias, if there is one."""
        return self._holder(CHAMPION)

    def challenger(self) -> Version | None:
        """The version that was registered last, if it is not the champion."""
        found = self._holder(CHALLENGER)
        return None if found == self.champion() else found

    def waiting(self) -> Version | None:
        """The version that has passed its gates and waits for a person's approval, if there is one."""
        return self._holder(WAITING)

    def require_champion(self) -> Version:
        """The champion.

        Raises:
            UserError: when there is none.
        """
        found = self.champion()
        if found is None:
            raise UserError(
                f"{self.name} has no champion yet: run `make train`, and see which gate stops it."
            )
        return found

    def promote(self, version: Version) -> None:
        """Move the alias `champion`; nothing waits for approval then.

        Args:
            version: the new champion.
        """
        client = MlflowClient()
        client.set_registered_model_alias(self.name, CHAMPION, version.version)
        if self.waiting():
            client.delete_registered_model_alias(self.name, WAITING)

    def await_approval(self, version: Version) -> None:
        """Move the alias `waiting`.

        Args:
            version: what has passed its gates and needs a person's approval.
        """
        MlflowClient().set_registered_model_alias(self.name, WAITING, version.version)

    def approve(self, who: str) -> Version:
        """Promote the version that waits, and keep who approved of it with the version.

        Raises:
            UserError: when nobody is named, or nothing waits.
        """
        found = self.waiting()
        if found is None:
            raise UserError(f"No version of {self.name} waits for approval.")
        if not who.strip():
            raise UserError(f'Say who approves of version {found.version}: make approve ARGS="--by NAME"')
        MlflowClient().set_model_version_tag(self.name, found.version, "approved_by", who.strip())
        self.promote(found)
        return found

    def log_period(
        self,
        of: str,
        start: int,
        end: int,
        *,
        versions: Sequence[str],
        metrics: Mapping[str, float],
        files: Sequence[tuple[str, str] | Path],
    ) -> None:
        """Log a period of service as a run of MLflow; one that was cut short, or that is repeated, goes on.

        Args:
            of: which service, and which of its periods; the run is found again by this tag.
            start: the period's first moment, epoch seconds.
            end: the first moment after it, epoch seconds.
            versions: those that served.
            metrics: numbers by name; those that are NaN are left out.
            files: the run's artifacts: names and texts, or files to be copied.
        """
        mlflow.set_experiment(f"{self.name}-monitoring")
        known = mlflow.search_runs(filter_string=f"tags.of = '{of}'", max_results=1, output_format="list")
        again = known[0].info.run_id if known else None
        name = None if again else f"period from {day_of(start)}"
        with mlflow.start_run(run_id=again, run_name=name, tags={"of": of, "versions": ", ".join(versions)}):
            mlflow.log_params({"start": iso(start), "end": iso(end)})
            mlflow.log_metrics(known_numbers(metrics))
            for file in files:
                if isinstance(file, Path):
                    mlflow.log_artifact(str(file))
                else:
                    mlflow.log_text(file[1], file[0])

    def _holder(self, alias: str) -> Version | None:
        try:
            return _version(MlflowClient().get_model_version_by_alias(self.name, alias))
        except MlflowException:
            return None

    def _versions(self, client: MlflowClient) -> list[ModelVersion]:
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)
        return list(client.search_model_versions(f"name = '{self.name}'"))


def _record_path(kind: type[object]) -> str:
    return f"{kind.__name__.lower()}.json"


def _version(found: ModelVersion) -> Version:
    return Version(
        found.name,
        str(found.version),
        found.tags["digest"],
        found.run_id or "",
        _epoch_of(found.tags["as_of"]),
        found.tags["commit"],
        found.tags.get(LOADER, ""),
    )


def _download(version: Version, into: Path) -> Path:
    """Bring the artifact of a version; those before v0.3.0 lie in the run without a model around them."""
    listed = MlflowClient().list_artifacts(version.run_id, MODEL)
    inside = f"{MODEL}/{ARTIFACT}" if listed else ARTIFACT
    return Path(download_artifacts(f"runs:/{version.run_id}/{inside}", dst_path=str(into)))


def _epoch_of(tag: str) -> int:
    """The moment in a tag: a day, or epoch seconds as before v0.3.0."""
    return int(tag) if tag.isdigit() else epoch(day(tag))
