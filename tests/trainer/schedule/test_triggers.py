"""When a job is due."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from trainer.schedule.triggers import AtTime, EveryEvents, read_trigger
from twotower.errors import SettingsError


def test_triggers_are_read() -> None:
    assert read_trigger("03:05") == AtTime(3, 5)
    assert read_trigger("Sun 23:59") == AtTime(23, 59, 6)
    assert read_trigger("every 5000 events") == EveryEvents(5000)


@pytest.mark.parametrize(
    "text", ["3:05", "24:00", "03:60", "Xyz 03:00", "every 0 events", "every events", "", "03:00 "]
)
def test_another_text_is_refused_and_named(text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{text!r}: must be a time"):
        read_trigger(text)


def test_a_time_of_day_comes_today_or_tomorrow() -> None:
    at = AtTime(3, 0)
    assert at.next_after(datetime(2026, 3, 1, 2, 59, tzinfo=UTC)) == datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
    # not at that moment again
    assert at.next_after(datetime(2026, 3, 1, 3, 0, tzinfo=UTC)) == datetime(2026, 3, 2, 3, 0, tzinfo=UTC)


def test_a_weekday_is_waited_for() -> None:
    # 1 March 2026 is a Sunday
    found = AtTime(3, 0, 6).next_after(datetime(2026, 3, 1, 4, 0, tzinfo=UTC))
    assert found == datetime(2026, 3, 8, 3, 0, tzinfo=UTC)


def test_a_time_is_one_of_its_zone() -> None:
    riyadh = ZoneInfo("Asia/Riyadh")  # UTC+3
    found = AtTime(3, 0).next_after(datetime(2026, 3, 1, 1, 0, tzinfo=UTC).astimezone(riyadh))
    assert found == datetime(2026, 3, 2, 0, 0, tzinfo=UTC)


def test_a_change_of_the_clock_moves_no_other_day() -> None:
    berlin = ZoneInfo("Europe/Berlin")  # 02:30 is left out on 29 March 2026
    first = AtTime(2, 30).next_after(datetime(2026, 3, 28, 12, 0, tzinfo=berlin))
    assert first.astimezone(UTC) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    second = AtTime(2, 30).next_after(first)
    assert second.astimezone(UTC) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
