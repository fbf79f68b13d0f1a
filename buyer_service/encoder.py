"""Encodes histories to vectors, with the buyer tower of one version over the catalogue's mapped item vectors."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from buyer_service.live import LiveItems
from buyer_service.settings import BuyerSettings
from twotower.arrays import Float32, Int64
from twotower.artifact.catalogue import Catalogue, read_product_rows
from twotower.artifact.version import Version
from twotower.caller import check_caller
from twotower.errors import CorruptArtifact, InvalidInput, NotFound
from twotower.events import EventSchema, check_id
from twotower.graphs.towers import BuyerPartsGraph, BuyerTower
from twotower.history import BuyerSequence, to_inputs
from twotower.live.follower import Follower
from twotower.serving.drift import DriftCounter

# histories per run of the tower: their gathered item vectors [B, T, D] are the service's largest array
_CHUNK = 128


class Parts(NamedTuple):
    """A vector as a sum: `vectors` [U + 1, D] of the history's products, each once, and of what none of them adds.

    `event_types` [U]: for each product, that of its events which weighs most.
    """

    product_ids: list[str]
    event_types: list[str]
    vectors: Float32


class EncodedRow(NamedTuple):
    """Why a history has no vector, if so; the unknown products that were skipped; how many events were used.

    `newest`: how many of the newest events the version's score reads besides the vector. `parts`: if asked for.
    """

    error: InvalidInput | NotFound | None
    unknown_product_ids: list[str]
    used: int = 0
    newest: int = 0
    parts: Parts | None = None


class EncodedBuyers(NamedTuple):
    """Vectors [B, D], all zero in rows with an error; rows [B]."""

    vectors: Float32
    rows: list[EncodedRow]


class Columns(NamedTuple):
    """One history, in any order: products, event names and times in milliseconds, all of one length.

    `with_parts`: whether the parts of its vector are wanted, too.
    """

    products: Sequence[str]
    events: Sequence[str]
    times: Sequence[int]
    with_parts: bool = False


class _Read(NamedTuple):
    row: EncodedRow
    sequence: BuyerSequence
    # row → product, if the parts are wanted
    names: Mapping[int | None, str] = {}


# the largest time that a signed 64-bit integer holds
_LATEST_MS = (1 << 63) - 1
_EMPTY = BuyerSequence((), (), ())


class BuyerEncoder:
    """Encodes histories to L2-normalised vectors, equal to the trainer's for the same events.

    `vectors` [N, D] are the catalogue's; `rows` maps a product to its row in them. The newest `max_history` events of
    *known* products are used: unknown products are skipped before the history is cut. The version's score reads
    `steps` of these besides. `live` adds products to `rows`.
    """

    def __init__(
        self,
        tower: BuyerTower,
        parts: BuyerPartsGraph,
        vectors: Float32,
        rows: Mapping[str, int],
        schema: EventSchema,
        *,
        max_history: int,
        steps: int,
        max_interactions: int,
        live: LiveItems | None = None,
        lengths: DriftCounter | None = None,
    ) -> None:
        self._tower = tower
        self._parts = parts
        self.live = live
        self.lengths = lengths
        self._vectors = vectors
        self._rows = rows
        self._schema = schema
        self._codes = schema.codes
        self._max_history = max_history
        self._steps = steps
        self._max_interactions = max_interactions

    def encode(self, histories: Sequence[Columns | InvalidInput]) -> EncodedBuyers:
        """Vectors [B, D] of a batch, in its order. A history that cannot be used has an error in its own row alone.

        Raises DeadlineExceeded between two chunks if nobody waits for the answer any more.
        """
        read = list[_Read]()
        for history in histories:
            check_caller()
            read.append(self._read(history))
        rows = [self._row(one, history) for one, history in zip(read, histories, strict=True)]
        good = [place for place, row in enumerate(rows) if row.error is None]
        # histories of similar length share a chunk, so that one long history does not pad all others
        good.sort(key=lambda place: rows[place].used)
        if good == list(range(len(rows))) and 0 < len(rows) <= _CHUNK:
            return EncodedBuyers(self._encode([one.sequence for one in read]), rows)
        vectors = np.zeros((len(histories), self._vectors.shape[1]), np.float32)
        for start in range(0, len(good), _CHUNK):
            check_caller()
            places = good[start : start + _CHUNK]
            vectors[places] = self._encode([read[place].sequence for place in places])
        return EncodedBuyers(vectors, rows)

    def _encode(self, sequences: Sequence[BuyerSequence]) -> Float32:
        inputs = to_inputs(sequences, self._schema)
        return self._tower.encode(self._gather(inputs.rows), inputs)

    def _gather(self, rows: Int64) -> Float32:
        return self._vectors[rows] if self.live is None else self.live.gather(self._vectors, rows)

    def _row(self, read: _Read, history: Columns | InvalidInput) -> EncodedRow:
        if read.row.error is not None or isinstance(history, InvalidInput) or not history.with_parts:
            return read.row
        return read.row._replace(parts=self._split(read))

    def _split(self, read: _Read) -> Parts:
        sequence = read.sequence
        inputs = to_inputs([sequence], self._schema)
        parts = self._parts.encode(self._gather(inputs.rows), inputs)[0]  # [T + 1, D]
        products, places = np.unique(sequence.rows, return_inverse=True)
        vectors = np.zeros((len(products) + 1, parts.shape[1]), np.float32)
        np.add.at(vectors, [*places, len(products)], parts)
        strongest = dict[int, tuple[float, str]]()
        for row, code in zip(sequence.rows, sequence.types, strict=True):
            name = self._schema.names[code - 1]
            strongest[row] = max((self._schema.weights[name], name), strongest.get(row, (0.0, "")))
        events = [strongest[row][1] for row in products.tolist()]
        return Parts([read.names[row] for row in products.tolist()], events, vectors)

    def _read(self, history: Columns | InvalidInput) -> _Read:
        if isinstance(history, InvalidInput):
            return _Read(EncodedRow(history, []), _EMPTY)
        products, events, times = history[:3]
        rows, codes = list(map(self._rows.get, products)), list(map(self._codes.get, events))
        names = dict(zip(rows, products, strict=False)) if history.with_parts else {}
        ordered = not any(map(operator.ge, times, times[1:]))
        unknown, newest = list[str](), min(len(products), self._steps)
        # in order, the first time is the minimum and the last the maximum
        faultless = ordered and 0 < len(times) <= self._max_interactions and times[0] >= 0 and times[-1] <= _LATEST_MS
        if not faultless or None in rows or None in codes:
            try:
                self._check(history, rows, codes)
            except InvalidInput as error:
                return _Read(EncodedRow(error, []), _EMPTY)
            # ties in time go by product, then event name, as in `twotower.history.latest`
            in_order = sorted(zip(times, products, events, rows, codes, strict=True))
            unknown = list(dict.fromkeys(p for p, row in zip(products, rows, strict=True) if row is None))
            newest = _holding([one[3] is not None for one in in_order], self._steps)
            known = [one for one in in_order if one[3] is not None]
            if not known:
                nothing = NotFound(f"none of the history's {len(unknown)} products is known", field="product_id")
                return _Read(EncodedRow(nothing, unknown), _EMPTY)
            times, _, _, rows, codes = map(list, zip(*known, strict=True))
        last = slice(-self._max_history, None)
        # neither list holds a None any more
        sequence = BuyerSequence(cast("list[int]", rows[last]), cast("list[int]", codes[last]), times[last])
        return _Read(EncodedRow(None, unknown, len(sequence.rows), newest), sequence, names)

    def _check(self, history: Columns, rows: Sequence[int | None], codes: Sequence[int | None]) -> None:
        count = len(history.products)
        if not count:
            raise InvalidInput("interactions", [], "must hold at least one interaction")
        if count > self._max_interactions:
            raise InvalidInput("interactions", count, f"interactions, the limit is {self._max_interactions}")
        # the trainer has checked the ids of the catalogue
        for product, row in zip(history.products, rows, strict=True):
            if row is None:
                check_id(product, "product_id")
        if None in codes:
            self._schema.check(history.events[codes.index(None)])
        # the gateway limits how far ahead a time may lie; here only differences between times count
        if min(history.times) < 0:
            raise InvalidInput("timestamp_ms", min(history.times), "is before 1970-01-01")
        if max(history.times) > _LATEST_MS:
            raise InvalidInput("timestamp_ms", max(history.times), f"is more than {_LATEST_MS}")


def _holding(known: Sequence[bool], steps: int) -> int:
    """How many of the last events hold `steps` known ones; all of them if there are fewer."""
    places = [place for place, is_known in enumerate(known) if is_known]
    return len(known) - places[-steps] if len(places) >= steps else len(known)


def load(version: Version, settings: BuyerSettings, follower: Follower | None = None) -> BuyerEncoder:
    """Opens the encoder of a version, checks its files against the manifest, and runs one batch.

    With a `follower`, it knows the live products. Raises CorruptArtifact if a file does not fit.
    """
    files, manifest = version.layout, version.manifest
    version.check(files.buyer_tower, files.buyer_parts, files.embeddings, files.ids)
    vectors, rows = _map(version), read_product_rows(files.ids)
    if len(rows) != len(vectors):
        raise CorruptArtifact(f"{files.ids} holds {len(rows)} ids, {files.embeddings.name} {len(vectors)} vectors")
    live = None
    if follower is not None:
        version.check(files.products)
        live = LiveItems(version, Catalogue(files.products), rows)
    encoder = BuyerEncoder(
        BuyerTower(files.buyer_tower, threads=1),
        BuyerPartsGraph(files.buyer_parts, threads=1),
        vectors,
        rows,
        EventSchema(manifest.event_weights),
        max_history=manifest.max_history,
        steps=manifest.fusion.history_steps,
        max_interactions=settings.max_interactions,
        live=live,
        lengths=DriftCounter(manifest, "history_length"),
    )
    _warm(version, encoder, rows)
    if follower is not None and live is not None:
        follower.attach(live)
    return encoder


def _map(version: Version) -> Float32:
    path, wanted = version.layout.embeddings, (version.manifest.products, version.manifest.dimension)
    try:
        # a plain view: each index operation on numpy's mapped-file class costs a microsecond more
        vectors: Float32 = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArtifact(f"{path} cannot be read: {error}") from error
    if vectors.shape != wanted or vectors.dtype != np.float32:
        raise CorruptArtifact(f"{path} holds {vectors.dtype} {list(vectors.shape)}, wanted float32 {list(wanted)}")
    return vectors


def _warm(version: Version, encoder: BuyerEncoder, rows: dict[str, int]) -> None:
    """Runs one full-length history, with every event name and the catalogue's last product."""
    first, last = next(iter(rows)), next(reversed(rows))
    names = list(version.manifest.event_weights)
    steps = range(version.manifest.max_history)
    history = Columns(
        [last if step % 2 else first for step in steps],
        [names[step % len(names)] for step in steps],
        [step * 1000 for step in steps],
    )
    newest = Columns(history.products[-1:], history.events[-1:], history.times[-1:])
    encoded = encoder.encode([history, newest])
    if not np.isfinite(encoded.vectors).all():
        raise CorruptArtifact(f"{version.layout.buyer_tower} gives numbers that are not finite")
