"""How an answer is written."""

from __future__ import annotations

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.responses import list_response
from gateway.clients.answers import Hits
from gateway.pipeline.answers import ProductList
from twotower.serving import wire

# what an escaped separator, quote or backslash could be mistaken for
ODD = ["\\u0000", "\\", '"', '","', "\\\\u0000", "خاتم/ذهب", "\u2028", "😀"]
IDS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1) | st.sampled_from(ODD)


@given(st.lists(IDS, max_size=20))
def test_ids_go_into_an_answer_as_they_are(ids: list[str]) -> None:
    hits = Hits(wire.pack_ids(ids), np.ones(len(ids), np.float32), "v1", [])
    response = list_response("/retrieve", ProductList(hits, "model", [], None))
    assert orjson.loads(response.body)["product_ids"] == ids
