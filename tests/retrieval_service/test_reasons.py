"""What an answer says its scores consist of, against the definition of the score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval_service.loading import load
from retrieval_service.query import Query
from retrieval_service.reasons import Parts
from retrieval_service.settings import RetrievalSettings
from tests.helpers.fused import tiny_parts
from tests.helpers.retrieval import PRODUCTS
from tests.helpers.tiny_version import build_version
from twotower.artifact.manifest import Fusion
from twotower.errors import InvalidInput
from twotower.events import Interaction
from twotower.serving.wire import pack_history

FUSION = Fusion(
    vector_weight=0.5, neighbour_weight=0.8, steps=2, decay=0.5, prior_weight=0.2, own_weight=0.3, own_steps=2
)
# newest last; p4 comes twice
HISTORY = ["p9", "p4", "p6", "p4"]


def test_every_part_of_a_score_is_given_to_its_product(tmp_path: Path) -> None:
    version = build_version(tmp_path, "reasons", fusion=FUSION)
    index, stored = load(version, RetrievalSettings()), np.load(version.layout.embeddings)
    history = pack_history([Interaction(one, "View", 1000 * step) for step, one in enumerate(HISTORY)])
    # a vector of p4, p9 and something that no product adds
    vectors = np.stack([0.5 * stored[4], 0.2 * stored[9], 0.1 * stored[20]])
    query = Query(40, history=history, parts=Parts(["p4", "p9"], vectors.tobytes()))
    (answer,) = index.search(vectors.sum(axis=0)[None], [query])
    reasons = answer.reasons
    assert reasons is not None and reasons.product_ids == ["p4", "p9", "p6"]
    np.testing.assert_allclose(reasons.contributions.sum(axis=1), answer.scores, atol=1e-6)
    parts = tiny_parts(FUSION, PRODUCTS)
    for product, found in zip(answer.product_ids, reasons.contributions, strict=True):
        row = int(product[1:])
        dense = 0.5 * vectors @ stored[row]
        # the newest step is p4, the one before it p6
        p4 = dense[0] + 0.8 * parts.following[4, row] + 0.3 * (row == 4)
        p6 = 0.8 * 0.5 * parts.following[6, row] + 0.3 * FUSION.own_decay * (row == 6)
        assert found == pytest.approx([p4, dense[1], p6, dense[2], 0.2 * parts.prior[row]], abs=1e-6)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (Parts(["p4"], b"\0" * 4), "parts.data 4: bytes are not 1 products and one row of"),
        (Parts(["p4", "p4"], b"\0" * 4 * 16 * 3), "holds a product twice"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, parts: Parts, problem: str) -> None:
    version = build_version(tmp_path, "reasons", dimension=16, fusion=FUSION)
    index = load(version, RetrievalSettings())
    history = pack_history([Interaction("p4", "View", 1000)])
    with pytest.raises(InvalidInput, match=problem):
        index.search(np.zeros((1, 16), np.float32), [Query(3, history=history, parts=parts)])
    with pytest.raises(InvalidInput, match="have an effect with a history alone"):
        index.search(np.zeros((1, 16), np.float32), [Query(3, parts=parts)])
