"""Queueing theory and availability of replicas.

A Service sends each request to a random replica, so each replica is a separate M/M/1 queue. Service times are
assumed to be exponential; those of a model hardly vary, so waiting times are overestimated.
"""

import math

QUANTILE = 0.99


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
