"""A transformer over the event log as a challenger: tokens, two trainings, calibration, the gates."""

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
from fivestage.data.event_tables import EventTables, ingest_tables
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit, cut
from fivestage.evaluation.champion_challenger import Evidence, run_gates
from fivestage.evaluation.evaluate import answers_of, decision_day
from fivestage.evaluation.gates import Gate
from fivestage.evaluation.metrics import Answers, Scored, evaluate
from fivestage.features.definitions import Reference
from fivestage.features.offline import build_features
from fivestage.features.problem import Problem
from fivestage.features.stores import OfflineFeatureStore
from fivestage.reporting import number_format as fmt
from fivestage.reporting.results import Estimate
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
AT_ONCE = 512  # rows of a batch that is only scored
TIMED_ROWS = 20
LAST_STEPS = 50  # whose mean loss is told
DONE = "trained.json"  # in the folder of a training that is complete
TRAININGS = {"pretraining": "pre-training", "finetuning": "fine-tuning"}
SHOWN = ("roc_auc", "log_loss", "savings_share")  # of the scores, on a page


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
        control: whether another one is trained on the label alone, to see what pre-training brings.
        parallel: how the trainings are divided.
    """

    rows: int = 60_000
    events: int = 5
    layers: int = 2
    width: int = 48
    heads: int = 4
    batch: int = 64
    pretraining: float = 1
    finetuning: float = 0.5
    control: bool = True
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
        label_alone: scores on the test window of a control without pre-training, if one was trained.
        champion: scores of the champion on the same rows of the test window, if there is one.
        parameters: of the model.
        rows: that it has learnt from.
        tokens: positions of a row.
        processor_seconds: of each training.
        losses: the last mean loss of each training, in nats a target.
    """

    gates: tuple[Gate, ...]
    holdout: Scored
    test: Scored
    without_events: Scored
    label_alone: Scored | None
    champion: Scored | None
    parameters: int
    rows: int
    tokens: int
    processor_seconds: dict[str, float]
    losses: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether it may serve."""
        return all(gate.passed for gate in self.gates)


@dataclass(frozen=True)
class Spent:
    """What the trainings of a challenger have left, by name: CPU seconds, and the last mean loss."""

    processor_seconds: dict[str, float]
    losses: dict[str, float]


def classes_of(contract: Contract) -> int:
    """How many classes the label has."""
    if isinstance(contract, RegressionContract):
        raise UserError(
            f"{contract.name} predicts a number; the transformer predicts classes: train it for a "
            "binary or a multiclass contract."
        )
    return len(contract.label.classes) if isinstance(contract, MulticlassContract) else 2


def challenge(
    problem: Problem, config: ChallengerConfig, folder: Path, champion: Champion | None = None
) -> tuple[Challenger, Reference, Judged]:
    """All of it, from raw tables to the gates.

    Args:
        problem: what it is about.
        config: sizes.
        folder: of checkpoints, logs and quarantined rows; a training that was cut short goes on.
        champion: what answers features as the champion does; None where there is none.

    Returns:
        The challenger, the tables that do not change, and what became of it.
    """
    data = problem.digest()
    rows, events, _ = ingest_tables(
        problem.load(problem.contract), problem.contract, folder / "quarantine", data
    )
    source = TokenSource.of(problem, rows, events)
    windows = windows_of(problem, rows)
    challenger, spent = train_challenger(source, windows, config, folder)
    control = None
    if config.control and config.pretraining:
        alone = config.model_copy(update={"pretraining": 0})
        control, _ = train_challenger(source, windows, alone, folder)
    judged = judge(source, windows, config, challenger, spent, control, champion)
    return challenger, events.reference, judged


def train_challenger(
    source: TokenSource, windows: TemporalSplit, config: ChallengerConfig, folder: Path
) -> tuple[Challenger, Spent]:
    """Pre-train on the next token, fine-tune on the label, calibrate on the last fold's later rows."""
    contract, fold = source.problem.contract, windows.folds[-1]
    label = labels_of(source.rows, contract)
    learnt, held = evenly(fold.train, config.rows), evenly(fold.valid, config.rows)
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
    spent = Spent({}, {})
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
            before = _run(run, Sequences(tokens, targets), folder, name, before)
            done = json.loads((before / DONE).read_text(encoding="utf-8"))
            spent.processor_seconds[name], spent.losses[name] = done["processor_seconds"], done["loss"]
    trained = initial_model(model, 0)
    if before is not None:
        load_parameters(dict(trained.named_parameters()), before)
    trainer = trainer_of(contract)
    uncalibrated = Challenger(trained.eval(), model, vocabulary, trainer.uncalibrated)
    calibration = trainer.calibrate(uncalibrated.margins(source.tokens(held, vocabulary)), label[held])
    return Challenger(trained, model, vocabulary, calibration), spent


def judge(
    source: TokenSource,
    windows: TemporalSplit,
    config: ChallengerConfig,
    challenger: Challenger,
    spent: Spent,
    control: Challenger | None = None,
    champion: Champion | None = None,
) -> Judged:
    """The library's own evaluation and gates, and what the events of other rows are worth."""
    problem, rows, events = source.problem, source.rows, source.events
    contract = problem.contract
    features = build_features(problem.features, rows, events.events, events.reference)
    start = time.perf_counter()
    for place in windows.holdout[:TIMED_ROWS]:
        challenger.forecast(source.tokens(np.array([place]), challenger.vocabulary))
    row_ms = (time.perf_counter() - start) / min(TIMED_ROWS, len(windows.holdout)) * 1000
    evidence = Evidence(
        baseline_savings(training_sample(rows, features, windows, contract), windows, contract),
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

    def scored(places: Ints, answers: Answers) -> Scored:
        seen = rows.iloc[places]
        label, day = labels_of(seen, contract), decision_day(seen)
        return evaluate(label, answers.forecast, day, contract.costs, decision=answers.decision)

    def scored_test(model: Challenger, tokens: Tokens) -> Scored:
        return scored(after, answers_to(model.forecast(tokens), contract))

    answers = answers_to(challenger.forecast(source.tokens(windows.holdout, challenger.vocabulary)), contract)
    opponent = champion(features.iloc[windows.holdout]) if champion else None
    gates = run_gates(rows.iloc[windows.holdout], answers, opponent, evidence, contract)
    after = evenly(windows.after, config.rows)
    tokens = source.tokens(after, challenger.vocabulary)
    others = tokens.copy()
    positions = event_positions(source.raw(after[:1], config.events))
    others[:, positions] = tokens[np.random.default_rng(0).permutation(len(tokens))][:, positions]
    return Judged(
        gates=tuple(gates),
        holdout=scored(windows.holdout, answers),
        test=scored_test(challenger, tokens),
        without_events=scored_test(challenger, others),
        label_alone=scored_test(control, tokens) if control else None,
        champion=scored(after, champion(features.iloc[after])) if champion else None,
        parameters=sum(one.numel() for one in challenger.model.parameters()),
        rows=min(config.rows, len(windows.folds[-1].train)),
        tokens=tokens.shape[1],
        processor_seconds=spent.processor_seconds,
        losses=spent.losses,
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
    return cut(decided, known, split, split.test_start_at)


def gate_lines(judged: Judged) -> str:
    """The gates as text, one a line."""
    return "".join(f"{gate.line}\n" for gate in judged.gates)


def sentences(judged: Judged) -> list[str]:
    """What was measured, in words, for a page."""

    def scores(of: Scored) -> str:
        return ", ".join(
            f"{fmt.metric_title(name)} {fmt.estimate(name, Estimate(of.scores[name], *of.intervals[name]))}"
            for name in SHOWN
            if name in of.scores
        )

    trained = " and ".join(
        f"{fmt.count(seconds)} s of {TRAININGS[name]}" for name, seconds in judged.processor_seconds.items()
    )
    refused = [one for one in judged.gates if not one.passed]
    size = f"{fmt.count(judged.parameters)} parameters learnt from {fmt.count(judged.rows)} rows"
    said = [
        f"{size} of {judged.tokens} tokens each, in {trained} (CPU).",
        f"Test window: {scores(judged.test)}.",
        f"The same with the events of other rows: {scores(judged.without_events)}.",
    ]
    if judged.label_alone:
        said.append(f"Without pre-training, on the label alone: {scores(judged.label_alone)}.")
    if judged.champion:
        said.append(f"The champion, as of the same day, on the same rows: {scores(judged.champion)}.")
    if not refused:
        return [*said, "It passes every gate."]
    return [*said, *(f"The gate *{one.name}* refuses it: {one.sentence}" for one in refused)]


def _run(config: RunConfig, data: Sequences, folder: Path, name: str, start: Path | None) -> Path:
    """One training; its folder, named by all that it depends on.

    The folder holds checkpoints, and `DONE` once the training is complete; one that is, is not repeated.
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
    """Tokens of a problem's rows by their places; the events are sorted once."""

    problem: Problem
    rows: pd.DataFrame
    events: EventTables
    store: OfflineFeatureStore

    @classmethod
    def of(cls, problem: Problem, rows: pd.DataFrame, events: EventTables) -> TokenSource:
        """Of validated tables."""
        return cls(problem, rows, events, problem.features.offline_store(events.events, events.reference))

    def raw(self, places: Ints, count: int) -> dict[str, RawField]:
        """See `raw_fields`."""
        return raw_fields(self.problem, self.rows.iloc[places], self.store, self.events.reference, count)

    def tokens(self, places: Ints, vocabulary: Vocabulary) -> Tokens:
        """See `encode`."""
        return encode(self.raw(places, vocabulary.events), vocabulary)
