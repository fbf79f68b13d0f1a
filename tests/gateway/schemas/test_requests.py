"""A list of interactions is read as the rules for ids, events and times say, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.schemas.fields import Context
from gateway.schemas.requests import EncodeBuyerBody
from twotower.errors import InvalidInput
from twotower.events import DEFAULT_WEIGHTS, EventSchema, Interaction, check_id, check_time, parse_time

EVENTS = EventSchema(DEFAULT_WEIGHTS)
NOW_MS = 1_800_000_000_000
CONTEXT = Context(EVENTS, max_k=1000, max_interactions=5000, now_ms=NOW_MS)
GOOD = {"product_id": "خاتم", "event_type": "View", "timestamp": "2025-10-09T08:00:00Z"}
ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.text()))
VALUES = {
    "product_id": st.one_of(st.sampled_from(["p1", " p", "p\n", "", "ذ" * 65, "\ud800"]), st.text(max_size=130), ODD),
    "event_type": st.one_of(st.sampled_from([*DEFAULT_WEIGHTS, "view"]), ODD),
    "timestamp": st.one_of(
        st.sampled_from(
            [" 2025-02-30", "2025-10-09 08:00:00,5+03", "1e9", "1969-12-31", "2999-01-01", -1, -0.5, 10**14 - 1]
        ),
        st.integers(0, 2_000_000_000_000),
        st.floats(0, 2e9),
        ODD,
    ),
    "more": ODD,
}


# one field is odd at a time: with two, one could hide that the other is accepted
CHANGES = st.sampled_from(sorted(VALUES)).flatmap(lambda name: VALUES[name].map(lambda value: GOOD | {name: value}))
LACKING = st.sampled_from(sorted(GOOD)).map(lambda name: {key: GOOD[key] for key in GOOD if key != name})
ROWS = st.one_of(st.just(GOOD), CHANGES, CHANGES, LACKING, ODD)


def read(row: object) -> Interaction | None:
    """What a row stands for, without pydantic; None if it must be refused."""
    if not isinstance(row, dict) or row.keys() != GOOD.keys():
        return None
    product, event, moment = row["product_id"], row["event_type"], row["timestamp"]
    if not isinstance(product, str) or not isinstance(event, str) or type(moment) not in (str, int, float):
        return None
    try:
        time_ms = check_time(parse_time(moment if isinstance(moment, str) else repr(moment)), NOW_MS)
        return Interaction(check_id(product, ""), EVENTS.check(event), time_ms)
    except InvalidInput:
        return None


@settings(max_examples=600, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=2))
def test_a_list_is_read_row_by_row(rows: list[Any]) -> None:
    wanted = [read(row) for row in rows]
    body = {"buyer_id": "b", "recent_interactions": rows}
    if None in wanted:
        with pytest.raises(ValidationError) as caught:
            EncodeBuyerBody.model_validate(body, context=CONTEXT)
        refused = {error["loc"][1] for error in caught.value.errors()}
        assert refused == {place for place, one in enumerate(wanted) if one is None}
    else:
        assert EncodeBuyerBody.model_validate(body, context=CONTEXT).interactions() == wanted
