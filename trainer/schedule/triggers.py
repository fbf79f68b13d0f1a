"""When a job is due: at a time of day, at a time of one weekday, after so many new events or changed products."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import NamedTuple

from twotower.errors import SettingsError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"(?:(?P<day>[A-Za-z]{3}) )?(?P<hour>\d\d):(?P<minute>\d\d)")
_EVERY = re.compile(r"every (?P<count>[1-9]\d*) (?P<what>events|changes)")


class AtTime(NamedTuple):
    """Once a day at `hour`:`minute`, or once a week on `weekday` (0 = Monday)."""

    hour: int
    minute: int
    weekday: int | None = None

    def next_after(self, moment: datetime) -> datetime:
        """The first such time after `moment`, in the zone of `moment`. A time that a change of the clock leaves out
        comes an hour later on that day."""
        day = moment.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0, fold=0)
        while day <= moment or (self.weekday is not None and day.weekday() != self.weekday):
            day += timedelta(days=1)
        return day


class EveryEvents(NamedTuple):
    """After so many `events` that the last training did not have."""

    events: int


class EveryChanges(NamedTuple):
    """After the live catalogue has changed so many `products` that the served version lacks."""

    products: int


Trigger = AtTime | EveryEvents | EveryChanges


def read_trigger(text: str) -> Trigger:
    """Reads `03:00`, `Sun 03:00`, `every 5000 events` or `every 1000 changes`. Raises SettingsError for other texts."""
    if found := _EVERY.fullmatch(text):
        count = int(found["count"])
        return EveryEvents(count) if found["what"] == "events" else EveryChanges(count)
    if (found := _TIME.fullmatch(text)) and int(found["hour"]) < 24 and int(found["minute"]) < 60:
        day = (found["day"] or "").lower()
        if not day or day in _DAYS:
            return AtTime(int(found["hour"]), int(found["minute"]), _DAYS.index(day) if day else None)
    raise SettingsError(f"{text!r}: must be a time as 03:00 or Sun 03:00, every N events, or every N changes")
