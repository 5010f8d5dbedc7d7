"""One process of a training that `torchrun` has started: `python -m fivestage_distributed.worker`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch.distributed as dist

from fivestage_distributed.configuration import load_config
from fivestage_distributed.environment import Place
from fivestage_distributed.sequences import Sequences
from fivestage_distributed.training import process_group, train

LOSSES = "losses.jsonl"


def main() -> None:
    """Train as a file of settings says, and append each step's loss to a log in the output folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="YAML: model and training")
    parser.add_argument("data", type=Path, help="sequences.npz: inputs and targets")
    parser.add_argument("output", type=Path, help="folder of checkpoints and losses")
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds to sleep after a step, to be killed in"
    )
    parser.add_argument(
        "--parameters-of", type=Path, help="folder of checkpoints whose parameters come first"
    )
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    with np.load(chosen.data) as arrays:
        data = Sequences(arrays["inputs"], arrays["targets"])
    chosen.output.mkdir(parents=True, exist_ok=True)
    restarts = Place.read().restarts

    def report(step: int, loss: float) -> None:
        if dist.get_rank() == 0:
            line = {"step": step, "loss": loss, "time": time.time(), "restarts": restarts}
            with (chosen.output / LOSSES).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        time.sleep(chosen.pause)

    with process_group() as device:
        done = train(
            config.model,
            config.training,
            data,
            device,
            folder=chosen.output,
            begin=None if chosen.parameters_of is None else lambda part: part.load(chosen.parameters_of),
            report=report,
        )
        if dist.get_rank() == 0:
            found = {"blocked": done.blocked, "first": done.first}
            (chosen.output / "done.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
