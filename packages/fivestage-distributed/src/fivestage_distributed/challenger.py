"""A transformer over the event log as a challenger: tokens, two trainings, calibration, the gates."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.calibration import AnyCalibration
from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, MulticlassContract, RegressionContract, epoch
from fivestage.contract.cost_model import cost_model_of
from fivestage.contract.strict_model import StrictModel
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit, cut
from fivestage.evaluation.champion_challenger import Evidence, run_gates
from fivestage.evaluation.evaluate import answers_of, decision_day
from fivestage.evaluation.gates import Gate
from fivestage.evaluation.metrics import Answers, Scored, evaluate
from fivestage.features.offline import build_features
from fivestage.features.problem import Problem, Tables
from fivestage.features.stores import OfflineFeatureStore
from fivestage.training.leakage_probes import future_is_unseen, windows_do_not_overlap
from fivestage.training.sample import training_sample
from fivestage.training.task_trainer import baseline_savings, trainer_of
from fivestage_distributed.checkpoints import load_parameters
from fivestage_distributed.configuration import ModelConfig, ParallelConfig, RunConfig, TrainingConfig
from fivestage_distributed.environment import Node, torchrun_environment
from fivestage_distributed.faults import processor_seconds
from fivestage_distributed.launch import command
from fivestage_distributed.model import IGNORED, Transformer, initial_model
from fivestage_distributed.sequences import Sequences, Tokens
from fivestage_distributed.tokens import (
    RawField,
    Vocabulary,
    encode,
    event_positions,
    learn_vocabulary,
    raw_fields,
    vocabulary_to_json,
)

Champion = Callable[[pd.DataFrame], Answers]
AT_ONCE = 512  # rows of a batch that is only scored
TIMED_ROWS = 20


class ChallengerConfig(StrictModel):
    """How large the challenger is, and how long it is trained.

    Args:
        rows: to learn from, evenly spread over time; all where there are fewer.
        events: of each log.
        layers: of the transformer.
        width: of the transformer.
        heads: of the transformer.
        batch: sequences of an update.
        pretraining: passes over the rows that predict the next token; 0: the label alone is learnt.
        finetuning: passes over the rows that predict the label.
        parallel: how both trainings are divided.
    """

    rows: int = 40_000
    events: int = 5
    layers: int = 2
    width: int = 48
    heads: int = 4
    batch: int = 64
    pretraining: float = 1
    finetuning: float = 2
    parallel: ParallelConfig = ParallelConfig()


@dataclass(frozen=True)
class Challenger:
    """A trained model with all that turns rows into forecasts.

    Args:
        model: on the CPU, ready to score.
        config: its sizes.
        vocabulary: of its tokens.
        calibration: of its raw scores, by temperature.
    """

    model: Transformer
    config: ModelConfig
    vocabulary: Vocabulary
    calibration: AnyCalibration

    def margins(self, tokens: Tokens) -> Floats:
        """Raw scores: the log-odds of two classes, or a log-probability of each of several."""
        scored = []
        with torch.no_grad():
            for start in range(0, len(tokens), AT_ONCE):
                logits = self.model(torch.from_numpy(tokens[start : start + AT_ONCE]))[:, -1]
                scored.append(logits[:, list(self.vocabulary.classes)].log_softmax(dim=1).double().numpy())
        found = np.concatenate(scored)
        return found[:, 1] - found[:, 0] if found.shape[1] == 2 else found  # noqa: PLR2004 (binary)

    def forecast(self, tokens: Tokens) -> Floats:
        """Calibrated forecasts, in the shape of the task."""
        return self.calibration.forecast(self.margins(tokens))


@dataclass(frozen=True)
class Judged:
    """What became of the challenger.

    Args:
        gates: the library's, on the holdout window.
        holdout: scores there, with intervals over days.
        test: scores on the test window, after it.
        without_events: scores on the test window with the events of other rows.
        parameters: of the model.
        rows: that it has learnt from.
        tokens: positions of a row.
        processor_seconds: of both trainings.
        losses: the last mean loss of each training, in nats a target.
    """

    gates: tuple[Gate, ...]
    holdout: Scored
    test: Scored
    without_events: Scored
    parameters: int
    rows: int
    tokens: int
    processor_seconds: float
    losses: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether it may serve."""
        return all(gate.passed for gate in self.gates)


def classes_of(contract: Contract) -> int:
    """How many classes the label has.

    Raises:
        UserError: the label is a number.
    """
    if isinstance(contract, RegressionContract):
        raise UserError(
            f"{contract.name} predicts a number; the transformer predicts classes: train it for a "
            "binary or a multiclass contract."
        )
    return len(contract.label.classes) if isinstance(contract, MulticlassContract) else 2


def train_challenger(
    problem: Problem, tables: Tables, windows: TemporalSplit, config: ChallengerConfig, folder: Path
) -> tuple[Challenger, dict[str, float]]:
    """Pre-train on the next token, fine-tune on the label, calibrate on the last fold's later rows.

    Args:
        problem: what it is about.
        tables: cleaned.
        windows: the last fold's training rows are learnt from, its validation rows calibrate.
        config: sizes.
        folder: of checkpoints and logs; a training that was cut short goes on.

    Returns:
        The challenger, and the last loss of each training.
    """
    contract, fold = problem.contract, windows.folds[-1]
    label = labels_of(tables.rows, contract)
    learnt, held = evenly(fold.train, config.rows), evenly(fold.valid, config.rows)
    source = TokenSource.of(problem, tables)
    raw = source.raw(learnt, config.events)
    vocabulary = learn_vocabulary(raw, classes_of(contract), config.events)
    tokens = encode(raw, vocabulary)
    model = ModelConfig(
        vocabulary=vocabulary.size,
        context=tokens.shape[1],
        layers=config.layers,
        heads=config.heads,
        width=config.width,
    )
    losses = {}
    before: Path | None = None
    for name, passes, targets in (
        ("pretraining", config.pretraining, next_tokens(tokens)),
        ("finetuning", config.finetuning, label_tokens(tokens, label[learnt])),
    ):
        steps = round(passes * (len(tokens) // config.batch))
        if steps:
            training = TrainingConfig(
                steps=steps,
                batch=config.batch,
                learning_rate=3e-3,
                warmup=min(100, steps // 10),
                parallel=config.parallel,
                checkpoint_every=steps,
            )
            run = RunConfig(model=model, training=training)
            losses[name] = _run(run, Sequences(tokens, targets), folder / name, before)
            before = folder / name
    trained = initial_model(model, 0)
    if before is not None:
        load_parameters(dict(trained.named_parameters()), before)
    trainer = trainer_of(contract)
    uncalibrated = Challenger(trained.eval(), model, vocabulary, trainer.uncalibrated)
    margins = uncalibrated.margins(source.tokens(held, vocabulary))
    calibration = trainer.calibrate(margins, label[held])
    return Challenger(trained, model, vocabulary, calibration), losses


def judge(
    problem: Problem,
    tables: Tables,
    windows: TemporalSplit,
    challenger: Challenger,
    champion: Champion | None,
    config: ChallengerConfig,
    spent: tuple[float, dict[str, float]] = (0.0, {}),
) -> Judged:
    """The library's own evaluation and gates, and what the events of other rows are worth.

    Args:
        problem: what it is about.
        tables: cleaned.
        windows: the holdout window decides, the test window after it is reported.
        challenger: trained.
        champion: what answers features as the champion does; None where there is none.
        config: how it was trained.
        spent: CPU seconds, and the last losses.

    Returns:
        Gates and scores.
    """
    contract, rows = problem.contract, tables.rows
    features = build_features(problem.features, rows, tables.events, tables.reference)
    source = TokenSource.of(problem, tables)
    start = time.perf_counter()
    for place in windows.holdout[:TIMED_ROWS]:
        challenger.forecast(source.tokens(np.array([place]), challenger.vocabulary))
    row_ms = (time.perf_counter() - start) / min(TIMED_ROWS, len(windows.holdout)) * 1000
    evidence = Evidence(
        baseline_savings(training_sample(rows, features, windows, contract), windows, contract),
        (
            future_is_unseen(
                lambda some, events: token_frame(problem, some, events, tables.reference, challenger),
                rows,
                tables.events,
                contract,
                problem.features.lookback_seconds,
            ),
            windows_do_not_overlap(rows["decision_at"].to_numpy(), rows["known_at"].to_numpy(), windows),
        ),
        row_ms,
    )
    answers = answers_to(challenger.forecast(source.tokens(windows.holdout, challenger.vocabulary)), contract)
    holdout = rows.iloc[windows.holdout]
    opponent = champion(features.iloc[windows.holdout]) if champion else None
    gates = tuple(run_gates(holdout, answers, opponent, evidence, contract))
    after = evenly(windows.after, config.rows)
    tokens = source.tokens(after, challenger.vocabulary)
    others = tokens.copy()
    positions = event_positions(source.raw(after[:1], config.events))
    others[:, positions] = tokens[np.random.default_rng(0).permutation(len(tokens))][:, positions]
    seconds, losses = spent
    return Judged(
        gates,
        _scored(holdout, answers, contract),
        _scored(rows.iloc[after], answers_to(challenger.forecast(tokens), contract), contract),
        _scored(rows.iloc[after], answers_to(challenger.forecast(others), contract), contract),
        sum(one.numel() for one in challenger.model.parameters()),
        min(config.rows, len(windows.folds[-1].train)),
        tokens.shape[1],
        seconds,
        losses,
    )


def champion_answers(artifact: Artifact) -> Champion:
    """The answers of an artifact of the registry to rows of features."""
    return partial(answers_of, artifact)


def evenly(places: Ints, count: int) -> Ints:
    """At most so many rows, spread evenly over time."""
    if len(places) <= count:
        return places
    return places[np.linspace(0, len(places) - 1, count).astype(np.int64)]


def next_tokens(tokens: Tokens) -> Tokens:
    """Targets of pre-training: the token after each; none of the question for the label."""
    none = np.full((len(tokens), 2), IGNORED)
    return np.concatenate([tokens[:, 1:-1], none], axis=1)


def label_tokens(tokens: Tokens, label: Any) -> Tokens:
    """Targets of fine-tuning: the label's class at the last position."""
    targets = np.full_like(tokens, IGNORED)
    targets[:, -1] = label
    return targets


def answers_to(forecast: Floats, contract: Contract) -> Answers:
    """Forecasts, and what the contract's costs decide by them."""
    return Answers(forecast, cost_model_of(contract.costs).decide(forecast))


def token_frame(
    problem: Problem,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    reference: Any,
    challenger: Challenger,
) -> pd.DataFrame:
    """The tokens of rows, a column a position, for the probe that scrambles the future."""
    store = problem.features.offline_store(events, reference)
    raw = raw_fields(problem, rows, store, reference, challenger.vocabulary.events)
    tokens = encode(raw, challenger.vocabulary)
    return pd.DataFrame(tokens, index=rows.index, columns=[f"token {i}" for i in range(tokens.shape[1])])


def windows_of(problem: Problem, rows: pd.DataFrame) -> TemporalSplit:
    """The contract's windows as of the start of its test window."""
    split = problem.contract.split
    decided, known = rows["decision_at"].to_numpy(), rows["known_at"].to_numpy()
    return cut(decided, known, split, epoch(split.test_start))


def register_challenger(
    problem: Problem, challenger: Challenger, judged: Judged, config: ChallengerConfig
) -> tuple[str, str]:
    """Register it in MLflow, beside the project's own model: the gates and scores are those of any version.

    Args:
        problem: what it is about.
        challenger: trained.
        judged: what became of it.
        config: how it was trained.

    Returns:
        Name and version.
    """
    import mlflow
    from mlflow.tracking import MlflowClient

    from fivestage.common.revision import commit
    from fivestage.registry.training_runs import known_numbers

    name, client = f"{problem.contract.name}-transformer", MlflowClient()
    mlflow.set_experiment(name)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        save(challenger, folder)
        digest = hashlib.sha256((folder / "weights.pt").read_bytes()).hexdigest()
        parameters = config.model_dump(exclude={"parallel"}) | {"parallel": config.parallel.model_dump_json()}
        mlflow.log_params(parameters | {"parameters": judged.parameters})
        mlflow.log_metrics(
            {f"test_{name}": value for name, value in known_numbers(judged.test.scores).items()}
        )
        mlflow.log_metric("gates_failed", sum(not gate.passed for gate in judged.gates))
        mlflow.log_text(gate_lines(judged), "gates.txt")
        mlflow.log_artifacts(scratch)
        source = f"{run.info.artifact_uri}/model"
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {"digest": digest, "as_of": str(problem.contract.split.test_start), "commit": commit()}
    version = client.create_model_version(name, source, run_id=run.info.run_id, tags=tags)
    client.set_registered_model_alias(name, "champion" if judged.passed else "challenger", version.version)
    return name, str(version.version)


def save(challenger: Challenger, folder: Path) -> None:
    """Write weights, vocabulary, sizes and calibration."""
    folder.mkdir(parents=True)
    torch.save(challenger.model.state_dict(), folder / "weights.pt")
    (folder / "vocabulary.json").write_text(vocabulary_to_json(challenger.vocabulary), encoding="utf-8")
    (folder / "model.json").write_text(challenger.config.model_dump_json(), encoding="utf-8")
    calibration: Any = challenger.calibration
    (folder / "calibration.json").write_text(json.dumps(asdict(calibration)), encoding="utf-8")


def gate_lines(judged: Judged) -> str:
    """The gates as text, one a line."""
    return "".join(
        f"{'pass' if one.passed else 'FAIL'}  {one.name}: {one.sentence}\n" for one in judged.gates
    )


def _run(config: RunConfig, data: Sequences, folder: Path, start: Path | None) -> float:
    """One training in processes of its own, which goes on from its own checkpoints if it has some."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "run.yaml"
    settings.write_text(yaml.safe_dump(config.model_dump()), encoding="utf-8")
    np.savez(folder / "sequences.npz", inputs=data.inputs, targets=data.targets)
    worker = [str(folder / "sequences.npz"), str(folder), *([f"--parameters-of={start}"] if start else [])]
    subprocess.run(  # noqa: S603 (our own module)
        command(settings, worker, Node.read()), env=torchrun_environment(os.environ), check=True
    )
    lines = (folder / "losses.jsonl").read_text(encoding="utf-8").splitlines()[-50:]
    return float(np.mean([json.loads(line)["loss"] for line in lines]))


@dataclass(frozen=True)
class TokenSource:
    """Tokens of a problem's rows by their places; the events are sorted once."""

    problem: Problem
    tables: Tables
    store: OfflineFeatureStore

    @classmethod
    def of(cls, problem: Problem, tables: Tables) -> TokenSource:
        """Of cleaned tables."""
        return cls(problem, tables, problem.features.offline_store(tables.events, tables.reference))

    def raw(self, places: Ints, count: int) -> dict[str, RawField]:
        """See `raw_fields`."""
        rows = self.tables.rows.iloc[places]
        return raw_fields(self.problem, rows, self.store, self.tables.reference, count)

    def tokens(self, places: Ints, vocabulary: Vocabulary) -> Tokens:
        """See `encode`."""
        return encode(self.raw(places, vocabulary.events), vocabulary)


def _scored(rows: pd.DataFrame, answers: Answers, contract: Contract) -> Scored:
    label, day = labels_of(rows, contract), decision_day(rows)
    return evaluate(label, answers.forecast, day, contract.costs, decision=answers.decision)


def challenge(
    problem: Problem, config: ChallengerConfig, folder: Path, champion: Champion | None = None
) -> tuple[Challenger, Judged]:
    """All of it, from raw tables to the gates."""
    tables = problem.load(problem.contract)
    windows = windows_of(problem, tables.rows)
    before = processor_seconds()
    challenger, losses = train_challenger(problem, tables, windows, config, folder)
    spent = processor_seconds() - before
    return challenger, judge(problem, tables, windows, challenger, champion, config, (spent, losses))
