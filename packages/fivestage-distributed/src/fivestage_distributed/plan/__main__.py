"""`make plan`: a table of what training a model on many GPUs takes, and a page: reports/plan.html."""

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
LARGE, LARGE_BATCH, BATCH = 100e9, 2**24, 2**22  # parameters, and tokens of a step: as Llama 3's, and below
RUNNERS_UP = 5
LAYOUT = [part.name for part in fields(Layout)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan, print, and write the page."""
    given = options(*(sys.argv[1:] if arguments is None else arguments))
    try:
        print(_checked() if given.check else _planned(given))
    except UserError as error:
        sys.exit(str(error))


def options(*arguments: str) -> argparse.Namespace:
    """Return what a person has typed."""
    parser = argparse.ArgumentParser(prog="make plan", description=__doc__)
    add = parser.add_argument
    add("--model", default="70b", help="a name of catalog.yaml, a size such as 30b, or a YAML file")
    add("--tokens", default="2T", help="of the run (2T)")
    add("--gpus", type=int, default=1024, help="how many there are (1024)")
    add("--gpu", default="h100", help="which: a name of catalog.yaml (h100)")
    add("--sequence", type=int, default=8192, help="tokens of a sequence (8192)")
    add("--batch", help="tokens of a step (4M; from 100b parameters on 16M)")
    add("--fp8", action="store_true", help="matrix multiplications in FP8")
    add("--software", choices=SOFTWARE, default="today", help="what the training software can (today)")
    add("--layout", default="", help="what is decided already: tp=8,pp=4,zero=1,recompute=full")
    add("--network", type=float, help="GB/s of each GPU to other nodes")
    add("--prices", type=Path, default=PRICES, help="a YAML file of prices")
    add("--price", type=float, help="USD of a GPU's hour, instead")
    add("--hours-per-failure", type=float, help="GPU hours between interruptions (Llama 3's)")
    add("--restart", type=float, default=10, help="minutes from an interruption to the next step (10)")
    add("--storage", type=float, default=0.125, help="GB/s of each GPU to the checkpoints' storage (0.125)")
    add("--check", action="store_true", help="only compare with published runs, and fit the constant to them")
    add("--page", type=Path, default=REPORTS / "plan.html", help="where the page goes")
    return parser.parse_args(arguments)


def job_of(given: argparse.Namespace) -> Job:
    """Return the job that options ask for."""
    model, accelerator = find_model(given.model), find_accelerator(given.gpu)
    batch = (
        number(given.batch, "--batch") if given.batch else LARGE_BATCH if model.parameters >= LARGE else BATCH
    )
    price, price_source = given.price, "as given"
    if price is None:
        listed = find_price(accelerator.name, given.prices)
        price, price_source = listed.per_hour, f"{listed.what}, {fmt.day(listed.day)}"
        price_source += "" if listed.verified else ", not verified"
    failures = hours_per_failure() if given.hours_per_failure is None else given.hours_per_failure
    positive = {
        "--gpus": given.gpus, "--sequence": given.sequence, "--price": price, "--restart": given.restart,
        "--hours-per-failure": failures, "--storage": given.storage,
        "--network": accelerator.network_gbps if given.network is None else given.network,
    }  # fmt: skip
    for name, value in positive.items():
        if not value or not 0 < value < float("inf"):
            raise UserError(f"{name} must be above zero, and is {value}.")
    if given.fp8 and not accelerator.tflops_fp8:
        raise UserError(f"{accelerator.name} has no FP8: leave --fp8 out, or take a newer one.")
    if batch < given.sequence:
        raise UserError(
            f"A step of {batch:,.0f} tokens (--batch) holds no sequence of {given.sequence:,} tokens."
        )
    return Job(
        model=model,
        accelerator=replace(accelerator, network_gbps=positive["--network"]),
        tokens=number(given.tokens, "--tokens"),
        gpus=given.gpus,
        sequence=given.sequence,
        batch=round(batch / given.sequence),
        stack=replace(SOFTWARE[given.software], fp8=given.fp8),
        price=float(price or 0),
        hours_per_failure=float(failures),
        restart_seconds=60 * given.restart,
        price_source=price_source,
        storage_gbps=given.storage,
        fixed=_fixed(given.layout),
    )


def hours_per_failure(name: str = "llama-3") -> float:
    """Return the accelerator hours from one interruption to the next in a published run."""
    found = catalog()["failures"][name]
    return float(found["accelerators"] * found["days"] * 24 / sum(found["causes"].values()))


def _fixed(text: str) -> dict[str, int | str]:
    fixed: dict[str, int | str] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        name, _, value = part.partition("=")
        if name not in LAYOUT:
            raise UserError(f"--layout: {name!r} is none of {', '.join(LAYOUT)}.")
        if name == "recompute":
            if value not in get_args(Recompute):
                raise UserError(f"--layout: recompute={value!r} is none of {', '.join(get_args(Recompute))}.")
            fixed[name] = value
        elif value.isdecimal() and (int(value) or name == "zero"):
            fixed[name] = int(value)
        else:
            raise UserError(f"--layout: {part!r} is not like {name}=2.")
    return fixed


def _planned(given: argparse.Namespace) -> str:
    job = job_of(given)
    found = require_fitting(job, search(job))
    run = whole_run(job, found.fitting[0])
    others = [whole_run(job, one) for one in runners_up(found, RUNNERS_UP)]
    why = page.reasons(found)
    scales = [(gpus, _at(job, gpus)) for gpus in SCALES]
    curve = [one for one in (_at(job, gpus) for gpus in CURVE) if isinstance(one, Run)]
    written = page.write(run, others, why, scales, curve, given.page)
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
        "Why this one:",
        *(f"  {reason}" for reason in why),
        "",
        "At other scales, the same batch:",
        *_table(page.scale_rows(job, scales)),
        "",
        page.trust() + page.trust_in_experts(job.model),
        f"The page: {written}",
    ]
    return "\n".join(lines)


def _at(job: Job, gpus: int) -> Run | str:
    """Return the run at another scale, or why there is none."""
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
        "The constant that each source alone would give:",
        *_table([(name, f"{value:.3f}") for name, value in shares]),
        f"The median, KERNEL_SHARE in roofline.py: {fitted_share():.3f}", "", page.trust(),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
