"""How an answer is written."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.routes import ids_as_json
from twotower.serving import wire

# what might be taken for the mark between two ids, once it is escaped
ODD = ["\\u0000", "\\", '"', '","', "\\\\u0000", "خاتم/ذهب", "\u2028", "😀"]


IDS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1) | st.sampled_from(ODD)


@given(st.lists(IDS, max_size=20))
def test_ids_go_into_an_answer_as_they_are(ids: list[str]) -> None:
    packed = wire.pack_ids(ids)
    assert wire.unpack_ids(packed) == ids
    assert orjson.dumps({"ids": ids_as_json(packed)}) == orjson.dumps({"ids": ids})
