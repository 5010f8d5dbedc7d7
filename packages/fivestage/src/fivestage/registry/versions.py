"""Model versions in MLflow: runs, artifacts, lineage, and the aliases `champion`, `challenger`, `waiting`."""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
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
from fivestage.common.database import unanswered
from fivestage.common.errors import UserError
from fivestage.common.revision import commit
from fivestage.common.settings import VAR
from fivestage.contract.contract import Contract, day_of, epoch_of, iso
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.evaluate import answers_of
from fivestage.evaluation.metrics import Answers
from fivestage.features.definitions import FeatureDefinitions
from fivestage.registry.pyfunc_model import ARTIFACT, described, write_flavour
from fivestage.registry.training_runs import TrainingDetails, begin, datasets_of, known_numbers, metrics_of
from fivestage.training.selection import Candidates, Selection, parameters_of

CHAMPION, CHALLENGER, WAITING = "champion", "challenger", "waiting"
LOADER = "loader"  # tag of a version that another package loads: a module with `load(folder)`
PREVIOUS = "previous_champion"  # tag of a version that was promoted: the champion before it
MODEL = "model"  # folder in a run's artifacts that contains MLmodel
NO_DETAILS = TrainingDetails()
_CACHE = VAR / "models"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # of a version or model, and of an alias
Record = TypeVar("Record")


@dataclass(frozen=True)
class Version:
    """A registered version and its origin; `loader` names the module that loads it if it is no `Artifact`."""

    name: str
    version: str
    digest: str
    run_id: str
    as_of: int
    commit: str
    loader: str = ""

    @property
    def day(self) -> date:
        """The day as of which it was trained."""
        return day_of(self.as_of)

    def is_after(self, day: str) -> bool:
        """Whether it was trained as of a later day than this one, such as `2024-01-31`."""
        return self.as_of > epoch_of(day)

    def record(self, value: object) -> None:
        """Store a dataclass instance as JSON with the run, in a file named after its class."""
        text = json.dumps(TypeAdapter(type(value)).dump_python(value, mode="json"), indent=1)  # keeps NaN
        MlflowClient().log_text(self.run_id, text, _record_path(type(value)))

    def load_record(self, kind: type[Record]) -> Record:
        """Load the instance of a dataclass that `record` stored; raise a `UserError` if there is none."""
        try:
            text = load_text(f"runs:/{self.run_id}/{_record_path(kind)}")
        except MlflowException as error:
            raise UserError(
                f"Version {self.version} of {self.name} has no {_record_path(kind)}: "
                "train it again with `make train`."
            ) from error
        return TypeAdapter(kind).validate_python(json.loads(text))

    def selection(self) -> Selection:
        """Load the selection that `ModelRegistry.register_training` stored."""
        return self.load_record(Selection)

    def annotate(self, texts: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        """Add text files (by path) and metrics (by name; without NaN) to the run."""
        client = MlflowClient()
        for path, text in texts.items():
            client.log_text(self.run_id, text, path)
        for key, value in known_numbers(metrics).items():
            client.log_metric(self.run_id, key, value)


@dataclass(frozen=True)
class ModelRegistry:
    """The versions of one model in MLflow, each named by its number as text, and their aliases."""

    name: str  # of the registered model, and of the experiment with its training runs

    def register(
        self,
        artifact: Artifact,
        details: TrainingDetails = NO_DETAILS,
    ) -> Version:
        """Log a training as a run with a child run per candidate, and register the artifact as a model.

        Return the new version, or the existing one if the artifact is already registered.
        """
        folder = _CACHE / ".new"
        digest = save_artifact(artifact, folder)
        cached = _CACHE / digest
        if cached.exists():
            shutil.rmtree(folder)
        else:
            folder.replace(cached)
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
            shutil.copytree(cached, model / ARTIFACT)
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
        """Register a trained artifact as `register` does, and store its selection.

        Args:
            artifact: The trained artifact.
            selection: The chosen candidate and its leaderboard.
            candidates: Unfitted estimators by name.
            rows: All rows, with `decision_at` in epoch seconds.
            windows: The positions of the rows in each window.
            started: When the training started, in epoch seconds.
            kept: The version whose selection was reused; empty if the candidates were compared.
        """
        how = f"calibrated as in version {kept}" if kept else f"chosen on {len(windows.folds)} temporal folds"
        details = TrainingDetails(
            parameters_of(candidates, selection),
            () if kept else selection.leaderboard,
            datasets_of(rows, windows, artifact.lineage.data),
            started,
            note=f"{selection.candidate}, {how}",
        )
        version = self.register(artifact, details)
        version.record(selection)
        return version

    def add(
        self, run_id: str, lineage: Lineage, digest: str, as_of: str, description: str, loader: str = ""
    ) -> Version:
        """End a run, and register what its folder `model` holds as a version without an alias.

        Args:
            run_id: The run.
            lineage: The data and code that the model was made from.
            digest: The digest of the model's manifest.
            as_of: The training day in ISO 8601.
            description: The description for MLflow's pages.
            loader: The module that loads the model; empty if it is an artifact.
        """
        client = MlflowClient()
        client.set_terminated(run_id)
        tags = asdict(lineage) | {"digest": digest, "as_of": as_of, "commit": commit()}
        tags |= {LOADER: loader} if loader else {}
        source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL}"
        created = client.create_model_version(
            self.name, source, run_id=run_id, tags=tags, description=description
        )
        return _version(client.get_model_version(self.name, created.version))

    def versions(self) -> list[Version]:
        """Return all versions registered by `add`, including those that another package loads."""
        return [_version(one) for one in self._versions(MlflowClient()) if "digest" in one.tags]

    def with_digest(self, digest: str) -> Version | None:
        """Return the version with this digest, or None if there is none."""
        return next((one for one in self.versions() if one.digest == digest), None)

    def key(self) -> str:
        """Return a key of this registry, to cache results that depend on its version numbers."""
        client = MlflowClient()
        self._versions(client)
        return f"{mlflow.get_tracking_uri()} {client.get_registered_model(self.name).creation_timestamp}"

    def find(self, version: str) -> Version:
        """Look up a version; raise a `UserError` if there is none, or the registry does not answer."""
        try:
            return _version(MlflowClient().get_model_version(self.name, version))
        except MlflowException as error:
            _require_answer(error)
            raise UserError(
                f"The registry has no version {version} of {self.name}: train one with `make train`."
            ) from error

    def open(self, version: str, definitions: FeatureDefinitions | None = None) -> tuple[Version, Artifact]:
        """Look up a version, and load its artifact after verification against the registered digest.

        Raises:
            UserError: If the registry does not have it, or the artifact is damaged, differs from the
                registered one, has another format, or uses a feature that the definitions (if given) lack.
        """
        found = self.find(version)
        if found.loader:
            raise UserError(
                f"Version {version} of {self.name} is loaded by {found.loader} and can only score batches: "
                f'make score ARGS="--version {version} --input rows.csv --output scored.csv"'
            )
        artifact = load_artifact(self.fetch(version), found.digest)
        if definitions is not None:
            try:
                require_features(artifact, definitions)
            except FormatError as error:
                raise UserError(f"Version {version} of {self.name} cannot predict: {error}") from error
        return found, artifact

    def artifact_of(self, version: str) -> Artifact | str:
        """Return the artifact of a version that served, or why nobody can predict with it any more.

        Raises:
            UserError: If the artifact is damaged or not the registered one, or the registry does not answer.
        """
        if version not in {one.version for one in self.versions()}:
            return (
                f"the registry has no version {version}, which served: build images with the registry that "
                "monitoring reads (MLFLOW_TRACKING_URI)"
            )
        try:
            return self.open(version)[1]
        except FormatError as error:
            return f"version {version} cannot predict any more: {error}"

    def champion_answers(self, version: str, features: pd.DataFrame, contract: Contract) -> Answers | str:
        """Return the champion's forecasts and decisions, or why it cannot be compared with a challenger.

        Args:
            version: The champion's number.
            features: Rows x features, by name, text as text.
            contract: The problem's contract as it is now, which prices the decisions.

        Returns:
            The answers, one per row. A sentence if the champion is of another artifact format, was trained
            with a feature that the project no longer has, or decides on other actions.

        Raises:
            UserError: If the registry does not have it, or its artifact is damaged or not the registered one.
        """
        try:
            artifact = self.open(version)[1]
            theirs, ours = ([*getattr(one.costs, "actions", ())] for one in (artifact.contract, contract))
            if theirs != ours:
                return f"the champion, version {version}, decides on other actions than the contract has now"
            return answers_of(artifact, features)
        except FormatError as error:
            return f"the champion, version {version}, cannot predict: {error}"

    def fetch(self, version: str, into: Path = _CACHE) -> Path:
        """Return the folder of a version's artifact, downloading it if necessary.

        Args:
            version: Its number.
            into: The cache folder, in which each artifact has a folder named by its digest.

        Raises:
            UserError: If the registry does not have it, or the folder differs from what was registered.
        """
        found = self.find(version)
        folder = into / found.digest
        if not folder.exists():
            scratch = into / f".{found.digest}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            _download(found, scratch).replace(folder)
            shutil.rmtree(scratch, ignore_errors=True)
        if artifact_digest(folder) != found.digest:
            raise UserError(
                f"{folder} differs from what was registered as version {version}: delete it and run again."
            )
        return folder

    def champion(self) -> Version | None:
        """Return the version with the alias `champion`, or None if there is none."""
        return self._holder(CHAMPION)

    def challenger(self) -> Version | None:
        """Return the last registered version, or None if that is the champion."""
        found = self._holder(CHALLENGER)
        return None if found == self.champion() else found

    def waiting(self) -> Version | None:
        """Return the version that passed its gates and waits for a person's approval, or None."""
        return self._holder(WAITING)

    def require_champion(self) -> Version:
        """Return the champion; raise a `UserError` if there is none."""
        if found := self.champion():
            return found
        raise UserError(
            f"{self.name} has no champion yet: run `make train`, which also shows whether a gate fails."
        )

    def previous_champion(self) -> Version:
        """Return the version whose place the champion took; raise a `UserError` if none is recorded."""
        champion = self.require_champion()
        before = MlflowClient().get_model_version(self.name, champion.version).tags.get(PREVIOUS)
        if before is None:
            raise UserError(
                f"The registry has no record of a champion before version {champion.version} of {self.name}: "
                "rollback is impossible."
            )
        return self.find(before)

    def promote(self, version: Version) -> None:
        """Make a version the champion, and record with it the one whose place it takes."""
        before = self.champion()
        if before and before.version != version.version:
            MlflowClient().set_model_version_tag(self.name, version.version, PREVIOUS, before.version)
        self.restore(version)

    def restore(self, version: Version) -> None:
        """Move the alias `champion` to a version, and remove the alias `waiting`."""
        client = MlflowClient()
        client.set_registered_model_alias(self.name, CHAMPION, version.version)
        if self.waiting():
            client.delete_registered_model_alias(self.name, WAITING)

    def await_approval(self, version: Version) -> None:
        """Move the alias `waiting` to a version that passed its gates and needs a person's approval."""
        MlflowClient().set_registered_model_alias(self.name, WAITING, version.version)

    def approve(self, who: str) -> Version:
        """Promote the waiting version, and store the approver's name with it."""
        found = self.waiting()
        if found is None:
            raise UserError(f"No version of {self.name} waits for approval.")
        if not who.strip():
            raise UserError(f'Name who approves version {found.version}: make approve ARGS="--by NAME"')
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
        """Log a period of service as an MLflow run; if repeated, it continues the same run.

        Args:
            of: Identifies the service and the period; the run is found again by this tag.
            start: The start of the period in epoch seconds, inclusive.
            end: The end of the period in epoch seconds, exclusive.
            versions: The versions that served.
            metrics: Numbers by name; NaN values are left out.
            files: The run's artifacts: pairs of name and text, or files to copy.
        """
        mlflow.set_experiment(f"{self.name}-monitoring")
        known = mlflow.search_runs(filter_string=f"tags.of = '{of}'", max_results=1, output_format="list")
        run_id = known[0].info.run_id if known else None
        name = None if run_id else f"period from {day_of(start)}"
        with mlflow.start_run(run_id=run_id, run_name=name, tags={"of": of, "versions": ", ".join(versions)}):
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
        except MlflowException as error:
            _require_answer(error)
            return None

    def _versions(self, client: MlflowClient) -> list[ModelVersion]:
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)
        return list(client.search_model_versions(f"name = '{self.name}'"))


def _require_answer(error: MlflowException) -> None:
    """Raise a `UserError` unless the registry answered that it has no such version or alias."""
    if error.error_code not in _ABSENT:
        raise unanswered(mlflow.get_tracking_uri(), error) from error


def _record_path(kind: type[object]) -> str:
    return f"{kind.__name__.lower()}.json"


def _version(registered: ModelVersion) -> Version:
    return Version(
        registered.name,
        str(registered.version),
        registered.tags["digest"],
        registered.run_id or "",
        _training_time(registered.tags["as_of"]),
        registered.tags["commit"],
        registered.tags.get(LOADER, ""),
    )


def _download(version: Version, into: Path) -> Path:
    """Download a version's artifact, which before v0.3.0 was logged without an MLflow model around it."""
    has_model = MlflowClient().list_artifacts(version.run_id, MODEL)
    path = f"{MODEL}/{ARTIFACT}" if has_model else ARTIFACT
    return Path(download_artifacts(f"runs:/{version.run_id}/{path}", dst_path=str(into)))


def _training_time(tag: str) -> int:
    """Convert a tag to epoch seconds: a day, or already epoch seconds, as before v0.3.0."""
    return int(tag) if tag.isdigit() else epoch_of(tag)
