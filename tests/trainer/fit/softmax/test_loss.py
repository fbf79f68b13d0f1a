"""The loss by hand, against a slow reference, and in cases with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.fit.softmax.loss import Targets, category_alignment, inclusion_probabilities, info_nce

# cosines of two buyers with three candidates, as rows of logits at temperature 1
QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])


CANDIDATES = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, -1.0]])


# row 0: 0.6, 1.0, 0.0; row 1: 0.8, 0.0, -1.0
TARGET = torch.tensor([1, 0])


FIRST = -math.log(math.e**1.0 / (math.e**0.6 + math.e**1.0 + math.e**0.0))


SECOND = -math.log(math.e**0.8 / (math.e**0.8 + math.e**0.0 + math.e**-1.0))


def test_two_buyers_and_three_candidates_by_hand() -> None:
    assert pytest.approx(0.7120, abs=1e-4) == FIRST
    assert pytest.approx(0.4791, abs=1e-4) == SECOND
    assert float(info_nce(QUERIES, CANDIDATES, Targets(TARGET), 1.0)) == pytest.approx((FIRST + SECOND) / 2)


def test_weights_are_those_of_a_weighted_mean() -> None:
    loss = info_nce(QUERIES, CANDIDATES, Targets(TARGET, weights=torch.tensor([3.0, 1.0])), 1.0)
    assert float(loss) == pytest.approx((3 * FIRST + SECOND) / 4)


def test_a_masked_candidate_is_no_negative_and_a_masked_target_still_counts() -> None:
    masked = torch.tensor([[0, 1, 1], [0, 0, 0]])
    alone = -math.log(math.e**1.0 / (math.e**1.0 + math.e**0.0))
    loss = info_nce(QUERIES, CANDIDATES, Targets(TARGET, masked), 1.0)
    assert float(loss) == pytest.approx((alone + SECOND) / 2)


def test_a_pair_with_no_negative_left_costs_nothing_and_has_a_finite_gradient() -> None:
    queries = QUERIES.clone().requires_grad_()
    masked = torch.arange(3).repeat(2, 1)
    loss = info_nce(queries, CANDIDATES, Targets(TARGET, masked), 0.07)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert queries.grad is not None and bool(torch.isfinite(queries.grad).all())


def test_temperature_divides_the_cosines() -> None:
    sharp = -math.log(math.e**2.0 / (math.e**1.2 + math.e**2.0 + math.e**0.0))
    sharper = -math.log(math.e**1.6 / (math.e**1.6 + math.e**0.0 + math.e**-2.0))
    loss = info_nce(QUERIES, CANDIDATES, Targets(TARGET), 0.5)
    assert float(loss) == pytest.approx((sharp + sharper) / 2, rel=1e-6)


def test_a_popular_negative_counts_less_after_the_correction() -> None:
    # candidate 0 is drawn ten times as often as candidate 2: the gradient that pushes buyer 0 off it must shrink
    def push(log_q: torch.Tensor | None) -> torch.Tensor:
        queries = QUERIES[:1].clone().requires_grad_()
        cosines = queries @ CANDIDATES.T
        cosines.retain_grad()
        # the identity as candidates: the query's own coordinates are the cosines
        info_nce(cosines, torch.eye(3), Targets(torch.tensor([1])), 1.0, log_q).backward()
        assert cosines.grad is not None
        return cosines.grad[0]

    plain, corrected = push(None), push(torch.tensor([0.5, 0.05, 0.05]).log())
    assert corrected[0] / corrected[2] == pytest.approx(float(plain[0] / plain[2]) / 10, rel=1e-5)


def test_the_correction_makes_a_popularity_sample_unbiased() -> None:
    """With each negative weighted by 1 / how often it is drawn, the sampled sum is the full sum, on average."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=50)
    often = rng.uniform(0.1, 0.9, size=50)
    full = np.exp(scores).sum()
    sums = []
    for _ in range(4000):
        drawn = rng.random(50) < often
        sums.append(np.exp(scores[drawn] - np.log(often[drawn])).sum())
    assert np.mean(sums) == pytest.approx(full, rel=0.03)


def test_the_whole_catalogue_as_candidates_is_a_plain_softmax() -> None:
    torch.manual_seed(0)
    queries = torch.nn.functional.normalize(torch.randn(5, 4), dim=-1)
    items = torch.nn.functional.normalize(torch.randn(9, 4), dim=-1)
    target = torch.tensor([0, 8, 3, 3, 5])
    # all nine are drawn for certain: the correction is nothing
    sure = inclusion_probabilities(torch.full((9,), 1 / 9), 100, 9).log()
    wanted = -torch.log_softmax(queries @ items.T / 0.07, dim=1)[torch.arange(5), target].mean()
    assert float(info_nce(queries, items, Targets(target), 0.07, sure.float())) == pytest.approx(
        float(wanted), rel=1e-6
    )


def slow(
    cosines: list[list[float]],
    target: list[int],
    temperature: float,
    masked: list[list[bool]],
    log_q: list[float],
    weights: list[float],
) -> float:
    total = 0.0
    for row, own in enumerate(target):
        terms = {
            column: cosines[row][column] / temperature - log_q[column]
            for column in range(len(log_q))
            if column == own or not masked[row][column]
        }
        top = max(terms.values())
        total += weights[row] * (top + math.log(sum(math.exp(one - top) for one in terms.values())) - terms[own])
    return total / sum(weights)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10_000), st.floats(0.05, 1.0))
@settings(max_examples=100, deadline=None)
def test_the_loss_equals_a_slow_reference(pairs: int, columns: int, seed: int, temperature: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    queries = torch.nn.functional.normalize(torch.randn(pairs, 3, generator=draw), dim=-1)
    items = torch.nn.functional.normalize(torch.randn(columns, 3, generator=draw), dim=-1)
    target = torch.randint(columns, (pairs,), generator=draw)
    masked = torch.rand(pairs, columns, generator=draw) < 0.4
    log_q = torch.rand(columns, generator=draw).add(0.01).log()
    weights = torch.rand(pairs, generator=draw) + 0.1
    # rows of columns, filled by repeating the first
    first = torch.where(masked.any(dim=1), masked.float().argmax(dim=1), target)[:, None]
    rows = torch.where(masked, torch.arange(columns), first)
    found = info_nce(queries, items, Targets(target, rows, weights), temperature, log_q)
    wanted = slow(
        (queries.double() @ items.double().T).tolist(),
        target.tolist(),
        temperature,
        masked.tolist(),
        log_q.tolist(),
        weights.tolist(),
    )
    assert float(found) == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("pairs", [7, 600])
def test_the_gradients_are_those_of_a_plain_softmax(pairs: int) -> None:
    draw = torch.Generator().manual_seed(3)
    queries = torch.nn.functional.normalize(torch.randn(pairs, 5, generator=draw), dim=-1).double()
    items = torch.nn.functional.normalize(torch.randn(11, 5, generator=draw), dim=-1).double()
    target = torch.randint(11, (pairs,), generator=draw)
    log_q = torch.rand(11, generator=draw).double().log()
    weights = torch.rand(pairs, generator=draw).double() + 0.1
    masked = torch.randint(11, (pairs, 3), generator=draw)

    def made(fused: bool) -> list[torch.Tensor]:
        inputs = [queries.clone().requires_grad_(), items.clone().requires_grad_(), torch.tensor(0.2).double()]
        inputs[2].requires_grad_()
        if fused:
            loss = info_nce(inputs[0], inputs[1], Targets(target, masked, weights), inputs[2], log_q)
        else:
            logits = inputs[0] @ inputs[1].T / inputs[2] - log_q
            out = torch.zeros(pairs, 11, dtype=torch.bool).scatter_(1, masked, True)
            out[torch.arange(pairs), target] = False
            costs = torch.nn.functional.cross_entropy(logits.masked_fill(out, -1e9), target, reduction="none")
            loss = (costs * weights).sum() / weights.sum()
        return [loss.detach(), *torch.autograd.grad(loss * 3, inputs)]

    for found, wanted in zip(made(True), made(False), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


def test_bfloat16_factors_give_nearly_the_same_loss_and_gradients() -> None:
    draw = torch.Generator().manual_seed(5)
    queries = torch.nn.functional.normalize(torch.randn(40, 64, generator=draw), dim=-1)
    items = torch.nn.functional.normalize(torch.randn(300, 64, generator=draw), dim=-1)
    target = torch.randint(300, (40,), generator=draw)
    found = []
    for rounded in (False, True):
        one = queries.clone().requires_grad_()
        loss = info_nce(one, items, Targets(target), 0.1, bfloat16=rounded)
        loss.backward()
        assert one.grad is not None
        found.append((float(loss.detach()), one.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=2e-3)
    assert torch.nn.functional.cosine_similarity(found[0][1].ravel(), found[1][1].ravel(), dim=0) > 0.999


def test_inclusion_probabilities_by_hand() -> None:
    share = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
    # two of four drawn uniformly: 1/2 each; two in-batch draws of share 1/2: 1 - e^-1
    found = inclusion_probabilities(share, 2, 2)
    taken = 1 - math.exp(-1.0) * 0.5
    assert found.tolist() == pytest.approx([taken, taken, 0.5, 0.5])
    assert inclusion_probabilities(share, 0, 0).tolist() == [0.0] * 4
    assert inclusion_probabilities(share, 5, 9).tolist() == [1.0] * 4


def test_a_product_is_a_candidate_as_often_as_its_inclusion_probability() -> None:
    rng = np.random.default_rng(3)
    share = rng.dirichlet(np.ones(30))
    seen = np.zeros(30)
    for _ in range(5000):
        drawn = np.concatenate((rng.choice(30, 20, p=share), rng.choice(30, 5, replace=False)))
        seen[np.unique(drawn)] += 1
    found = inclusion_probabilities(torch.from_numpy(share), 20, 5).numpy()
    np.testing.assert_allclose(found, seen / 5000, atol=0.03)


def test_category_alignment_by_hand() -> None:
    content = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    # of any length: only their direction counts
    prototypes = torch.tensor([[5.0, 0.0], [0.0, 0.5]])
    category = torch.tensor([1, 1, 0])
    # cosines 1, 0 and 0, 1 at temperature 0.5; the third item's category is unknown
    first = -math.log(math.exp(2) / (math.exp(2) + 1))
    second = -math.log(1 / (1 + math.exp(2)))
    loss = category_alignment(content, prototypes, category, 0.5)
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-6)


def test_category_alignment_is_nothing_without_categories() -> None:
    content = torch.randn(3, 4, requires_grad=True)
    loss = category_alignment(content, torch.randn(2, 4), torch.zeros(3, dtype=torch.long), 0.5)
    loss.backward()
    assert float(loss.detach()) == 0
    assert content.grad is not None and float(content.grad.abs().max()) == 0
