"""What switches an arm off, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.experiments.guardrails import ArmCounts, find_breach
from twotower.experiments import Guardrails

RAILS = Guardrails()
GOOD = ArmCounts(requests=2000, lists=2000, clicks=200)


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        (GOOD, ""),
        (ArmCounts(requests=50, failures=50), "errors: 1.0000 (of 50) of the requests fail, 0.0000 (of 2000)"),
        # too few to judge by
        (ArmCounts(requests=49, failures=49), ""),
        # above the control by less than the margin
        (ArmCounts(requests=2000, failures=40), ""),
        (ArmCounts(requests=2000, slow=400), "latency: 0.2000 (of 2000) of the requests take over 500 ms"),
        (ArmCounts(requests=2000, lists=2000, clicks=20), "click-through: 0.0100 (of 2000) clicks a list, the control"),
        # worse, but not below half of the control
        (ArmCounts(requests=2000, lists=2000, clicks=120), ""),
        (ArmCounts(requests=400, lists=400, clicks=0), ""),
    ],
)
def test_an_arm_beside_its_control(arm: ArmCounts, said: str) -> None:
    found = find_breach(arm, GOOD, RAILS)
    assert found.startswith(said) and bool(found) == bool(said)


def test_a_control_that_fails_as_often_saves_the_arm() -> None:
    failing = ArmCounts(requests=1000, failures=900)
    assert find_breach(failing, failing, RAILS) == ""


def test_click_through_has_an_interval_for_repeated_looks() -> None:
    # clicks in clusters of two: variance 2 x 61/902 / 900, standard error 0.012259; 3.9590 of them at 900 lists:
    # rho2 = (5.99146 + ln 6.99146) / 10000, grown = 0.714254, sqrt((1 + 1 / grown) ln((1 + grown) / 0.0025))
    arm = ArmCounts(lists=900, clicks=60)
    found = arm.click_through()
    assert found == (pytest.approx(60 / 900), pytest.approx(0.01813, abs=1e-5), pytest.approx(0.11520, abs=1e-5))
    difference = arm.more_clicks_than(ArmCounts(lists=900, clicks=60))
    assert difference is not None and difference.value == 0 and difference.high == -difference.low > 0.0485
    few = ArmCounts(lists=99, clicks=9)
    assert few.click_through() is None and arm.more_clicks_than(few) is None and few.more_clicks_than(arm) is None


def test_an_arm_as_good_as_its_control_stays_on_however_often_it_is_looked_at() -> None:
    """500 pairs of arms with 8 clicks in 100 lists, looked at every 100 lists until 20,000; no margin at all."""
    rails = Guardrails(min_click_ratio=1.0)
    clicks = np.random.default_rng(7).binomial(100, 0.08, (500, 2, 200)).cumsum(axis=2)
    wrong = 0
    for pair in clicks:
        counts = [[ArmCounts(lists=100 * (look + 1), clicks=int(arm[look])) for look in range(200)] for arm in pair]
        wrong += any(find_breach(arm, control, rails) for arm, control in zip(*counts, strict=True))
    assert wrong <= 1
