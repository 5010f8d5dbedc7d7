"""A transformer over the event log as a challenger: tokens, pre-training, fine-tuning, calibration, gates."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from fivestage.common.files import write_text
from fivestage.contract.contract import Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import cost_model_of
from fivestage.contract.strict_model import StrictModel
from fivestage.data.event_tables import EventTables
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit, windows_at
from fivestage.evaluation.champion_challenger import Evidence, run_gates
from fivestage.evaluation.evaluate import answers_of, decision_day
from fivestage.evaluation.gates import Gate
from fivestage.evaluation.metrics import Answers, Metrics, evaluate
from fivestage.features.definitions import Reference
from fivestage.features.offline import build_features
from fivestage.features.problem import Problem
from fivestage.features.stores import OfflineFeatureStore
from fivestage.reporting import number_format as fmt
from fivestage.training.leakage_probes import future_is_unseen, windows_do_not_overlap
from fivestage.training.sample import training_sample
from fivestage.training.task_trainer import baseline_savings, trainer_of
from fivestage_distributed.checkpoints import load_parameters
from fivestage_distributed.configuration import ModelConfig, ParallelConfig, RunConfig, TrainingConfig
from fivestage_distributed.launch import losses_of, run_training
from fivestage_distributed.model import IGNORED, Transformer, initial_model
from fivestage_distributed.processes import processor_seconds
from fivestage_distributed.tokens import (
    RawField,
    Tokens,
    Vocabulary,
    encode,
    event_positions,
    learn_vocabulary,
    raw_fields,
)
from fivestage_distributed.training import Sequences

Champion = Callable[[pd.DataFrame], Answers]
SCORING_BATCH = 512  # rows
TIMED_ROWS = 20
LAST_STEPS = 50  # their mean loss is reported
DONE = "trained.json"  # marks the folder of a complete training
TRAININGS = {"pretraining": "pre-training", "finetuning": "fine-tuning"}
SHOWN = ("roc_auc", "log_loss", "savings_share")  # scores on a page


class ChallengerConfig(StrictModel):
    """Size and training of the challenger."""

    rows: int = 60_000  # maximum number of training rows, evenly spread over time
    events: int = 5  # number of most recent events per log
    layers: int = 2  # layers of the transformer
    width: int = 48  # width of the transformer
    heads: int = 4  # attention heads of the transformer
    batch: int = 64  # batch size in sequences
    pretraining: float = 1  # epochs of next-token prediction; 0 for none
    finetuning: float = 0.5  # epochs of predicting the label
    control: bool = True  # whether to train a control without pre-training too
    parallel: ParallelConfig = ParallelConfig()  # parallel layout of the trainings


@dataclass(frozen=True)
class Challenger:
    """A trained transformer with its vocabulary and calibration."""

    model: Transformer  # the transformer, on the CPU and in evaluation mode
    config: ModelConfig  # its sizes
    vocabulary: Vocabulary  # its tokens
    calibration: AnyCalibration  # temperature scaling of its raw scores

    def margins(self, tokens: Tokens) -> Floats:
        """Return raw scores: log-odds for two classes, else the log-probability of each class."""
        batches = []
        with torch.no_grad():
            for start in range(0, len(tokens), SCORING_BATCH):
                logits = self.model(torch.from_numpy(tokens[start : start + SCORING_BATCH]))[:, -1]
                batches.append(logits[:, list(self.vocabulary.classes)].log_softmax(dim=1).double().numpy())
        scores = np.concatenate(batches)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores  # noqa: PLR2004 (binary)

    def forecast(self, tokens: Tokens) -> Floats:
        """Return calibrated forecasts, in the task's shape."""
        return self.calibration.forecast(self.margins(tokens))


@dataclass(frozen=True)
class ChallengerResult:
    """The evaluation of the challenger."""

    gates: tuple[Gate, ...]  # results of the library's gates on the holdout window
    holdout: Metrics  # scores on the holdout window, with bootstrap intervals over days
    test: Metrics  # scores on the later test window
    without_events: Metrics  # scores on the test window with events shuffled between rows
    label_alone: Metrics | None  # scores on the test window of the control without pre-training, if any
    champion: Metrics | None  # scores of the champion on the same rows of the test window, if there is one
    parameters: int  # number of the model's parameters
    rows: int  # number of training rows
    tokens: int  # tokens per row
    processor_seconds: dict[str, float]  # CPU seconds of each training
    losses: dict[str, float]  # final mean loss of each training, in nats per target

    @property
    def passed(self) -> bool:
        """Whether it passes every gate."""
        return all(gate.passed for gate in self.gates)


@dataclass(frozen=True)
class TrainingRecord:
    """CPU seconds and final mean loss of a challenger's trainings, by name."""

    processor_seconds: dict[str, float]
    losses: dict[str, float]


def classes_of(contract: Contract) -> int:
    """Return the number of the label's classes."""
    if isinstance(contract, RegressionContract):
        raise UserError(
            f"{contract.name} predicts a number, but the transformer predicts classes: use a binary or "
            "multiclass contract."
        )
    return len(contract.label.classes) if isinstance(contract, MulticlassContract) else 2


def challenge(
    problem: Problem, config: ChallengerConfig, folder: Path, champion: Champion | None = None
) -> tuple[Challenger, Reference, ChallengerResult]:
    """Train and evaluate the challenger, from raw tables to the gates.

    Args:
        problem: The problem to train for.
        config: Size and training of the challenger.
        folder: Folder for checkpoints, logs and quarantined rows; an interrupted training resumes from it.
        champion: Predicts from features as the champion does; None if there is no champion.

    Returns:
        The challenger, the reference tables, and the evaluation.
    """
    data = problem.digest()
    rows, events, _ = EventTables.ingest(
        problem.load(problem.contract), problem.contract, folder / "quarantine", data
    )
    source = TokenSource.of(problem, rows, events)
    windows = windows_of(problem, rows)
    challenger, record = train_challenger(source, windows, config, folder)
    control = None
    if config.control and config.pretraining:
        label_alone = config.model_copy(update={"pretraining": 0})
        control, _ = train_challenger(source, windows, label_alone, folder)
    result = evaluate_challenger(source, windows, config, challenger, record, control, champion)
    return challenger, events.reference, result


def train_challenger(
    source: TokenSource, windows: TemporalSplit, config: ChallengerConfig, folder: Path
) -> tuple[Challenger, TrainingRecord]:
    """Pre-train on the next token, fine-tune on the label, calibrate on the last fold's validation rows."""
    contract, fold = source.problem.contract, windows.folds[-1]
    label = labels_of(source.rows, contract)
    train, valid = evenly(fold.train, config.rows), evenly(fold.valid, config.rows)
    raw = source.raw(train, config.events)
    vocabulary = learn_vocabulary(raw, classes_of(contract), config.events)
    tokens = encode(raw, vocabulary)
    model = ModelConfig(
        vocabulary=vocabulary.size,
        context=tokens.shape[1],
        layers=config.layers,
        heads=config.heads,
        width=config.width,
    )
    record = TrainingRecord({}, {})
    last: Path | None = None
    for name, epochs, targets in (
        ("pretraining", config.pretraining, next_tokens(tokens)),
        ("finetuning", config.finetuning, label_tokens(tokens, label[train])),
    ):
        steps = round(epochs * (len(tokens) // config.batch))
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
            last = _run(run, Sequences(tokens, targets), folder, name, last)
            done = json.loads((last / DONE).read_text(encoding="utf-8"))
            record.processor_seconds[name], record.losses[name] = done["processor_seconds"], done["loss"]
    trained = initial_model(model, 0)
    if last is not None:
        load_parameters(dict(trained.named_parameters()), last)
    trainer = trainer_of(contract)
    uncalibrated = Challenger(trained.eval(), model, vocabulary, trainer.uncalibrated)
    calibration = trainer.calibrate(uncalibrated.margins(source.tokens(valid, vocabulary)), label[valid])
    return Challenger(trained, model, vocabulary, calibration), record


def evaluate_challenger(
    source: TokenSource,
    windows: TemporalSplit,
    config: ChallengerConfig,
    challenger: Challenger,
    record: TrainingRecord,
    control: Challenger | None = None,
    champion: Champion | None = None,
) -> ChallengerResult:
    """Run the library's evaluation and gates, and measure what the event history contributes."""
    problem, rows, events = source.problem, source.rows, source.events
    contract = problem.contract
    features = build_features(problem.features, rows, events.events, events.reference)
    start = time.perf_counter()
    for place in windows.holdout[:TIMED_ROWS]:
        challenger.forecast(source.tokens(np.array([place]), challenger.vocabulary))
    row_ms = (time.perf_counter() - start) / min(TIMED_ROWS, len(windows.holdout)) * 1000
    evidence = Evidence(
        baseline_savings(training_sample(rows, features, windows, contract)),
        (
            future_is_unseen(
                lambda some, log: token_frame(problem, some, log, events.reference, challenger),
                rows,
                events.events,
                contract,
                problem.features.lookback_seconds,
            ),
            windows_do_not_overlap(rows["decision_at"].to_numpy(), rows["known_at"].to_numpy(), windows),
        ),
        row_ms,
    )

    def scored(places: Ints, answers: Answers) -> Metrics:
        seen = rows.iloc[places]
        label, day = labels_of(seen, contract), decision_day(seen)
        return evaluate(label, answers.forecast, day, contract.costs, decision=answers.decision)

    def scored_test(model: Challenger, tokens: Tokens) -> Metrics:
        return scored(test_rows, decide(model.forecast(tokens), contract))

    answers = decide(challenger.forecast(source.tokens(windows.holdout, challenger.vocabulary)), contract)
    opponent = champion(features.iloc[windows.holdout]) if champion else "there is no champion yet"
    verdict = run_gates(rows.iloc[windows.holdout], answers, opponent, evidence, contract)
    test_rows = evenly(windows.after, config.rows)
    tokens = source.tokens(test_rows, challenger.vocabulary)
    shuffled = tokens.copy()
    positions = event_positions(source.raw(test_rows[:1], config.events))
    shuffled[:, positions] = tokens[np.random.default_rng(0).permutation(len(tokens))][:, positions]
    return ChallengerResult(
        gates=verdict.gates,
        holdout=scored(windows.holdout, answers),
        test=scored_test(challenger, tokens),
        without_events=scored_test(challenger, shuffled),
        label_alone=scored_test(control, tokens) if control else None,
        champion=scored(test_rows, champion(features.iloc[test_rows])) if champion else None,
        parameters=sum(one.numel() for one in challenger.model.parameters()),
        rows=min(config.rows, len(windows.folds[-1].train)),
        tokens=tokens.shape[1],
        processor_seconds=record.processor_seconds,
        losses=record.losses,
    )


def champion_answers(artifact: Artifact) -> Champion:
    """Return a function that predicts from features as a registered artifact does."""
    return partial(answers_of, artifact)


def evenly(places: Ints, count: int) -> Ints:
    """Select at most `count` rows, spread evenly over time."""
    if len(places) <= count:
        return places
    return places[np.linspace(0, len(places) - 1, count).astype(np.int64)]


def next_tokens(tokens: Tokens) -> Tokens:
    """Return the targets of pre-training: the next token, except where the label is predicted."""
    none = np.full((len(tokens), 2), IGNORED)
    return np.concatenate([tokens[:, 1:-1], none], axis=1)


def label_tokens(tokens: Tokens, label: Any) -> Tokens:
    """Return the targets of fine-tuning: the label's class at the last position."""
    targets = np.full_like(tokens, IGNORED)
    targets[:, -1] = label
    return targets


def decide(forecast: Floats, contract: Contract) -> Answers:
    """Return forecasts with the decisions that minimise the contract's expected costs."""
    return Answers(forecast, cost_model_of(contract.costs).decide(forecast))


def token_frame(
    problem: Problem,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    reference: Any,
    challenger: Challenger,
) -> pd.DataFrame:
    """Return the tokens of rows as a frame, one column per position, for the leakage probe."""
    store = problem.features.offline_store(events, reference)
    raw = raw_fields(problem, rows, store, reference, challenger.vocabulary.events)
    tokens = encode(raw, challenger.vocabulary)
    return pd.DataFrame(tokens, index=rows.index, columns=[f"token {i}" for i in range(tokens.shape[1])])


def windows_of(problem: Problem, rows: pd.DataFrame) -> TemporalSplit:
    """Split the rows into the contract's windows, as of the start of its test window."""
    split = problem.contract.split
    return windows_at(rows, split, split.test_start_at)


def gate_lines(result: ChallengerResult) -> str:
    """Format the gates, one per line."""
    return "".join(f"{gate.line}\n" for gate in result.gates)


def sentences(result: ChallengerResult) -> list[str]:
    """Describe the result in sentences, for a page."""

    def scores(scored: Metrics) -> str:
        shown = [name for name in SHOWN if name in scored]
        return ", ".join(f"{fmt.metric_title(name)} {fmt.estimate(name, scored[name])}" for name in shown)

    trained = " and ".join(
        f"{fmt.count(seconds)} s of {TRAININGS[name]}" for name, seconds in result.processor_seconds.items()
    )
    failed = [one for one in result.gates if not one.passed]
    size = f"{fmt.count(result.parameters)} parameters learnt from {fmt.count(result.rows)} rows"
    lines = [
        f"{size} of {result.tokens} tokens each, in {trained} (CPU).",
        f"Test window: {scores(result.test)}.",
        f"The same with the events of other rows: {scores(result.without_events)}.",
    ]
    if result.label_alone:
        lines.append(f"Without pre-training, on the label alone: {scores(result.label_alone)}.")
    if result.champion:
        lines.append(f"The champion, as of the same day, on the same rows: {scores(result.champion)}.")
    if not failed:
        return [*lines, "It passes every gate."]
    return [*lines, *(f"The gate *{one.name}* refuses it: {one.sentence}" for one in failed)]


def _run(config: RunConfig, data: Sequences, folder: Path, name: str, start: Path | None) -> Path:
    """Run a training unless it is complete already; return its folder, named by a digest of its inputs.

    The folder has the checkpoints, and `DONE` once the training is complete.
    """
    digest = hashlib.sha256(f"{yaml.safe_dump(config.model_dump())} {start and start.name}".encode())
    for part in (data.inputs, data.targets):
        digest.update(part.tobytes())
    place = folder / f"{name}-{digest.hexdigest()[:12]}"
    if (place / DONE).exists():
        return place
    before = processor_seconds()
    run_training(place, config, data.inputs, data.targets, parameters=start)
    loss = float(np.mean([line["loss"] for line in losses_of(place)[-LAST_STEPS:]]))
    text = json.dumps({"processor_seconds": processor_seconds() - before, "loss": loss})
    write_text(place / DONE, text)
    return place


@dataclass(frozen=True)
class TokenSource:
    """Returns tokens of a problem's rows by row position; it sorts the events only once."""

    problem: Problem
    rows: pd.DataFrame
    events: EventTables
    store: OfflineFeatureStore

    @classmethod
    def of(cls, problem: Problem, rows: pd.DataFrame, events: EventTables) -> TokenSource:
        """Create it from validated tables."""
        return cls(problem, rows, events, problem.features.offline_store(events.events, events.reference))

    def raw(self, places: Ints, count: int) -> dict[str, RawField]:
        """See `raw_fields`."""
        return raw_fields(self.problem, self.rows.iloc[places], self.store, self.events.reference, count)

    def tokens(self, places: Ints, vocabulary: Vocabulary) -> Tokens:
        """See `encode`."""
        return encode(self.raw(places, vocabulary.events), vocabulary)
