"""The served version's scores, as the gate takes them, against what the services answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from buyer_service.encoder import Columns
from buyer_service.encoder import load as load_buyers
from buyer_service.settings import BuyerSettings
from retrieval_service.loading import load as load_products
from retrieval_service.query import Query
from retrieval_service.settings import RetrievalSettings
from tests.helpers.fused import fused_scores, tiny_parts
from tests.helpers.retrieval import PRODUCTS
from tests.helpers.tiny_version import build_version
from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.served import find_served, served_codes, served_scorer
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import Fusion
from twotower.events import Interaction
from twotower.serving import wire

EVENTS = ["View", "AddToCart", "Purchase"]
FUSIONS = [
    Fusion(),
    Fusion(vector_weight=0.5, neighbour_weight=0.5, steps=3, prior_weight=0.2),
    # more steps than the tower reads
    Fusion(neighbour_weight=1, steps=30, decay=0.9),
    Fusion(vector_weight=0, neighbour_weight=1, steps=2, prior_weight=0.5),
]


def histories(buyers: int, length: int) -> Events:
    """Random events of the tiny catalogue; buyer i has `length` - i, a second apart."""
    draw = np.random.default_rng(1)
    sizes = length - np.arange(buyers)
    start = np.concatenate(([0], np.cumsum(sizes)))
    buyer = np.repeat(np.arange(buyers), sizes).astype(np.int32)
    time = 1_700_000_000_000 + 1000 * np.arange(start[-1])
    product = draw.integers(0, len(PRODUCTS), start[-1]).astype(np.int32)
    return Events(buyer, product, draw.integers(1, 4, start[-1]).astype(np.int8), time, start)


def whole(events: Events) -> Cases:
    start, stop = events.start[:-1], events.start[1:]
    return Cases(np.arange(len(start)), start, stop, stop)


@pytest.mark.parametrize("fusion", FUSIONS, ids=str)
def test_the_gate_scores_what_the_services_answer(tmp_path: Path, fusion: Fusion) -> None:
    version, events = build_version(tmp_path, "a", fusion=fusion, max_history=20), histories(8, 25)
    codes = served_codes(version, [one.id for one in PRODUCTS], EVENTS)
    scores = served_scorer(version, codes, events, 1)(whole(events))
    buyers, products = load_buyers(version, BuyerSettings()), load_products(version, RetrievalSettings())
    for buyer, (start, stop) in enumerate(zip(events.start[:-1], events.start[1:], strict=True)):
        names = [f"p{row}" for row in events.product[start:stop]]
        kinds, times = [EVENTS[kind - 1] for kind in events.kind[start:stop]], events.time[start:stop].tolist()
        vectors = buyers.encode([Columns(names, kinds, times)]).vectors
        history = wire.pack_history(list(map(Interaction, names, kinds, times)))
        (answer,) = products.search(vectors, [Query(40, history=history)])
        rows = np.argsort(-scores[buyer], kind="stable")
        assert answer.product_ids == [f"p{row}" for row in rows]
        np.testing.assert_allclose(answer.scores, scores[buyer, rows], atol=1e-6)


def test_products_and_events_that_the_served_version_lacks_do_not_count(tmp_path: Path) -> None:
    fusion = FUSIONS[1]
    version = build_version(tmp_path, "a", fusion=fusion)
    # p3, a new product, p0, p8
    codes = served_codes(version, ["p3", "new", "p0", "p8"], ["Purchase", "Gift", "View"])
    product, kind = np.array([0, 3, 2, 1, 0], np.int32), np.array([1, 3, 2, 1, 3], np.int8)
    events = Events(np.zeros(5, np.int32), product, kind, 1000 * np.arange(5), np.array([0, 5]))
    (scores,) = served_scorer(version, codes, events, 1)(whole(events))
    vectors = np.load(version.layout.embeddings)
    # "Gift" of p0 and the new product cannot be read: p3, then p8, then p3 again
    encoded = load_buyers(version, BuyerSettings()).encode(
        [Columns(["p3", "p8", "p3"], ["Purchase", "View", "View"], [0, 1000, 4000])]
    )
    wanted = fused_scores(tiny_parts(fusion, PRODUCTS), vectors, encoded.vectors[0], [3, 8, 3])
    np.testing.assert_allclose(scores[[0, 2, 3]], wanted[[3, 0, 8]], atol=1e-6)
    assert scores[1] == -np.inf


def test_a_served_version_with_a_damaged_prior_is_not_compared(tmp_path: Path) -> None:
    version = build_version(tmp_path, "a", fusion=FUSIONS[1])
    version.layout.prior.write_bytes(b"\0")
    served = find_served(Layout(tmp_path))
    assert served is not None and served.version is None
    assert "prior.npy has 1 bytes" in served.problem
