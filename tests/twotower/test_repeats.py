"""The model of repeat purchases: against its integrals, and by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from tests.helpers.lists import MODEL, write_lists
from twotower.artifact.layout import VersionLayout
from twotower.artifact.lists import RepeatModel
from twotower.errors import CorruptArtifact
from twotower.repeats import Pairs, RepeatTable, chance_of_repeat, log_likelihood, purchase_days, usual_interval

DAY = 86_400_000
# repeats, intervals in days, days from the last purchase to now
HISTORIES = [([], 12.0), ([9.0], 3.0), ([4.0, 6.0, 5.0], 40.0)]


def model(regularity: int) -> RepeatModel:
    return MODEL.model_copy(
        update={"regularity": regularity, "shape": 1.7, "scale_days": 8.0, "leave": 1.3, "stay": 2.4}
    )


def pairs_of(histories: list[tuple[list[float], float]]) -> tuple[Pairs, np.ndarray]:
    last = np.array([sum(gaps) for gaps, _ in histories])
    since = np.array([rest for _, rest in histories])
    logs = np.array([sum(map(math.log, gaps)) for gaps, _ in histories])
    return Pairs(np.array([len(gaps) for gaps, _ in histories]), last, last + since), logs


def integrals(one: RepeatModel, gaps: list[float], since: float, horizon: float) -> tuple[float, float]:
    """The likelihood of a history, and the likelihood of it with a purchase within the horizon: over all rates and
    chances to give up.
    """
    rate, leave = np.linspace(1e-9, 6, 60_001), np.linspace(0, 1, 20_001)
    erlang = stats.gamma(one.regularity, scale=1 / rate)
    of_rate = stats.gamma(one.shape, scale=1 / one.scale_days).pdf(rate)
    intervals = np.prod([erlang.pdf(gap) for gap in gaps], axis=0) * of_rate
    seen, quiet, quieter = (
        integrate.simpson(intervals * part, x=rate)
        for part in (np.ones(len(rate)), erlang.sf(since), erlang.sf(since + horizon))
    )
    of_leave, stayed = stats.beta(one.leave, one.stay).pdf(leave), (1 - leave) ** len(gaps)
    stays = integrate.simpson((1 - leave) * stayed * of_leave, x=leave)
    left = integrate.simpson(leave * stayed * of_leave, x=leave)
    return stays * quiet + left * seen, stays * (quiet - quieter)


@pytest.mark.parametrize("regularity", [1, 2, 3])
def test_the_closed_form_is_the_integral_over_rates_and_chances_to_give_up(regularity: int) -> None:
    one = model(regularity)
    pairs, logs = pairs_of(HISTORIES)
    pace = np.ones(len(HISTORIES))
    wanted = [integrals(one, gaps, since, one.horizon_days) for gaps, since in HISTORIES]
    np.testing.assert_allclose(
        log_likelihood(one, pairs, pace, logs), [math.log(likelihood) for likelihood, _ in wanted], rtol=1e-5
    )
    np.testing.assert_allclose(
        chance_of_repeat(one, pairs, pace), [joint / likelihood for likelihood, joint in wanted], rtol=1e-5
    )


def test_a_pace_of_two_is_half_the_scale() -> None:
    pairs, _ = pairs_of(HISTORIES)
    slow = MODEL.model_copy(update={"scale_days": 5.0})
    np.testing.assert_allclose(
        chance_of_repeat(MODEL, pairs, np.full(3, 2.0)), chance_of_repeat(slow, pairs, np.ones(3))
    )


def test_a_regular_product_is_due_when_its_interval_is_over() -> None:
    # five purchases, ten days apart; asked two and eleven days after the last one, for the next three days
    pairs = Pairs(np.array([4, 4]), np.array([40.0, 40.0]), np.array([42.0, 51.0]))
    early, due = chance_of_repeat(
        MODEL.model_copy(update={"regularity": 3, "horizon_days": 3.0, "leave": 0.1}), pairs, np.ones(2)
    )
    assert due > 1.5 * early


def test_purchases_of_one_day_are_one() -> None:
    assert purchase_days([3 * DAY + 5, 3 * DAY + 7_000_000, 4 * DAY - 1, 9 * DAY]) == [3, 9]


def test_the_usual_interval_lies_between_a_buyers_and_the_products() -> None:
    # one interval of 4 days counts beside two of the product's 16: the cube root of 4 x 16 x 16
    found = usual_interval([100, 104], math.log(16.0), 0.5)
    assert found.usual == pytest.approx(1024 ** (1 / 3))
    assert found.low == pytest.approx(found.usual * math.exp(-0.6745 * 0.5))
    assert found.high == pytest.approx(found.usual * math.exp(0.6745 * 0.5))
    # one purchase alone says nothing of its interval
    assert usual_interval([100], math.log(16.0), 0.5).usual == pytest.approx(16.0)


def test_a_table_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    files = VersionLayout(tmp_path)
    write_lists(files, products=4)
    assert RepeatTable.load(files, 4, 4).products.shape == (4, 5)
    with pytest.raises(CorruptArtifact, match=r"repeat_products.npy is float32 \[4, 5\], wanted float32 \[5, 5\]"):
        RepeatTable.load(files, 5, 4)
    broken = np.load(files.repeat_categories)
    broken[0, 4] = 0
    np.save(files.repeat_categories, broken)
    with pytest.raises(CorruptArtifact, match=r"repeat_categories.npy holds a number"):
        RepeatTable.load(files, 4, 4)
    files.repeat_products.write_bytes(b"nothing")
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        RepeatTable.load(files, 4, 4)


def test_a_new_product_has_the_figures_of_its_category_without_repeats_of_its_own() -> None:
    products = np.arange(10, dtype=np.float32).reshape(2, 5)
    categories = np.arange(100, 115, dtype=np.float32).reshape(3, 5)
    moved = RepeatTable(products, categories).moved(np.array([1, -1, -1]), [0, 1, -1])
    assert moved.tolist() == [[5, 6, 7, 8, 9], [0, 106, 107, 108, 109], [0, 111, 112, 113, 114]]
