"""`make size`: write the sizes of the deployment to the manifests and to docs/kubernetes.md."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fivestage.capacity.cost import Cost, costs, log_gib, predictions
from fivestage.capacity.inputs import ASSUMPTIONS, PRICES, Assumptions, Capacity, Prices, read, read_capacity
from fivestage.capacity.patches import patches, write
from fivestage.capacity.plan import CORE, CapacityPlan, plan, service_rate
from fivestage.common.files import write_between
from fivestage.common.settings import ROOT
from fivestage.contract.contract import Contract

PAGE = ROOT / "docs" / "kubernetes.md"
MILLION = 1e6


def sized(contract: Contract) -> tuple[dict[str, str], str]:
    """Return the patches of the manifests by path, and the section of the page."""
    capacity = read_capacity()
    assumed, prices = read(Assumptions, ASSUMPTIONS), read(Prices, PRICES)
    chosen = plan(contract, capacity, assumed)
    monthly = costs(contract, chosen, capacity, assumed, prices)
    return patches(contract, chosen, assumed), plan_page(contract, capacity, chosen, assumed, monthly, prices)


def size(contract: Contract) -> str:
    """Compute a plan, write it to the manifests and the page, and return the section of the page.

    Raise a `UserError` if no plan meets the objectives, or a file cannot be read or written.
    """
    texts, text = sized(contract)
    write(texts)
    write_between(PAGE, "sized", text)
    return text


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
