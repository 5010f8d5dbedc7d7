"""`python -m fivestage_distributed COMMAND`: train, worker, demo, bench, challenger."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS

TRANSFORMER = REPORTS / "distributed" / "transformer.json"  # cited by the design book
GPU = REPORTS / "distributed" / "gpu.json"  # cited by the design book
WITHOUT_GPU = Path("var/distributed/bench.json")


def main() -> None:
    """Run a command; exit with the message of a UserError."""
    parser = argparse.ArgumentParser(prog="fivestage_distributed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train with the settings of a file, on this node or pod")
    worker = commands.add_parser("worker", help="one process of a training, started by `torchrun`")
    for one in (train, worker):
        one.add_argument("config", type=Path, help="YAML: model and training")
        one.add_argument("data", type=Path, help="sequences.npz: inputs and targets")
        one.add_argument("output", type=Path, help="folder for checkpoints and losses")
    worker.add_argument("--pause", type=float, default=0.0, help="seconds to sleep after each step")
    worker.add_argument(
        "--parameters-of", type=Path, help="folder of checkpoints with the initial parameters"
    )
    demo = commands.add_parser("demo", help="demonstrate equality, ring, bubble and recovery on a page")
    demo.add_argument(
        "--plan", default="--model 70b --tokens 2T --gpus 1024 --gpu h100", help="arguments of the plan"
    )
    bench = commands.add_parser("bench", help="measure a GPU against the planner's prediction")
    bench.add_argument("--config", type=Path, help="YAML: model and training, as for `train`")
    bench.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu to try without a GPU")
    bench.add_argument("--gpu", default="", help="the device's name in the planner's catalog")
    bench.add_argument("--record", type=Path, help="file for the measurement")
    challenger = commands.add_parser("challenger", help="train and evaluate a transformer over the event log")
    challenger.add_argument("--config", type=Path, help="YAML with fields of ChallengerConfig")
    challenger.add_argument("--output", type=Path, default=Path("var/distributed/challenger"))
    train.set_defaults(run=_train)
    worker.set_defaults(run=_worker)
    demo.set_defaults(run=_demo)
    bench.set_defaults(run=_bench)
    challenger.set_defaults(run=_challenger)
    chosen = parser.parse_args()
    try:
        chosen.run(chosen)
    except UserError as error:
        sys.exit(str(error))


def _train(chosen: argparse.Namespace) -> None:
    from fivestage_distributed.launch import launch

    launch(chosen.config, [str(chosen.data), str(chosen.output)])


def _worker(chosen: argparse.Namespace) -> None:
    from fivestage_distributed.launch import work

    work(chosen.config, chosen.data, chosen.output, chosen.pause, chosen.parameters_of)


def _demo(chosen: argparse.Namespace) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from fivestage_distributed.demonstration import measure, write_page
    from fivestage_distributed.plan.__main__ import main as plan

    demonstration = measure()
    page = write_page(demonstration)
    plan(chosen.plan.split())
    print(f"Measured in {demonstration.seconds:.0f} seconds; see {page}")


def _bench(chosen: argparse.Namespace) -> None:
    if chosen.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from fivestage_distributed.configuration import load_config
    from fivestage_distributed.throughput import USUAL, measure_throughput, write_record

    config = load_config(chosen.config) if chosen.config else USUAL
    throughput = measure_throughput(config, chosen.device, chosen.gpu)
    record = write_record(throughput, chosen.record or (GPU if throughput.is_gpu else WITHOUT_GPU))
    print(*throughput.sentences(), f"Record: {record}", sep="\n")


def _challenger(chosen: argparse.Namespace) -> None:
    from fivestage.common.settings import prepare_environment

    prepare_environment()
    import yaml

    from fivestage.orchestration.lineage import lineage_of
    from fivestage.registry.versions import ModelRegistry
    from fivestage_distributed.challenger import (
        ChallengerConfig,
        challenge,
        champion_answers,
        gate_lines,
        sentences,
    )
    from fivestage_distributed.registered import RegisteredChallenger, opponent_of, register_challenger

    sys.path.insert(0, str(Path.cwd()))
    problem: Any = import_module("problem").PROBLEM
    text = chosen.config.read_text(encoding="utf-8") if chosen.config else "{}"
    config = ChallengerConfig.model_validate(yaml.safe_load(text))
    registry = ModelRegistry(problem.contract.name)
    opponent = opponent_of(registry, problem.contract.split.test_start_at)
    artifact = registry.open(opponent.version)[1] if opponent else None
    model, reference, result = challenge(
        problem, config, chosen.output, champion_answers(artifact) if artifact else None
    )
    print(gate_lines(result), end="")
    registered = RegisteredChallenger(model, problem.contract, reference)
    lineage = lineage_of(problem.digest(), problem.contract)
    version = register_challenger(registered, result, config, lineage)
    record = json.dumps({"sentences": sentences(result), **asdict(result)}, indent=1)
    write_text(TRANSFORMER, record + "\n")
    outcome = "passed" if result.passed else "refused"
    print(
        f"Version {version.version} of {version.name}: {outcome}. To score a batch: "
        f'make score ARGS="--version {version.version} --input rows.csv --output scored.csv"'
    )


if __name__ == "__main__":
    main()
