"""`make plan`: plans the training of a model on many GPUs, as a table and a page (reports/plan.html)."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

from fivestage.common.errors import UserError
from fivestage.common.settings import REPORTS
from fivestage.reporting import number_format as fmt
from fivestage_distributed.plan import page
from fivestage_distributed.plan.catalog import (
    PRICES,
    catalog,
    find_accelerator,
    find_model,
    find_price,
    number,
)
from fivestage_distributed.plan.published import compare, fitted_share, fitted_shares
from fivestage_distributed.plan.roofline import SOFTWARE, Layout, Recompute
from fivestage_distributed.plan.search import (
    Job,
    Run,
    require_fitting,
    runners_up,
    search,
    whole_run,
)

SCALES = (100, 1000, 16000)
CURVE = tuple(2**power for power in range(6, 15))
# Parameters of a large model, and the default tokens per step for large (as for Llama 3) and smaller models.
LARGE, LARGE_BATCH, BATCH = 100e9, 2**24, 2**22
RUNNERS_UP = 5
LAYOUT = [part.name for part in fields(Layout)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan, print the tables, and write the page."""
    chosen = options(*(sys.argv[1:] if arguments is None else arguments))
    try:
        print(_checked() if chosen.check else _planned(chosen))
    except UserError as error:
        sys.exit(str(error))


def options(*arguments: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="make plan", description=__doc__)
    add = parser.add_argument
    add("--model", default="70b", help="a name of catalog.yaml, a size such as 30b, or a YAML file (70b)")
    add("--tokens", default="2T", help="tokens of the run (2T)")
    add("--gpus", type=int, default=1024, help="number of GPUs (1024)")
    add("--gpu", default="h100", help="kind of GPU, a name of catalog.yaml (h100)")
    add("--sequence", type=int, default=8192, help="tokens per sequence (8192)")
    add("--batch", help="tokens per step (4M; 16M from 100b parameters)")
    add("--fp8", action="store_true", help="matrix multiplications in FP8")
    add(
        "--software",
        choices=SOFTWARE,
        default="today",
        help="capabilities of the training software, by year (today)",
    )
    add("--layout", default="", help="fixed parts of the layout: tp=8,pp=4,zero=1,recompute=full")
    add("--network", type=float, help="network bandwidth per GPU, GB/s (the catalog's)")
    add("--prices", type=Path, default=PRICES, help="YAML file of prices")
    add("--price", type=float, help="price in USD per GPU hour, instead of --prices")
    add("--hours-per-failure", type=float, help="GPU hours between failures (as for Llama 3)")
    add("--restart", type=float, default=10, help="minutes from a failure to the next step (10)")
    add(
        "--storage",
        type=float,
        default=0.125,
        help="bandwidth per GPU to the checkpoint storage, GB/s (0.125)",
    )
    add("--check", action="store_true", help="only compare with published runs, and refit the constant")
    add("--page", type=Path, default=REPORTS / "plan.html", help="path of the page")
    return parser.parse_args(arguments)


def job_of(chosen: argparse.Namespace) -> Job:
    """Build the job from the options."""
    model, accelerator = find_model(chosen.model), find_accelerator(chosen.gpu)
    batch = (
        number(chosen.batch, "--batch")
        if chosen.batch
        else LARGE_BATCH
        if model.parameters >= LARGE
        else BATCH
    )
    price, price_source = chosen.price, "as given"
    if price is None:
        listed = find_price(accelerator.name, chosen.prices)
        price, price_source = listed.per_hour, f"{listed.what}, {fmt.day(listed.day)}"
        price_source += "" if listed.verified else ", not verified"
    failures = hours_per_failure() if chosen.hours_per_failure is None else chosen.hours_per_failure
    positive = {
        "--gpus": chosen.gpus, "--sequence": chosen.sequence, "--price": price, "--restart": chosen.restart,
        "--hours-per-failure": failures, "--storage": chosen.storage,
        "--network": accelerator.network_gbps if chosen.network is None else chosen.network,
    }  # fmt: skip
    for name, value in positive.items():
        if not value or not 0 < value < float("inf"):
            raise UserError(f"{name} must be above zero, but is {value}.")
    if chosen.fp8 and not accelerator.tflops_fp8:
        raise UserError(f"{accelerator.name} has no FP8: omit --fp8, or choose a newer GPU.")
    if batch < chosen.sequence:
        raise UserError(
            f"A step of {batch:,.0f} tokens (--batch) is shorter than a sequence of {chosen.sequence:,} "
            "tokens (--sequence): make the batch larger or the sequence shorter."
        )
    return Job(
        model=model,
        accelerator=replace(accelerator, network_gbps=positive["--network"]),
        tokens=number(chosen.tokens, "--tokens"),
        gpus=chosen.gpus,
        sequence=chosen.sequence,
        batch=round(batch / chosen.sequence),
        stack=replace(SOFTWARE[chosen.software], fp8=chosen.fp8),
        price=float(price or 0),
        hours_per_failure=float(failures),
        restart_seconds=60 * chosen.restart,
        price_source=price_source,
        storage_gbps=chosen.storage,
        fixed=_fixed(chosen.layout),
    )


def hours_per_failure(name: str = "llama-3") -> float:
    """Return the accelerator hours between failures of a published run."""
    run = catalog()["failures"][name]
    return float(run["accelerators"] * run["days"] * 24 / sum(run["causes"].values()))


def _fixed(text: str) -> dict[str, int | str]:
    fixed: dict[str, int | str] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        name, _, value = part.partition("=")
        if name not in LAYOUT:
            raise UserError(f"--layout: {name!r} is not one of {', '.join(LAYOUT)}.")
        if name == "recompute":
            if value not in get_args(Recompute):
                raise UserError(
                    f"--layout: recompute={value!r} is not one of {', '.join(get_args(Recompute))}."
                )
            fixed[name] = value
        elif value.isdecimal() and (int(value) or name == "zero"):
            fixed[name] = int(value)
        else:
            raise UserError(f"--layout: {part!r} needs a number, as in {name}=2.")
    return fixed


def _planned(chosen: argparse.Namespace) -> str:
    job = job_of(chosen)
    result = require_fitting(job, search(job))
    run = whole_run(job, result.fitting[0])
    others = [whole_run(job, one) for one in runners_up(result, RUNNERS_UP)]
    reasons = page.reasons(result)
    scales = [(gpus, _at(job, gpus)) for gpus in SCALES]
    curve = [one for one in (_at(job, gpus) for gpus in CURVE) if isinstance(one, Run)]
    written = page.write(run, others, reasons, scales, curve, chosen.page)
    lines = [
        f"{page.title(job)}, projected:",
        "",
        *(f"  {name:<24} {value}" for name, value in page.facts(run)),
        "",
        f"Memory of the fullest GPU, GiB (of {job.accelerator.memory_gib:g}):",
        *_table(page.memory_rows(run)),
        "",
        "The fastest layouts:",
        *_table(page.layout_rows([run, *others])),
        "",
        "Why this layout:",
        *(f"  {reason}" for reason in reasons),
        "",
        "At other scales, with the same batch:",
        *_table(page.scale_rows(job, scales)),
        "",
        page.trust() + page.trust_in_experts(job.model),
        f"Page: {written}",
    ]
    return "\n".join(lines)


def _at(job: Job, gpus: int) -> Run | str:
    """Return the run at another scale, or the reason why there is none."""
    other = replace(job, gpus=gpus, fixed={})
    try:
        return whole_run(other, require_fitting(other, search(other)).fitting[0])
    except UserError as error:
        return str(error)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]  # fmt: skip


def _checked() -> str:
    rows = [("run", "GPUs", "unit", "published", "predicted", "error")]
    for one in compare():
        run, held_out = one.run, ", held out" if one.run.held_out else ""
        rows.append((
            f"{run.name}{held_out}: {run.model.name}", f"{run.layouts[0].gpus:,}", run.unit,
            fmt.compact(run.value), fmt.compact(one.predicted), f"{one.error:+.1%}",
        ))  # fmt: skip
    shares = sorted(fitted_shares().items(), key=lambda item: item[1])
    return "\n".join([
        *_table(rows), "",
        "The constant fitted to each source alone:",
        *_table([(name, f"{value:.3f}") for name, value in shares]),
        f"The median, KERNEL_SHARE in roofline.py: {fitted_share():.3f}", "", page.trust(),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
