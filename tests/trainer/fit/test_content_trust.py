"""Descriptions are read where they carry the signal, and not where they are noise."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.fit.linear.test_placement import events_of
from trainer.data.catalogue import Products
from trainer.fit.content_trust import ContentTrust, measure_trust
from trainer.fit.training_set import TrainingSet

FAMILIES, SIZE = 40, 6
COUNT = FAMILIES * SIZE


def market(descriptions: str, titles: bool = True) -> tuple[Products, TrainingSet]:
    """Forty families of six products; each buyer takes products of two families.

    A family shares a word of the title, or none without `titles`. Descriptions share a word of the family (`signal`),
    are twenty words drawn from sixty (`noise`), the same words everywhere (`same`), or missing (`none`).
    """
    draw = random.Random(4)
    words = [f"w{number}" for number in range(60)]

    def describe(family: int) -> str:
        if descriptions == "signal":
            return f"d{family} {draw.choice(words)}"
        return {"noise": " ".join(draw.choices(words, k=20)), "same": "w1 w2 w3", "none": ""}[descriptions]

    families = [number // SIZE for number in range(COUNT)]
    products = Products(
        ids=[f"p{number}" for number in range(COUNT)],
        titles=[f"t{family if titles else number} x{number}" for number, family in enumerate(families)],
        descriptions=[describe(family) for family in families],
        brands=[""] * COUNT,
        categories=[f"c{family // 4}" for family in families],
        prices=[None] * COUNT,
        currencies=[""] * COUNT,
        in_stock=[True] * COUNT,
        attributes=[()] * COUNT,
        searched=[""] * COUNT,
    )
    baskets = []
    for _ in range(400):
        one, other = draw.sample(range(FAMILIES), 2)
        baskets.append([family * SIZE + place for family in (one, other) for place in draw.sample(range(SIZE), 3)])
    events = events_of(baskets)
    return products, TrainingSet(events, events.start[1:])


def measured(descriptions: str, titles: bool = True) -> ContentTrust:
    return measure_trust(*market(descriptions, titles), seed=7)


def test_noise_misleads_and_signal_does_not() -> None:
    noise, signal = measured("noise"), measured("signal", titles=False)
    assert noise.products == COUNT // 5
    assert noise.descriptions_mislead
    assert noise.cosines["title"] > noise.cosines["title and description"] + 0.1
    assert not signal.descriptions_mislead
    assert signal.cosines["title and description"] > signal.cosines["title"] + 0.1
    # families of four share a category, which therefore says less than a title
    assert 0 < noise.cosines["category"] < noise.cosines["title"]
    assert "brand" not in noise.cosines and "attributes" not in noise.cosines


def test_catalogues_without_descriptions_have_none_to_mistrust() -> None:
    trust = measured("none")
    assert set(trust.cosines) == {"title", "category"}
    assert not trust.descriptions_mislead


def test_words_that_every_description_has_cost_a_little() -> None:
    trust = measured("same")
    assert trust.descriptions_mislead
    assert trust.cosines["title and description"] == pytest.approx(trust.cosines["title"], abs=0.02)


def test_only_training_events_are_read() -> None:
    products, data = market("noise")
    stop = data.stop - 2
    product = data.events.product.copy()
    product[data.stop - 1], product[data.stop - 2] = 0, 1
    changed = data.events._replace(product=product)
    assert measure_trust(products, TrainingSet(changed, stop), 7) == measure_trust(
        products, TrainingSet(data.events, stop), 7
    )
    assert measure_trust(products, TrainingSet(changed, data.stop), 7) != measure_trust(products, data, 7)


def test_few_products_with_buyers_measure_nothing() -> None:
    products, data = market("noise")
    rare = data.events._replace(product=(data.events.product % 100).astype(np.int32))
    trust = measure_trust(products, TrainingSet(rare, data.stop), 7)
    assert trust == ContentTrust(0, {}, False)
    assert "too few products" in trust.describe()


def test_a_catalogue_read_by_titles_keeps_a_description_where_there_is_no_title() -> None:
    products, _ = market("same")
    read = replace(products, titles=["  ", *products.titles[1:]]).without_descriptions()
    assert read.descriptions[0] == "w1 w2 w3" and not any(read.descriptions[1:])
    assert read.titles[1:] == products.titles[1:]
