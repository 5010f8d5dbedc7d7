"""Describe a plan and its cost in Markdown."""

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
    parts = (
        _decided(contract, capacity, plan, assumed),
        _queues(contract, capacity, plan),
        _cost(contract, capacity, assumed, costs, prices),
    )
    return "\n\n".join(parts)


def _decided(contract: Contract, capacity: Capacity, plan: CapacityPlan, assumed: Assumptions) -> str:
    service = contract.service
    holds = "holds" if plan.needed == 1 else "hold"
    return f"""| | | why |
|---|---|---|
| replicas | {plan.replicas} to {plan.most} | {plan.needed} {holds} {service.requests_per_second:g} \
requests/s; with {plan.replicas - plan.needed} spare, enough are up {plan.available:.4%} of the time, \
{service.availability:.2%} promised; at most {assumed.growth:g} times that rate |
| CPU request | {plan.cpu_millicores}m | {plan.per_replica:.0f} requests/s within {service.p99_ms:g} ms on \
a full node; no limit: what a node has left shortens the queue |
| memory | {plan.memory_mib}Mi | {capacity.memory_mb:.0f} MB measured, times {assumed.memory_times:g} |
| autoscaler | {plan.target}% of the CPU request | what one replica holds, divided by \
{assumed.growth_while_scaling:g} for the load that comes while the next one starts |"""


def _queues(contract: Contract, capacity: Capacity, plan: CapacityPlan) -> str:
    served = service_rate(capacity, plan.cpu_millicores)
    full = capacity.batch_cpu_ms * CORE / plan.cpu_millicores
    return f"""\
A request of one row costs {capacity.row_cpu_ms:.3f} ms of CPU, so {plan.cpu_millicores}m serve \
{served:,.0f} a second, {capacity.idle_cpu:.1%} of a core of idle work aside. Requests go to a replica at \
random, so each replica is a queue of its own (M/M/1). With the {plan.floor_ms:.1f} ms of the measured \
p99 that no queue explains, p99 is {plan.p99_ms:.1f} ms with {plan.replicas} replicas and \
{plan.p99_degraded_ms:.1f} ms with {plan.needed}; {contract.service.p99_ms:g} ms are promised. On a core \
of its own a replica was measured at {capacity.most_per_s:,.0f} requests/s. A request \
of {capacity.batch_rows:,.0f} rows holds the event loop for {capacity.batch_cpu_ms:.0f} ms, on a \
full node {full:.0f} ms. Measured on {capacity.measured}: {capacity.machine}."""


def _cost(
    contract: Contract, capacity: Capacity, assumed: Assumptions, costs: list[Cost], prices: Prices
) -> str:
    names = list(costs[0].items)
    millions = predictions(contract, assumed) / MILLION
    heads = ("USD a month", "machines", *names, "all", "a million predictions", "serving pods alone")
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for one in costs:
        items = " | ".join(f"{one.items[name]:.0f}" for name in names)
        star = "" if prices.clouds[one.cloud].verified else " *"
        lines.append(
            f"| {one.cloud}, {one.region}{star} | {one.nodes} | {items} | {one.total:.0f} "
            f"| {one.total / millions:.2f} | {one.by_request:.0f} |"
        )
    dates = [price.day for price in prices.items]
    verified = sum(price.verified for price in prices.items)
    about = f"""\
{millions:,.0f} million predictions a month ({assumed.mean_of_peak:.0%} of the contract's rate), and a log \
of {log_gib(contract, capacity, assumed):,.0f} GiB ({assumed.log_days} days). List prices of \
{min(dates)} to {max(dates)}, {verified} of {len(dates)} found in public \
(`capacity/prices.yaml` of the library says where); a star: \
with a price that is not verified. No discounts, taxes, or traffic out."""
    return "\n".join([*lines, "", about])
