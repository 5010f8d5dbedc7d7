"""Alerts to the people who are to act: once when something begins, once when it ends, and a reminder between.

`NOTIFY_MODEL` and `NOTIFY_DATA` name where to, for whoever owns the model and whoever owns the data: URLs of
Apprise with spaces between (`slack://...`, `mailto://...`, `json://host/path`; https://appriseit.com lists
them). What teams have been told is remembered in a file, so that a repeated run does not repeat an alert.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.files import write_text

TEAMS = ("model", "data")
REMIND_DAYS = 7  # that an alert lasts before it is told again
Send = Callable[[str, str], bool]


@dataclass(frozen=True)
class Alert:
    """Something that somebody is to act on; alerts with the same title are the same one."""

    title: str
    team: str  # one of TEAMS
    body: str


@dataclass(frozen=True)
class NotificationState:
    """An alert that somebody knows of, and when that was last said (epoch seconds)."""

    alert: Alert
    at: float


MEMORY = TypeAdapter(list[NotificationState])


def notify(
    alerts: Sequence[Alert], now: float, memory: Path, senders: dict[str, Send] | None = None
) -> tuple[str, ...]:
    """Tell what is new, what lasts and what is over; returns sentences on what could not be delivered.

    What could not be delivered, or has no address yet, is not remembered, so that the next run tries again.

    Args:
        alerts: all that hold now.
        now: the current time in epoch seconds.
        memory: the JSON file of what teams have been told, which is replaced; it need not exist.
        senders: how to reach each team; those of the environment by default. Other teams are told nothing.

    Returns:
        A sentence for each alert, new, lasting or over, that could not be delivered.

    Raises:
        UserError: for an address that is none.
    """
    senders = senders_from_environment() if senders is None else senders
    known = MEMORY.validate_json(memory.read_bytes()) if memory.exists() else []
    told = {one.alert.title: one for one in known}
    current = {alert.title: alert for alert in alerts}
    fresh = {title for title, one in told.items() if now - one.at < REMIND_DAYS * DAY}
    over = [one.alert for one in known if one.alert.title not in current]
    due = [("Still: " if title in told else "", one) for title, one in current.items() if title not in fresh]
    failed = []
    for begins, alert in [*due, *(("Over: ", alert) for alert in over)]:
        if alert.team not in senders:
            continue
        if not senders[alert.team](title := begins + alert.title, alert.body):
            failed.append(f"The {alert.team} team could not be told: {title}.")
            continue
        told.pop(alert.title, None)
        if alert.title in current:
            told[alert.title] = NotificationState(alert, now)
        known = list(told.values())
        write_text(memory, MEMORY.dump_json(known, indent=1).decode())  # a run cut short repeats nothing
    return tuple(failed)


def senders_from_environment() -> dict[str, Send]:
    """How to reach each team that has an address: what sends an alert, and says whether it arrived."""
    found: dict[str, Send] = {}
    for team in TEAMS:
        name = f"NOTIFY_{team.upper()}"
        if addresses := os.environ.get(name, "").split():
            found[team] = _sender(addresses, name)
    return found


def _sender(addresses: Sequence[str], name: str) -> Send:
    from apprise import Apprise, AppriseAsset

    to = Apprise(asset=AppriseAsset(async_mode=False, app_id="fivestage", app_desc="Monitoring", app_url=""))
    for number, address in enumerate(addresses, 1):
        if not to.add(address):  # it is not repeated, for it may hold a secret
            raise UserError(
                f"{name} holds no Apprise URL at place {number}: https://appriseit.com lists them."
            )
    return lambda title, body: bool(to.notify(title=title, body=body))
