"""Describe a plan and its cost in Markdown; plan_page.md.j2 has the text."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fivestage.capacity.assumptions import Assumptions, Prices
from fivestage.capacity.cost import Cost, log_gib, predictions
from fivestage.capacity.measured import Capacity
from fivestage.capacity.plan import CORE, CapacityPlan, service_rate
from fivestage.contract.contract import Contract

MILLION = 1e6


def plan_page(
    contract: Contract,
    capacity: Capacity,
    plan: CapacityPlan,
    assumed: Assumptions,
    costs: list[Cost],
    prices: Prices,
) -> str:
    """Return, in Markdown, the numbers of a plan, the reasons for them, and the cost."""
    environment = Environment(  # noqa: S701 (Markdown)
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["f"] = format
    return environment.get_template("plan_page.md.j2").render(
        service=contract.service,
        capacity=capacity,
        plan=plan,
        assumed=assumed,
        costs=costs,
        prices=prices,
        served=service_rate(capacity, plan.cpu_millicores),
        batch_ms=capacity.batch_cpu_ms * CORE / plan.cpu_millicores,
        millions=predictions(contract, assumed) / MILLION,
        log_gib=log_gib(contract, capacity, assumed),
        days=[price.day for price in prices.items],
        verified=sum(price.verified for price in prices.items),
    )
