"""Compute replicas, resource requests and the autoscaler's target from objectives and measured capacity.

A Service sends each request to a random replica, so each replica is a separate M/M/1 queue. Service times are
assumed to be exponential; those of a model hardly vary, so waiting times are overestimated.
"""

import math
from dataclasses import dataclass

from fivestage.capacity.inputs import Assumptions, Capacity
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract

CORE = 1000  # millicores, the most that one process can use
MAX_REPLICAS, MAX_SPARE = 1000, 100
MIN_TARGET, MAX_TARGET = 50, 80  # percent of the CPU request; below that, an autoscaler reacts to noise
TARGET_STEP = 5  # percent
QUANTILE = 0.99


@dataclass(frozen=True)
class CapacityPlan:
    """The numbers that the manifests set, and what they are based on."""

    needed: int  # replicas for the contract's request rate
    replicas: int  # including spare ones for availability
    most: int  # the autoscaler's maximum
    available: float  # probability that enough replicas are up
    cpu_millicores: int  # CPU request of a replica
    memory_mib: int  # its memory request and limit
    target: int  # percent of the CPU request at which a replica is added
    per_replica: float  # requests per second that one replica serves within the objective
    floor_ms: float  # part of the measured p99 that is not queueing: network, parsing, the machine
    p99_ms: float  # expected p99 with all replicas, when each gets no more CPU than its request
    p99_degraded_ms: float  # the same with only the needed replicas


def plan(contract: Contract, capacity: Capacity, assumed: Assumptions) -> CapacityPlan:
    """Return the smallest deployment that meets the contract's objectives.

    The needed replicas meet the p99 at the contract's rate even on full nodes, where each gets only the CPU
    that it requests; they request enough for the autoscaler's target to exceed noise. Spare replicas keep
    enough of them up for the contract's availability.
    """
    service = contract.service
    rate, objective = service.requests_per_second, service.p99_ms
    floor = floor_ms(capacity)
    seconds = (objective - floor) / 1000  # left for the queue
    if max_rate(capacity, CORE, seconds) <= 0:
        raise UserError(
            f"service.p99_ms of {objective:g} cannot be met: {floor:.1f} ms of the p99 in "
            "capacity/measured.json are not queueing, so more replicas do not help. Measure on a quiet "
            "machine (`make bench-serving`), make the service faster, or raise service.p99_ms."
        )
    needed = math.ceil(rate / max_rate(capacity, CORE, seconds))
    if needed > MAX_REPLICAS:
        raise UserError(
            f"service.requests_per_second of {rate:g} needs {needed:,} replicas, more than the maximum of "
            f"{MAX_REPLICAS:,}. Lower it, or make the service faster."
        )
    cpu = next(
        (
            cpu
            for cpu in range(assumed.cpu_step_millicores, CORE, assumed.cpu_step_millicores)
            if max_rate(capacity, cpu, seconds) >= rate / needed
            and target(capacity, cpu, seconds, assumed) >= MIN_TARGET
        ),
        CORE,
    )
    replicas = next(
        (
            count
            for count in range(needed, needed + MAX_SPARE)
            if probability_up(needed, count, assumed.replica_availability) >= service.availability
        ),
        None,
    )
    if replicas is None:
        raise UserError(
            f"service.availability of {service.availability:g} needs more than {MAX_SPARE} spare replicas: "
            f"each is up {assumed.replica_availability:g} of the time (k8s/assumptions.yaml). Lower it."
        )
    per_replica = max_rate(capacity, cpu, seconds)
    at_peak = math.ceil(rate * assumed.growth * assumed.growth_while_scaling / per_replica)
    memory = capacity.memory_mb * assumed.memory_times
    return CapacityPlan(
        needed=needed,
        replicas=replicas,
        most=max(at_peak + replicas - needed, replicas + 1),
        available=probability_up(needed, replicas, assumed.replica_availability),
        cpu_millicores=cpu,
        memory_mib=math.ceil(memory / assumed.memory_step_mib) * assumed.memory_step_mib,
        target=target(capacity, cpu, seconds, assumed),
        per_replica=per_replica,
        floor_ms=floor,
        p99_ms=floor + queue_p99_ms(capacity, cpu, rate, replicas),
        p99_degraded_ms=floor + queue_p99_ms(capacity, cpu, rate, needed),
    )


def target(capacity: Capacity, cpu_millicores: int, seconds: float, assumed: Assumptions) -> int:
    """Return the CPU use, in percent of the request, at which another replica is started.

    At that point a replica serves its highest rate, divided by the growth of load until the new one is ready.
    """
    rate = max_rate(capacity, cpu_millicores, seconds) / assumed.growth_while_scaling
    used = capacity.idle_cpu + rate * capacity.row_cpu_ms / 1000
    percent = int(used * CORE / cpu_millicores * 100 // TARGET_STEP * TARGET_STEP)
    return max(TARGET_STEP, min(MAX_TARGET, percent))


def service_rate(capacity: Capacity, cpu_millicores: int) -> float:
    """Return the one-row requests per second that this much CPU can serve in addition to idle work."""
    return max(0.0, cpu_millicores / CORE - capacity.idle_cpu) * 1000 / capacity.row_cpu_ms


def queue_p99_ms(capacity: Capacity, cpu_millicores: int, rate: float, replicas: int) -> float:
    """Return the p99 of the response time in milliseconds, with a separate queue for each replica."""
    return split_p99(rate, service_rate(capacity, cpu_millicores), replicas) * 1000


def floor_ms(capacity: Capacity) -> float:
    """Return the part of the measured p99, in milliseconds, that is not queueing at the measured rate."""
    return max(0.0, capacity.p99_ms - queue_p99_ms(capacity, CORE, capacity.rate, 1))


def max_rate(capacity: Capacity, cpu_millicores: int, seconds: float) -> float:
    """Return the rate at which one replica serves 99% within `seconds`: `split_p99` solved for the rate."""
    if seconds <= 0:
        return 0.0
    return max(0.0, service_rate(capacity, cpu_millicores) - split_p99(0, 1, 1) / seconds)


def split_p99(rate: float, service_rate: float, servers: int) -> float:
    """Return the p99 of the response time when each request goes to a server at random.

    The response time of M/M/1 is exponential with rate mu - lambda, so its quantile q is
    -ln(1 - q) / (mu - lambda).

    Source:
        L. Kleinrock, Queueing Systems, vol. 1: Theory, 1975, section 3.2.
    """
    spare = service_rate - rate / servers
    return -math.log(1 - QUANTILE) / spare if spare > 0 else math.inf


def probability_up(required: int, servers: int, availability: float) -> float:
    """Return the probability that enough servers are up, when each fails independently (a binomial tail)."""
    return sum(
        math.comb(servers, count) * availability**count * (1 - availability) ** (servers - count)
        for count in range(required, servers + 1)
    )
