"""Notify the responsible team when an alert starts and ends, with reminders in between.

`NOTIFY_MODEL` and `NOTIFY_DATA` hold the addresses of the teams that own the model and the data: Apprise URLs
separated by spaces (`slack://...`, `mailto://...`, `json://host/path`; https://appriseit.com lists them).
Alerts that were sent are recorded in a file, so that a repeated run does not send them again.
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
REMIND_DAYS = 7  # until a lasting alert is sent again
Send = Callable[[str, str], bool]


@dataclass(frozen=True)
class Alert:
    """Something that a team has to act on; alerts with the same title are the same alert."""

    title: str
    team: str  # one of TEAMS
    body: str


@dataclass(frozen=True)
class NotificationState:
    """An alert that was sent, and when it was last sent (epoch seconds)."""

    alert: Alert
    at: float


MEMORY = TypeAdapter(list[NotificationState])


def notify(
    alerts: Sequence[Alert], now: float, memory: Path, senders: dict[str, Send] | None = None
) -> tuple[str, ...]:
    """Notify the teams of alerts that are new, still active or over.

    An alert that could not be delivered, or has no address yet, is not recorded, so the next run retries it.

    Args:
        alerts: All alerts that are active now.
        now: The current time in epoch seconds.
        memory: The JSON file of the alerts that were sent, which is replaced; it need not exist.
        senders: The sender for each team, by default those of the environment; other teams get no alerts.

    Returns:
        A sentence for each alert that could not be delivered.

    Raises:
        UserError: If an address is invalid.
    """
    senders = senders_from_environment() if senders is None else senders
    known = MEMORY.validate_json(memory.read_bytes()) if memory.exists() else []
    sent = {one.alert.title: one for one in known}
    current = {alert.title: alert for alert in alerts}
    recent = {title for title, one in sent.items() if now - one.at < REMIND_DAYS * DAY}
    due = [("Still: " if title in sent else "", one) for title, one in current.items() if title not in recent]
    over = [("Over: ", one.alert) for title, one in sent.items() if title not in current]
    failed = []
    for prefix, alert in (one for one in (*due, *over) if one[1].team in senders):
        if not senders[alert.team](title := prefix + alert.title, alert.body):
            failed.append(f"The {alert.team} team could not be notified: {title}.")
            continue
        sent.pop(alert.title, None)
        if alert.title in current:
            sent[alert.title] = NotificationState(alert, now)
        # After each alert, so that an interrupted run repeats none.
        write_text(memory, MEMORY.dump_json(list(sent.values()), indent=1).decode())
    return tuple(failed)


def senders_from_environment() -> dict[str, Send]:
    """Return the sender of each team that has an address; it returns whether the alert was delivered."""
    senders: dict[str, Send] = {}
    for team in TEAMS:
        name = f"NOTIFY_{team.upper()}"
        if addresses := os.environ.get(name, "").split():
            senders[team] = _sender(addresses, name)
    return senders


def _sender(addresses: Sequence[str], name: str) -> Send:
    from apprise import Apprise, AppriseAsset

    notifier = Apprise(
        asset=AppriseAsset(async_mode=False, app_id="fivestage", app_desc="Monitoring", app_url="")
    )
    for number, address in enumerate(addresses, 1):
        if not notifier.add(address):  # not shown, because it may contain a secret
            raise UserError(
                f"{name}: URL {number} is no valid Apprise URL; https://appriseit.com lists them."
            )
    return lambda title, body: bool(notifier.notify(title=title, body=body))
