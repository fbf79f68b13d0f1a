"""The linear model against slow references, and the towers that it writes against vectors worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from trainer.config.loading import load_config
from trainer.data.events import Events
from trainer.fit.linear.cold import cold_rows
from trainer.fit.linear.hyperparameters import LinearHyperparameters, choose_hyperparameters
from trainer.fit.linear.placement import Placement
from trainer.fit.linear.spectral import item_vectors
from trainer.fit.linear.towers import write_linear_model
from trainer.fit.linear.trend import BIASES, tilts, trends
from trainer.fit.normalise import normalise_rows
from trainer.fit.text_neighbours import TextNeighbours
from trainer.fit.training_set import TrainingSet
from trainer.model.inputs import History, ItemFeatures, Sizes, text_alone
from trainer.model.towers import TwoTower
from twotower.arrays import Float32, Float64, Int64
from twotower.events import DAY_MS

TEXT = 5


def events_of(buyers: list[list[int]], days: list[list[float]] | None = None) -> Events:
    start = np.cumsum([0, *map(len, buyers)]).astype(np.int64)
    product = np.array([one for row in buyers for one in row], np.int32)
    moments = [day for row in days for day in row] if days else np.arange(len(product))
    return Events(
        np.repeat(np.arange(len(buyers)), np.diff(start)).astype(np.int32),
        product,
        np.full(len(product), 3, np.int8),
        (np.array(moments) * DAY_MS).astype(np.int64),
        start,
    )


def settings_of(*changes: str) -> Any:
    return load_config([], [f"linear.{one}" for one in changes]).linear


def neighbours_of(features: ItemFeatures, seed: int = 5) -> TextNeighbours:
    """Neighbours by the given text vectors, as if their numbers were words."""
    return TextNeighbours(sparse.csr_matrix(normalise_rows(features.text.numpy())), seed)


BASKETS = [[0, 1, 2], [0, 1], [1, 2, 3], [4, 5], [4, 5, 0], [2, 3], [3, 1], [5, 4, 3]]


def reference(baskets: list[list[int]], chosen: list[int], l2: float, wanted: int) -> Float64:
    """Unit rows of the leading eigenvectors of the partial correlations, one product at a time."""
    taken = np.array([[one in basket for one in chosen] for basket in baskets], float)
    inverse = np.linalg.inv(taken.T @ taken + l2 * np.eye(len(chosen)))
    matrix = np.array(
        [
            [1.0 if a == b else -inverse[a, b] / math.sqrt(inverse[a, a] * inverse[b, b]) for b in range(len(chosen))]
            for a in range(len(chosen))
        ]
    )
    values, vectors = np.linalg.eigh(matrix)
    best = np.argsort(-values)[:wanted]
    rows = vectors[:, best] * np.sqrt(np.maximum(values[best], 0))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("dimension", [2, 6])
def test_cosines_of_items_equal_the_slow_reference(dimension: int) -> None:
    events = events_of(BASKETS)
    found = item_vectors(TrainingSet(events, events.start[1:]), 7, dimension, settings_of("l2=2"), seed=3)
    wanted = reference(BASKETS, list(range(6)), 2.0, dimension)
    # vectors of the same cosines may be turned as a whole
    np.testing.assert_allclose(found[:6] @ found[:6].T, wanted @ wanted.T, atol=1e-4)
    assert not found[6].any()  # nobody took it


def test_products_beyond_the_most_popular_are_means_of_products_of_the_same_buyers() -> None:
    baskets = [*BASKETS, [0, 6], [1, 6]]
    events = events_of(baskets)
    found = item_vectors(TrainingSet(events, events.start[1:]), 7, 4, settings_of("l2=2", "products=6"), seed=3)
    assert np.linalg.norm(found[6]) == pytest.approx(1, abs=1e-6)
    counts = [sum(one in basket for basket in baskets) for one in range(6)]
    expected = found[0] / math.sqrt(counts[0]) + found[1] / math.sqrt(counts[1])
    np.testing.assert_allclose(found[6], expected / np.linalg.norm(expected), atol=1e-5)


def test_only_training_events_place_products() -> None:
    events = events_of([[0, 1, 2], [0, 1, 3]])
    found = item_vectors(TrainingSet(events, np.array([2, 5])), 4, 4, settings_of("l2=1"), seed=3)
    assert found[:2].any(axis=1).all()
    assert not found[2:].any()


def test_fewer_than_two_products_place_nothing() -> None:
    events = events_of([[0, 0], [0]])
    assert not item_vectors(TrainingSet(events, events.start[1:]), 3, 4, settings_of(), seed=3).any()


def test_trends_by_hand() -> None:
    events = events_of([[0, 1], [0, 2]], [[0, 10], [20, 20]])
    # at a half-life of ten days: product 0 counts 1/4 + 1, product 1 a half, product 2 one
    logs = [math.log(1.75), math.log(1.0), math.log(1.5)]
    mean = sum(logs) / 3
    found = trends(TrainingSet(events, events.start[1:]), 4, 10.0)
    assert found.tolist() == pytest.approx([*(log - mean for log in logs), math.log(0.5) - mean], abs=1e-6)
    assert trends(TrainingSet(events, events.start[:-1]), 4, 10.0).tolist() == pytest.approx([math.log(0.5)] * 4)


def test_a_robot_makes_no_trend() -> None:
    # buyer 0 takes product 0 a hundred times, at last when buyers 1 and 2 take product 1
    times = [[10] * 100, [10], [10]]
    events = events_of([[0] * 100, [1], [1]], times)
    found = trends(TrainingSet(events, events.start[1:]), 2, 10.0)
    assert found.tolist() == pytest.approx([half := math.log(1.5 / 2.5) / 2, -half], abs=1e-6)


def test_tilts_grow_with_the_trend_up_to_a_bound() -> None:
    assert tilts(np.array([-1.0, 0.0, 2.0, 100.0], np.float32), 0.5).tolist() == pytest.approx([-0.025, 0, 0.05, 0.35])


def test_the_best_hyperparameters_are_chosen_and_the_first_of_equals() -> None:
    settings = settings_of("half_lives_days=[0, 90, 45]", "trend_weights=[0, 1]", "cold_lengths=[0.5, 0.8]")
    best = choose_hyperparameters(settings, lambda one: one.half_life_days / 100 + one.trend + one.trust)
    assert best == LinearHyperparameters(90.0, 1.0, 0.8)
    assert choose_hyperparameters(settings, lambda one: 0.5) == LinearHyperparameters(0.0, 0.0, 0.5)


TREND = np.array([2.0, 0.0, -2.0, 0.0], np.float32)


def linear_model(choice: LinearHyperparameters, tower: str = "attention") -> tuple[TwoTower, ItemFeatures, Float32]:
    """Four products: three have vectors of their own, the last is known by its content alone."""
    config = load_config([], ["model.dimension=8", "model.heads=1", f"model.buyer_tower={tower}"])
    draw = torch.Generator().manual_seed(1)
    features = ItemFeatures(
        torch.randn(4, TEXT, generator=draw),
        torch.tensor([1, 2, 1, 1]),
        torch.tensor([1, 1, 2, 1]),
        torch.arange(1, 5),
        torch.tensor([[1, 2], [2, 0], [0, 0], [1, 0]]),
    )
    model = TwoTower(Sizes(TEXT, 2, 2, 4, 2, 3), config.model, 0.07, heads=1).eval()
    vectors = np.zeros((4, config.model.dimension - BIASES), np.float32)
    vectors[:3] = normalise_rows(np.random.default_rng(2).standard_normal((3, vectors.shape[1])).astype(np.float32))
    write_linear_model(model, Placement(vectors, TREND, features, neighbours_of(features)), choice)
    return model, features, vectors


def buyer(model: TwoTower, items: Float32, rows: list[int], ages: list[float]) -> Float32:
    one = torch.from_numpy(items[rows])[None]
    history = History(
        one,
        torch.ones(1, len(rows)),
        torch.full((1, len(rows)), 3),
        torch.tensor([ages]),
        torch.ones(1, len(rows), dtype=torch.bool),
    )
    found: Float32 = model.buyer(*history)[0].detach().numpy()
    return found


@pytest.mark.parametrize("tower", ["attention", "weighted_average"])
def test_known_items_have_their_vectors(tower: str) -> None:
    model, features, vectors = linear_model(LinearHyperparameters(0.0, 0.0, 0.8), tower)
    items = model.items(features).detach().numpy()
    np.testing.assert_allclose(items[:3, :-BIASES], vectors[:3], atol=1e-5)
    np.testing.assert_allclose(items[:3, -BIASES:], 0, atol=1e-5)
    assert np.linalg.norm(items[3]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("tower", ["attention", "weighted_average"])
def test_a_buyer_is_the_decayed_mean_of_the_history(tower: str) -> None:
    model, features, vectors = linear_model(LinearHyperparameters(10.0, 0.0, 0.8), tower)
    items = model.items(features).detach().numpy()
    wanted = vectors[0] * 0.25 + vectors[1]  # twenty days older: a quarter
    found = buyer(model, items, [0, 1], [20.0, 0.0])
    np.testing.assert_allclose(found[:-BIASES], wanted / np.linalg.norm(wanted), atol=1e-5)


def test_a_cold_product_scores_below_its_content() -> None:
    model, features, _ = linear_model(LinearHyperparameters(0.0, 0.0, 0.8))
    items = model.items(features).detach().numpy()
    content = items[3, :-BIASES]
    assert np.linalg.norm(content) == pytest.approx(0.8, abs=1e-5)
    # a history of the cold product alone has the direction of its content
    found = buyer(model, items, [3], [0.0])
    np.testing.assert_allclose(found[:-BIASES], content / 0.8, atol=1e-5)
    assert float(found @ items[3]) == pytest.approx(0.8, abs=1e-5)


def test_a_weighted_average_gives_cold_products_the_vector_of_their_content() -> None:
    model, features, _ = linear_model(LinearHyperparameters(0.0, 0.0, 0.8), "weighted_average")
    items = model.items(features).detach().numpy()
    np.testing.assert_allclose(items[3, -BIASES:], 0, atol=1e-6)
    assert np.linalg.norm(items[3]) == pytest.approx(1, abs=1e-6)


def test_a_new_product_has_its_direction_its_trend_and_the_length_one() -> None:
    content = np.array([[0.3, 0.4, 0.0, -0.9], [0.0, 0.0, 0.0, 0.0]], np.float32)
    vectors, trend = np.array([[0.6, 0.8], [0.0, 0.0]], np.float32), np.array([4.0, 4.0], np.float32)
    # half of .05 x 4 is a tilt of .1, and the root of 1 - .01 is left for the rest
    across = 0.99**0.5
    own = cold_rows(content, vectors, tilts(trend, 0.5), trust=0.8)
    np.testing.assert_allclose((content + own)[0], [0.48 * across, 0.64 * across, 0.6 * across, 0.1], atol=1e-6)
    assert not own[1].any()  # nothing is known of it
    # a fall past the steepest stops there
    steep = content + cold_rows(content, vectors, tilts(-100 * trend, 0.5), trust=0.8)
    across = (1 - 0.35**2) ** 0.5
    np.testing.assert_allclose(steep[0], [0.48 * across, 0.64 * across, 0.6 * across, -0.35], atol=1e-6)


def families(count: int = 40, size: int = 15) -> tuple[ItemFeatures, Float32, Float32, Int64]:
    """Products of more families than a text vector has numbers; the last of each family is new."""
    draw = np.random.default_rng(11)
    family = np.repeat(np.arange(count), size)
    text = normalise_rows(draw.standard_normal((count, 8)).astype(np.float32))[family]
    text = normalise_rows(text + 0.05 * draw.standard_normal(text.shape).astype(np.float32))
    vectors = normalise_rows(draw.standard_normal((count, 24)).astype(np.float32))[family]
    trend = draw.standard_normal(count).astype(np.float32)[family]
    trend += 0.5 * draw.standard_normal(len(family)).astype(np.float32)
    zero = torch.zeros(len(family), dtype=torch.int64)
    features = ItemFeatures(torch.from_numpy(text), zero, zero, torch.arange(1, len(family) + 1), zero[:, None][:, :0])
    return features, vectors, trend, np.arange(size - 1, len(family), size)


def test_a_cold_product_is_placed_with_its_text_neighbours() -> None:
    features, vectors, trend, new = families()
    known = vectors.copy()
    known[new] = 0
    predicted = Placement(known, trend, features, neighbours_of(features)).predict_cold()
    np.testing.assert_allclose(np.linalg.norm(predicted.vectors, axis=1), 1, atol=1e-5)
    agreement = (predicted.vectors * vectors[new]).sum(axis=1)
    # a linear map of eight numbers cannot separate forty families
    content = Placement(known, trend, features, neighbours_of(features)).fit(0.0)[1]
    plain = (normalise_rows(content[new, :-BIASES]) * vectors[new]).sum(axis=1)
    assert agreement.mean() > 0.9 > 0.7 > plain.mean()
    # trends are those of the family, and more by half a variance, that of single products (.25) and of the predicted
    means = np.array([trend[one - 14 : one].mean() for one in new])
    assert np.corrcoef(predicted.trend, means)[0, 1] > 0.9
    assert 0.1 < float((predicted.trend - means).mean()) < 0.3


def test_brands_that_say_nothing_are_not_trusted_and_those_that_do_are() -> None:
    features, vectors, trend, new = families()
    family = torch.arange(len(vectors)) // 15
    known = vectors.copy()
    known[new] = 0

    def agreement(brand: torch.Tensor, text: torch.Tensor) -> float:
        told = features._replace(brand=brand, text=text)
        predicted = Placement(known, trend, told, neighbours_of(told)).predict_cold()
        return float((predicted.vectors * vectors[new]).sum(axis=1).mean())

    drawn = torch.from_numpy(np.random.default_rng(3).integers(1, 200, len(vectors)))
    without = agreement(torch.zeros_like(family), features.text)
    assert agreement(drawn, features.text) > without - 0.01
    # where texts say nothing, brands place what they can
    assert agreement(1 + family, torch.zeros_like(features.text)) > 0.9


def test_a_cold_product_has_no_trend_if_few_products_are_known() -> None:
    model, features, _ = linear_model(LinearHyperparameters(0.0, 1.0, 0.8))
    items = model.items(features).detach().numpy()
    assert items[3, -1] == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(items[3, :-BIASES]) == pytest.approx(0.8, abs=1e-5)


def test_the_trend_adds_to_every_score() -> None:
    model, features, vectors = linear_model(LinearHyperparameters(0.0, 1.0, 0.8))
    items = model.items(features).detach().numpy()
    lasts = [0.1, 0.0, -0.1]  # trends of 2, 0 and -2
    np.testing.assert_allclose(items[:3, -1], lasts, atol=1e-5)
    np.testing.assert_allclose(items[:3, :-BIASES], vectors[:3] * np.sqrt(1 - np.square(lasts))[:, None], atol=1e-5)
    found = buyer(model, items, [1], [0.0])
    # half history, half constant
    assert found.tolist() == pytest.approx([*(vectors[1] * 0.5**0.5), 0.0, 0.5**0.5], abs=1e-5)


def test_content_that_determines_vectors_places_cold_products() -> None:
    """Vectors that are a linear map of the text: content alone finds a product that nobody took."""
    config = load_config([], ["model.dimension=8", "model.heads=1"])
    draw = np.random.default_rng(7)
    text = normalise_rows(draw.standard_normal((60, TEXT)).astype(np.float32))
    vectors = normalise_rows(text @ draw.standard_normal((TEXT, 6)).astype(np.float32))
    whole = vectors.copy()
    vectors[-5:] = 0
    zero = torch.zeros(60, dtype=torch.int64)
    features = ItemFeatures(torch.from_numpy(text), zero, zero, torch.arange(1, 61), zero[:, None][:, :0])
    model = TwoTower(Sizes(TEXT, 0, 0, 60, 0, 3), config.model, 0.07, heads=1).eval()
    write_linear_model(
        model,
        Placement(vectors, np.zeros(60, np.float32), features, neighbours_of(features)),
        LinearHyperparameters(0.0, 0.0, 0.8),
    )
    items = model.items(features).detach().numpy()
    found = normalise_rows(items[-5:, :-BIASES])
    assert float((found * whole[-5:]).sum(axis=1).min()) > 0.9


def test_texts_alone_land_near_their_category_and_no_products_vector_changes() -> None:
    """Three categories of twenty products: texts determine the category, and vectors hold nothing else of the text."""
    config = load_config([], ["model.dimension=34", "model.heads=1"])
    draw = np.random.default_rng(7)
    category = np.repeat([1, 2, 3], 20)
    text = draw.standard_normal((3, TEXT)).repeat(20, axis=0) * 3 + draw.standard_normal((60, TEXT))
    titles = torch.from_numpy(text + 0.5 * draw.standard_normal((60, TEXT))).float()
    # products of a category have a cosine of about .14, as those that are bought by other buyers do
    centres = draw.standard_normal((3, 32)).repeat(20, axis=0)
    vectors = normalise_rows((0.4 * centres + draw.standard_normal((60, 32))).astype(np.float32))
    zero = torch.zeros(60, dtype=torch.int64)
    features = ItemFeatures(
        torch.from_numpy(text).float(), zero, torch.from_numpy(category), torch.arange(1, 61), zero[:, None][:, :0]
    )
    same = category[:, None] == category[None, :]
    np.fill_diagonal(same, False)
    cosines, items = {}, {}
    for name, given in {"aligned": titles, "plain": None}.items():
        model = TwoTower(Sizes(TEXT, 0, 3, 60, 0, 3), config.model, 0.07, heads=1).eval()
        placement = Placement(vectors, np.zeros(60, np.float32), features, neighbours_of(features), titles=given)
        write_linear_model(model, placement, LinearHyperparameters(0.0, 0.0, 0.8))
        alone = model.items(text_alone(titles)).detach().numpy()
        cosines[name] = alone @ alone.T
        items[name] = model.items(features).detach().numpy()
    assert (vectors @ vectors.T)[same].mean() < 0.25
    apart = category[:, None] != category[None, :]
    assert cosines["aligned"][same].mean() > 0.8 and cosines["plain"][same].mean() < 0.75
    assert cosines["aligned"][apart].mean() < 0.25
    np.testing.assert_allclose(items["aligned"], items["plain"], atol=1e-5)
    np.testing.assert_allclose(items["aligned"][:, :-BIASES], vectors, atol=1e-5)
