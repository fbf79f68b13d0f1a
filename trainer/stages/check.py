"""The command `check`: what a run would make of the files, what it would lose, and what would lose less."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from trainer.cluster.parts import OneMachine
from trainer.config.data import Data
from trainer.data.changes import find_products
from trainer.data.dataset import Dataset, Reading, check_learnable
from trainer.data.event_log.sources import find_events
from trainer.data.rejects import Reject, open_rejects
from trainer.data.tables.columns import plain_name
from trainer.data.tables.files import read_tables
from trainer.errors import DataError, MissingColumns

# a preset is proposed if more of the rows than this are lost without it
_SMALL_LOSS = 0.01
# of unknown events that are proposed as a setting
_MAX_NAMES = 30
# what shops call our columns, and our events
_ALIASES = {
    "buyer": "distinct_id user_id userid customer_id customerid visitorid visitor_id client_id buyer_id customer user "
    "رقم_العميل معرف_العميل العميل",
    "product": "product_id productid item_id itemid sku product asin variant_id رقم_المنتج رمز_المنتج "
    "معرف_المنتج المنتج",
    "id": "product_id productid item_id itemid id sku رقم_المنتج رمز_المنتج معرف_المنتج",
    "event": "event_type eventtype event_name event action type behavior behaviour الحدث نوع_الحدث",
    "time": "created_at event_time timestamp event_timestamp time datetime date order_date purchase_date "
    "التاريخ الوقت تاريخ_الطلب",
    "title": "title name product_name product_title item_name اسم_المنتج أسم_المنتج الاسم العنوان",
    "description": "description body body_html details short_description الوصف وصف_المنتج",
    "brand": "brand vendor manufacturer brand_name brands الماركة العلامة_التجارية",
    "category": "category categories category_name product_type category_code type التصنيف تصنيف_المنتج الفئة القسم",
    "price": "price sale_price regular_price amount unit_price السعر سعر_المنتج",
    "in_stock": "in_stock availability stock_status is_in_stock stock quantity qty الكمية الكمية_المتوفرة التوفر",
}
_EVENT_WORDS = {
    "View": "view views viewed pageview detail details click view_item product_viewed productviewed مشاهدة عرض",
    "AddToCart": "cart addtocart add_to_cart added_to_cart product_added basket add سلة إضافة_للسلة اضافة_للسلة",
    "Purchase": "purchase purchased buy order ordered transaction sale checkout_completed order_completed شراء طلب",
}


@dataclass(frozen=True)
class Findings:
    """What was understood and what was lost. Counts by reason; `fields`: how many products have each field.

    `advice` are options that would lose less; `error` is the message with which a run would stop, or None.
    """

    products: int = 0
    product_rows: int = 0
    buyers: int = 0
    events: int = 0
    event_rows: int = 0
    event_kinds: dict[str, int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)
    in_stock: int = 0
    first_time: str | None = None
    last_time: str | None = None
    rejected: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    examples: list[Reject] = field(default_factory=list)
    unknown_events: list[str] = field(default_factory=list)
    metadata_keys: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    error: str | None = None


def check(
    events: Sequence[str], products: Sequence[str], config: Data, seed: int, presets: Callable[[], dict[str, Data]]
) -> Findings:
    """Reads the files as a run does. `presets` gives settings, by name, that may be proposed instead of `config`."""
    found, missing = _read(events, products, config, seed)
    advice = [*_column_advice(missing), *_event_advice(found)]
    if found.products:
        advice += _field_advice(products, config, found)
    lost = 1 - (found.events + found.products) / max(found.event_rows + found.product_rows, 1)
    if found.error or lost > _SMALL_LOSS:
        advice += _preset_advice(events, products, presets(), seed, found, _names(config))
    return replace(found, advice=advice)


def _read(
    events: Sequence[str], products: Sequence[str], config: Data, seed: int
) -> tuple[Findings, list[tuple[str, MissingColumns]]]:
    """What the files hold, and the columns that a table lacks."""
    missing: list[tuple[str, MissingColumns]] = []
    error, data = None, None
    with tempfile.TemporaryDirectory() as work, open_rejects(Path(work) / "rejects.csv", is_kept=False) as rejects:
        reading = Reading.start(config, rejects)
        try:
            reading.read(events, products, OneMachine())
            # what is left is shown even if a run would stop
            if reading.accepted_rows:
                data = reading.arrange(seed)
            reading.check()
            if data:
                check_learnable(data)
        except MissingColumns as problem:
            error = str(problem)
            missing.append(("products" if reading.catalogue is None else "events", problem))
        except DataError as problem:
            error = str(problem)
        if reading.catalogue is None:
            missing += _missing_of_events(events, config)
    return _findings(reading, data, error), missing


def _missing_of_events(events: Sequence[str], config: Data) -> Iterator[tuple[str, MissingColumns]]:
    """The columns that the events lack, where the products could not be read."""
    optional = config.event_columns.optional(config.default_event)
    try:
        next(read_tables(find_events(events).files, config.event_columns.names(), optional, config.delimiter), None)
    except MissingColumns as problem:
        yield "events", problem
    except DataError:
        # the products' error comes first
        return


def _findings(reading: Reading, data: Dataset | None, error: str | None) -> Findings:
    rejected = reading.products.rejected + reading.events.rejected
    dropped = reading.products.dropped + reading.events.dropped
    catalogue = reading.catalogue
    known = Findings(
        products=len(catalogue) if catalogue else 0,
        product_rows=reading.products.rows,
        event_rows=reading.events.rows,
        fields={name: count.found for name, count in reading.products.fields.items()},
        in_stock=sum(catalogue.in_stock) if catalogue else 0,
        rejected=dict(rejected.most_common()),
        dropped=dict(dropped.most_common()),
        examples=[
            one
            for table in (reading.products, reading.events)
            for examples in table.examples.values()
            for one in examples
        ],
        unknown_events=[name for name, _ in reading.events.unknown_events.most_common(_MAX_NAMES)],
        metadata_keys=list(reading.products.metadata_keys),
        warnings=reading.warnings,
        error=error,
    )
    return _with_events(known, data) if data else known


def _with_events(known: Findings, data: Dataset) -> Findings:
    events, names = data.events, data.event_names
    older = data.summary.older_events
    cut = {"older than the newest of a buyer, data.max_buyer_events": older} if older else {}
    counts = Counter(events.kind.tolist())
    return replace(
        known,
        buyers=len(data.buyers),
        events=len(events.buyer),
        event_kinds={name: counts[code] for code, name in enumerate(names, start=1)},
        first_time=_iso(int(events.time.min())),
        last_time=_iso(int(events.time.max())),
        dropped=known.dropped | cut,
    )


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()


def _column_advice(missing: Sequence[tuple[str, MissingColumns]]) -> Iterator[str]:
    options, note = [], ""
    for table, problem in missing:
        section = "data.event_columns" if table == "events" else "data.product_columns"
        for ours in problem.missing:
            if alias := _alias(ours, problem.header):
                options.append(f"{section}.{ours}={alias}")
            elif ours == "event":
                options.append("data.default_event=Purchase")
                note = " (data.default_event if each row is an order)"
            elif ours == "title":
                options.append("data.product_columns.title=null")
    if options:
        yield f"--set {' '.join(map(_quoted, options))}{note}"


def _field_advice(products: Sequence[str], config: Data, found: Findings) -> Iterator[str]:
    """Columns of the products and keys of their metadata that no field reads, where a field has no value."""
    header = _header(find_products(products).files, config)
    options = []
    for ours in ("description", "brand", "category", "price", "in_stock"):
        if found.fields.get(ours, 0):
            continue
        if (key := _alias(ours, found.metadata_keys)) and key != ours:
            options.append(f"data.metadata_paths.{ours}=$.{key}")
        elif (column := _alias(ours, header)) and ours not in header:
            options.append(f"data.product_columns.{ours}={column}")
    if options:
        yield f"--set {' '.join(map(_quoted, options))}"


def _header(files: Sequence[Path], config: Data) -> Sequence[str]:
    try:
        next(read_tables(files[:1], {"id": ("\0",)}, frozenset(), config.delimiter), None)
    except MissingColumns as problem:
        return problem.header
    return []


def _alias(ours: str, header: Sequence[str]) -> str:
    """The name in a header that means our column, or ""."""
    plain = {name.rsplit(".", 1)[-1].strip().lower().replace(" ", "_"): name for name in reversed(header)}
    return next((plain[one] for one in _ALIASES.get(ours, "").split() if one in plain), "")


def _event_advice(found: Findings) -> Iterator[str]:
    names = found.unknown_events
    if not names:
        return
    meant = {word: ours for ours, words in _EVENT_WORDS.items() for word in words.split()}
    mapped = {name: meant.get(name.strip().lower().replace(" ", "_").replace("-", "_"), "null") for name in names}
    inner = ", ".join(f"{_yaml(name)}: {ours}" for name, ours in mapped.items())
    yield f"--set {_quoted('data.event_names={' + inner + '}')} (null leaves events out)"


def _preset_advice(
    events: Sequence[str],
    products: Sequence[str],
    presets: dict[str, Data],
    seed: int,
    found: Findings,
    usual: set[str],
) -> Iterator[str]:
    """The presets that lose less than `found`; `usual` are the names of columns without a preset."""
    for name, config in presets.items():
        if not _fits(events, products, config, usual):
            continue
        other, _ = _read(events, products, config, seed)
        if (other.error is None, other.events, other.products) > (found.error is None, found.events, found.products):
            yield (
                f"--format {name}: {other.products:,} products and {other.events:,} events, "
                f"{found.products:,} and {found.events:,} as given"
            )


def _names(config: Data) -> set[str]:
    """The names of columns of both tables, as they are compared."""
    columns = chain(config.product_columns.names().values(), config.event_columns.names().values())
    return {plain_name(one) for names in columns for one in names}


def _fits(events: Sequence[str], products: Sequence[str], config: Data, usual: set[str]) -> bool:
    """Whether both tables have the columns of these settings, and one that the settings do not have by default."""
    product_columns, event_columns = config.product_columns, config.event_columns
    try:
        header = {*_header(find_products(products).files, config), *_header(find_events(events).files, config)}
        if not (_names(config) - usual) & {plain_name(one) for one in header}:
            # all it would read is what the usual settings read
            return False
        for files, columns, optional in (
            (find_products(products).files, product_columns.names(), product_columns.optional()),
            (find_events(events).files, event_columns.names(), event_columns.optional(config.default_event)),
        ):
            next(read_tables(files[:1], columns, optional, config.delimiter), None)
    except DataError:
        return False
    return True


def _quoted(option: str) -> str:
    return option if all(one.isalnum() or one in "._=-" for one in option) else f"'{option}'"


def _yaml(name: str) -> str:
    return name if name.replace("_", "").isalpha() else f'"{name}"'
