"""Queueing theory and availability: what so many replicas hold.

A Service sends each request to a replica at random, so each replica is an M/M/1 queue of its own; one queue
for all (M/M/c) is what a balancer that knows the shortest queue comes close to. Service times are taken as
exponential, though those of a model hardly vary: that overestimates the wait.
"""

import math

QUANTILE = 0.99


def split_p99(rate: float, service_rate: float, servers: int) -> float:
    """Return the p99 of the response time when each request goes to a server at random.

    The response time of M/M/1 is exponential with rate mu - lambda, so its quantile q is
    -ln(1 - q) / (mu - lambda).

    Args:
        rate: Requests per second to all servers together (servers times lambda).
        service_rate: Requests per second that one server can answer (mu).
        servers: Their number.

    Returns:
        Seconds from arrival to answer; infinite where the queue grows without end.

    Source:
        L. Kleinrock, Queueing Systems, vol. 1: Theory, 1975, section 3.2.
    """
    spare = service_rate - rate / servers
    return -math.log(1 - QUANTILE) / spare if spare > 0 else math.inf


def pooled_wait(rate: float, service_rate: float, servers: int) -> float:
    """Return the probability that a request has to wait when the first free server takes it (M/M/c).

    This is Erlang's C formula, C = B / (1 - (a / c) (1 - B)), with the load a = lambda / mu. His B comes from
    the recursion B(0) = 1, B(n) = a B(n - 1) / (n + a B(n - 1)), which does not overflow.

    Args:
        rate: Requests per second (lambda).
        service_rate: Requests per second that one server can answer (mu).
        servers: Their number (c).

    Returns:
        The probability; 1 where the queue grows without end.

    Source:
        A. K. Erlang, Solution of some problems in the theory of probabilities of significance in automatic
        telephone exchanges, 1917.
    """
    load = rate / service_rate
    if load >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def probability_up(required: int, servers: int, availability: float) -> float:
    """Return the probability that enough servers are up, when each fails independently (a binomial tail).

    Args:
        required: How many are enough.
        servers: How many there are.
        availability: Share of the time that each is up.
    """
    return sum(
        math.comb(servers, count) * availability**count * (1 - availability) ** (servers - count)
        for count in range(required, servers + 1)
    )
