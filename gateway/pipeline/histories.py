"""Histories: interactions are stored, read, merged and removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from gateway import metrics
from gateway.clients.deadline import Deadline
from gateway.history.codec import MERGED_PREFIX, split_known
from gateway.history.connection import Command
from gateway.pipeline.answers import Added, BuyerEncoding
from gateway.pipeline.parts import FIRST_SHARE, Pipeline
from twotower.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotConfigured,
    NotFound,
    Overloaded,
    Unavailable,
)
from twotower.event_log import InteractionRecord, MergeRecord, owner_of
from twotower.events import Interaction
from twotower.forgotten import buyer_hash, forget_buyer
from twotower.history import latest
from twotower.serving import wire

log = logging.getLogger(__name__)

# how long a session that was merged into one buyer cannot be merged into another
_MERGED_SECONDS = 90 * 86_400


async def encode_buyer(
    pipeline: Pipeline, buyer_id: str, given: Sequence[Interaction], deadline: Deadline
) -> BuyerEncoding:
    """Encodes exactly these interactions (the latest N, each once), then stores them.

    Products that the model does not know are skipped and named, but also stored, apart from the others: the next
    version may know them.
    Raises InvalidInput, and stores nothing, if it knows none of the products or does not know an event.
    """
    interactions = latest(list(set(given)), pipeline.history_size)
    try:
        packed = wire.pack_history(interactions)
        encoded = await pipeline.buyers.encode(packed, "", deadline)
    except NotFound:
        metrics.interactions("unknown_product").inc(len(interactions))
        products = list(dict.fromkeys(one.product_id for one in interactions))
        problem = "none of these products is known to the model; nothing was stored"
        raise InvalidInput("recent_interactions", products, problem) from None
    except InvalidInput as error:
        raise _of_row(error, given) from None
    _count_products([one.product_id for one in interactions], set(encoded.unknown_product_ids))
    warnings = []
    if len(interactions) < len(given):
        warnings.append(f"{len(interactions)} of {len(given)} interactions count: the latest, each once")
    try:
        addition = split_known(buyer_id, interactions, set(encoded.unknown_product_ids))
        logged = pipeline.log.encoded(buyer_id, packed) if pipeline.log else None
        stored = await pipeline.history.add([addition], deadline, logged.commands if logged else [])
        if logged:
            logged.accepted()
    except (Unavailable, DeadlineExceeded) as error:
        stored = 0
        warnings.append(f"nothing was stored: {error}")
    return BuyerEncoding(encoded, stored, warnings)


async def add(pipeline: Pipeline, records: Sequence[InteractionRecord], deadline: Deadline) -> Added:
    """Stores interactions of any number of buyers, all or none, and logs them.

    Interactions with unknown products are kept apart. So are those that the retrieval service cannot check in time.
    Raises Unavailable if Redis is down or the log is full: then none was stored.
    """
    by_buyer: dict[str, list[Interaction]] = {}
    for one in records:
        interaction = Interaction(one.product_id, one.event_type, one.timestamp_ms)
        by_buyer.setdefault(one.owner, []).append(interaction)
    warnings = []
    products = dict.fromkeys(one.product_id for one in records)
    try:
        unknown = await pipeline.known.find_unknown(products, deadline.share(FIRST_SHARE))
        named = [one for one in products if one in unknown]
        _count_products([one.product_id for one in records], unknown)
    except (Unavailable, DeadlineExceeded, Overloaded) as error:
        unknown, named = set(products), []
        warnings.append(f"kept apart from the histories until a version is loaded that knows them: {error}")
    additions = [split_known(buyer_id, given, unknown) for buyer_id, given in by_buyer.items()]
    logged = pipeline.log.interactions(records) if pipeline.log else []
    return Added(await pipeline.history.add(additions, deadline, logged), named, warnings)


async def merge(pipeline: Pipeline, buyer_id: str, session_id: str, now_ms: int) -> int:
    """Makes a guest's history part of a buyer's. Returns how many interactions of the guest are kept.

    The same request may come again: it moves what the guest did meanwhile. Raises Conflict if the session belongs
    to another buyer, Unavailable if Redis is down or the log is full.
    """
    history, key, owner = pipeline.history.stored, MERGED_PREFIX + session_id, buyer_hash(buyer_id)
    logged: list[Command] = []
    if pipeline.log:
        logged = pipeline.log.merge(MergeRecord(session_id, buyer_id, now_ms))
    _, holder = await history.redis.ask(key, [("SET", key, owner, "NX", "EX", _MERGED_SECONDS), ("GET", key)])
    if holder != owner.encode():
        raise Conflict(f"the session {session_id!r} was merged into another buyer")
    return await history.move(owner_of(None, session_id), buyer_id, logged)


async def forget(pipeline: Pipeline, buyer_id: str) -> bool:
    """Puts the buyer on the list of forgotten ones, then removes the history. Returns whether there was one.

    Raises Unavailable if either fails; the caller may ask again. Raises NotConfigured if there is no list: a
    removal that the next loading of histories undoes is none.
    """
    if pipeline.forgotten_file is None:
        raise NotConfigured("this gateway keeps no list of forgotten buyers: set TWOTOWER_GATEWAY_FORGOTTEN_FILE")
    try:
        await asyncio.to_thread(forget_buyer, pipeline.forgotten_file, buyer_id)
    except OSError as error:
        log.error("the list of forgotten buyers cannot be written: %s", error)
        raise Unavailable("the list of forgotten buyers cannot be written") from None
    return bool(await pipeline.history.stored.remove([buyer_id]))


async def stored(pipeline: Pipeline, buyer_id: str, deadline: Deadline) -> list[Interaction]:
    """The buyer's stored interactions, newest first. Raises Unavailable if Redis is down."""
    columns = wire.unpack_columns(await pipeline.history.read(buyer_id, deadline))
    return [Interaction(*one) for one in zip(*columns, strict=True)][::-1]


def _count_products(product_ids: Sequence[str], unknown: set[str]) -> None:
    """Counts the interactions with known and with unknown products."""
    missed = sum(one in unknown for one in product_ids)
    metrics.interactions("known_product").inc(len(product_ids) - missed)
    if missed:
        metrics.interactions("unknown_product").inc(missed)


def _of_row(error: InvalidInput, given: Sequence[Interaction]) -> InvalidInput:
    """The refusal of an event, for the first row with that event: the buyer service has the rows in another order."""
    for row, one in enumerate(given):
        refused = InvalidInput(f"recent_interactions[{row}].event_type", one.event_type, error.problem)
        if (error.field, error.value) == ("event_type", refused.value):
            return refused
    return error
