"""The event log: the records that the gateway writes, the stream in Redis that carries them, and the recorder's files.

An entry of the stream has one field. The field `interactions`, `lists`, `shadows` or `merges` holds a JSON array of
rows, each row the fields of a record in their order. The field `encoded` holds what /encode_buyer has stored: the
buyer's id, the character `wire.SEPARATOR`, and the packed history that was sent to the buyer service anyway.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

# the stream and its one consumer group
STREAM = "twotower:log:1"
GROUP = "recorder"
# fields of an entry, beside the kinds of records
ENCODED = "encoded"
# an event that tells what a buyer does not want: no part of a history, and no positive for a training
DISMISS = "Dismiss"
# what stands before a guest's session id where a buyer's id is wanted; no buyer's id begins with it
GUEST = "guest:"


class InteractionRecord(NamedTuple):
    """One accepted interaction. It names a buyer, a session, or both; `price` is that of one piece."""

    event_id: str
    buyer_id: str | None
    session_id: str | None
    product_id: str
    event_type: str
    timestamp_ms: int
    recommendation_id: str | None = None
    query: str | None = None
    quantity: int | None = None
    price: float | None = None

    @property
    def owner(self) -> str:
        """Whose history it belongs to."""
        return owner_of(self.buyer_id, self.session_id)


class ListRecord(NamedTuple):
    """One list that was served: its products one a line, best first. The rank of a product is its place, from 1.

    `explored`: the products that exploration put in, one a line. `teams`: of an interleaved list, the letter A or B of
    each product: the arm of the experiment that chose it. A list of the kind `shadows` was shown to nobody; the list
    that was has the same recommendation_id.
    """

    recommendation_id: str
    served_ms: int
    route: str
    slot: str | None
    buyer_id: str | None
    session_id: str | None
    query: str | None
    product_id: str | None
    model_version: str
    source: str
    product_ids: str
    explored: str = ""
    experiment: str | None = None
    arm: str | None = None
    teams: str | None = None


class MergeRecord(NamedTuple):
    """A guest who has logged in: what the session did belongs to the buyer."""

    session_id: str
    buyer_id: str
    merged_ms: int


# kind -> its record; a folder of the log and a field of the stream have the name of the kind
KINDS: dict[str, Any] = {
    "interactions": InteractionRecord,
    "lists": ListRecord,
    "shadows": ListRecord,
    "merges": MergeRecord,
}


def owner_of(buyer_id: str | None, session_id: str | None) -> str:
    """The id under which a history is kept: the buyer's, else that of a guest."""
    return buyer_id if buyer_id is not None else f"{GUEST}{session_id}"


def event_id_of(owner: str, product_id: str, event_type: str, timestamp_ms: int) -> str:
    """The id of an interaction that came without one: sent again, the same interaction has the same id."""
    content = f"{owner}\0{product_id}\0{event_type}\0{timestamp_ms}"
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def forgotten_of(folder: Path) -> Path:
    """The list of forgotten buyers that lies beside a log, see `twotower.forgotten`."""
    return folder.parent / "forgotten.txt"


def log_files(folder: Path, kind: str) -> list[Path]:
    """The files of one kind, oldest first; none that is being written."""
    return sorted(path for path in folder.glob(f"{kind}/day=*/*.parquet") if not path.name.startswith("."))
