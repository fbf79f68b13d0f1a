"""SYNTHETIC demonstration data: an invented Arabic marketplace and invented buyers.

No product, brand, price, buyer or event written by this module is real, and nothing is derived from real
logs. The data exist so that training, evaluation and serving can be tried end to end; figures measured on
them say how the system behaves, not how well it would rank a real shop's goods.

The buyers are simulated so that order matters: interests drift over the weeks, sessions stay close to one
taste (brand, style, price level), and one product leads to its complements (a ring to a necklace, motor oil
to a filter). Every product row carries ``"synthetic": true`` in its metadata.
"""

import csv
import json
import os
import random
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.demo_catalogue import (
    BLESSED_SPELLINGS,
    CATEGORIES,
    COLOURLESS,
    DELIVERY,
    FEMININE,
    Category,
    Noun,
    ProductType,
)

__all__ = ["CATEGORIES", "DAYS", "DemoSummary", "generate"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DAYS = 120
DAY = 86_400
WEEKS = -(-DAYS // 7)
NEWEST = datetime(2026, 6, 30, 22, 0, tzinfo=UTC)
EVENT_NAMES = ("View", "AddToCart", "Purchase")

_TIERS = 3
_INTERESTS = 4
_FAVOURITES = 3
_COMPANIONS = 4
_MOST_EVENTS_PER_BUYER = 2_000
_BLOCK_EVENTS = 400_000
_CHUNK_ROWS = 100_000
_LOCAL_OFFSET = 3 * 3_600
# Share of sessions starting in each local hour: quiet before dawn, busiest after the evening prayer.
_HOURS = np.array([5, 4, 2, 1, 0.6, 0.6, 1, 1.5, 2, 2.5, 3, 3.2, 3.5, 3.5, 3.5, 4, 4.5, 5, 5, 5.5, 6.5, 7.5, 7.5, 6.5])


class DemoSummary(NamedTuple):
    """What `generate` wrote: the two files and how much is in them."""

    products_path: Path
    events_path: Path
    products: int
    buyers: int
    events: int
    categories: int


def generate(
    out: Path, products: int = 5000, buyers: int = 5000, events: int = 200_000, seed: int = 7, newest: datetime = NEWEST
) -> DemoSummary:
    """Write `products.csv` and `events.csv` of a synthetic Arabic marketplace into `out`.

    The files are byte-identical for equal arguments, and each replaces an older one only when complete.
    Events span about `DAYS` days, sorted by time in UTC at one-second resolution, the last at `newest`.

    Raises ValueError naming the argument when a size is impossible or `newest` has no time zone, and OSError
    when `out` cannot be written.
    """
    _check(products, buyers, events, seed, newest)
    out.mkdir(parents=True, exist_ok=True)
    shelf = _stock(np.random.default_rng([seed, 1]), products)
    products_path = out / "products.csv"
    _write_csv(
        products_path, ("product_id", "title", "description", "metadata"), _product_rows(shelf, random.Random(seed))
    )
    market = _Market.build(shelf, np.random.default_rng([seed, 2]))
    log = _simulate(market, buyers, events, seed, newest)
    events_path = out / "events.csv"
    _write_csv(
        events_path, ("distinct_id", "product_id", "event_name", "created_at"), _event_rows(log, products, buyers)
    )
    return DemoSummary(products_path, events_path, products, buyers, events, len(CATEGORIES))


def _check(products: int, buyers: int, events: int, seed: int, newest: datetime) -> None:
    if products < len(CATEGORIES):
        raise ValueError(f"products must be at least {len(CATEGORIES)} (one a category), got {products}")
    if buyers < 1:
        raise ValueError(f"buyers must be at least 1, got {buyers}")
    if events < 3 * buyers:
        raise ValueError(f"events must be at least 3 * buyers = {3 * buyers}, got {events}")
    if events > _MOST_EVENTS_PER_BUYER * buyers:
        most = _MOST_EVENTS_PER_BUYER * buyers
        raise ValueError(f"events must be at most {_MOST_EVENTS_PER_BUYER} * buyers = {most}, got {events}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if newest.tzinfo is None:
        raise ValueError(f"newest must carry a time zone, got {newest.isoformat()}")


# ---- files ----------------------------------------------------------------------------------------------


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _identifiers(prefix: str, count: int, digits: int) -> npt.NDArray[np.object_]:
    return np.array([f"{prefix}{number:0{digits}d}" for number in range(count)], dtype=object)


class _Log(NamedTuple):
    """Events in time order; `second` counts from the Unix epoch."""

    buyer: npt.NDArray[np.int32]
    product: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int8]
    second: Ints


def _event_rows(log: _Log, products: int, buyers: int) -> Iterator[tuple[str, str, str, str]]:
    product_ids = _identifiers("P", products, 6)
    buyer_ids = _identifiers("B", buyers, 5)
    kinds = np.array(EVENT_NAMES, dtype=object)
    for start in range(0, len(log.second), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        times = np.datetime_as_string(log.second[part].astype("datetime64[s]"))
        stamps = [f"{time}Z" for time in times.tolist()]
        yield from zip(
            buyer_ids[log.buyer[part]].tolist(),
            product_ids[log.product[part]].tolist(),
            kinds[log.kind[part]].tolist(),
            stamps,
            strict=True,
        )


# ---- the shelf: what each product is --------------------------------------------------------------------

_TYPES: tuple[ProductType, ...] = tuple(kind for category in CATEGORIES for kind in category.types)
_CATEGORY_OF: Ints = np.array([number for number, category in enumerate(CATEGORIES) for _ in category.types])
_FIRST_TYPE: Ints = np.concatenate([[0], np.cumsum([len(category.types) for category in CATEGORIES])])
_MOST_BRANDS = max(len(category.brands) for category in CATEGORIES)
_MOST_STYLES = max(len(category.style_weights) for category in CATEGORIES)


@dataclass(frozen=True)
class _Shelf:
    """Attributes of every product, one array entry each; `launch_week` 0 means on sale from the first day."""

    kind: Ints
    brand: Ints
    style: Ints
    tier: Ints
    price: Floats
    in_stock: Bools
    weight: Floats
    launch_week: Ints


def _cumulative(rows: Sequence[Sequence[float]]) -> Floats:
    """Rows of weights as cumulative shares, padded with ones to a rectangle."""
    table = np.ones((len(rows), max(len(row) for row in rows)))
    for number, row in enumerate(rows):
        shares = np.cumsum(row) / np.sum(row)
        table[number, : len(row) - 1] = shares[:-1]
    return table


def _draw(rng: np.random.Generator, table: Floats, row: Ints) -> Ints:
    """One column for each entry of `row`, by the cumulative shares in that row of `table`."""
    picked: Ints = (table[row] <= rng.random(len(row))[:, None]).sum(axis=1)
    return picked


_TYPE_SHARES = _cumulative([[kind.weight for kind in category.types] for category in CATEGORIES])
_BRAND_SHARES = _cumulative([[(n + 1.5) ** -0.8 for n in range(len(c.brands))] for c in CATEGORIES])
_STYLE_SHARES = _cumulative([category.style_weights for category in CATEGORIES])


def _stock(rng: np.random.Generator, products: int) -> _Shelf:
    """Fill the shelf: every category at least once, types by weight, Zipf popularity inside a type."""
    shares = np.array([category.weight for category in CATEGORIES])
    extra = rng.multinomial(products - len(CATEGORIES), shares / shares.sum())
    category = rng.permutation(np.repeat(np.arange(len(CATEGORIES)), extra + 1))
    kind = _FIRST_TYPE[category] + _draw(rng, _TYPE_SHARES, category)
    brand = _draw(rng, _BRAND_SHARES, category)
    style = _draw(rng, _STYLE_SHARES, category)
    level = rng.normal(0.0, 0.38, products)
    base = np.array([kind_.price for kind_ in _TYPES])[kind]
    style_price = np.ones((len(CATEGORIES), _MOST_STYLES))
    for number, entry in enumerate(CATEGORIES):
        style_price[number, : len(entry.style_prices)] = entry.style_prices
    rank = _rank_inside(kind, rng.random(products))
    late = (rng.random(products) < 0.18) & (rank > 0)
    return _Shelf(
        kind=kind,
        brand=brand,
        style=style,
        tier=np.digitize(level, [-0.17, 0.17]),
        price=_shop_price(base * style_price[category, style] * np.exp(level)),
        in_stock=rng.random(products) < 0.95,
        weight=np.power(rank + 1.0, -1.15),
        launch_week=np.where(late, rng.integers(1, WEEKS - 1, products), 0),
    )


def _rank_inside(group: Ints, score: Floats) -> Ints:
    """Position of each entry inside its group, by score, from 0."""
    order = np.lexsort((score, group))
    ordered = group[order]
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return rank


def _shop_price(raw: Floats) -> Floats:
    """Prices as shops write them: 17.5, 49, 185, 1250."""
    steps = np.select([raw < 30, raw < 100, raw < 1000], [0.5, 1.0, 5.0], 50.0)
    rounded: Floats = np.maximum(np.round(raw / steps) * steps, 4.0)
    return rounded


# ---- product texts --------------------------------------------------------------------------------------

_SLOT = re.compile(r"%([a-zA-Z])")
_CHOICE = re.compile(r"\{([^{}]+)\}")
_RANGE = re.compile(r"(\d+)-(\d+)")
_GENDERED = re.compile(r"\[([^/\]]*)/([^\]]*)\]")
_AGREEING = re.compile(r"([^\s*]+)\*")
_FINAL_TAA = re.compile(r"ة(?=[\s،.:]|$)")
_FINAL_YAA = re.compile(r"(?<=\w{2})ي(?=[\s،.:]|$)")
# Digits inside codes such as 5W-30 or 9H stay as they are; only free-standing numbers are localised.
_FREE_NUMBER = re.compile(r"(?<![A-Za-z\d\-.+#/])\d+(?:\.\d+)?(?![A-Za-z\d\-.+/])")
_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_BARE_ALEF = str.maketrans("أإآ", "ااا")
_NOT_JOINING = set("اأإآدذرزوؤىةءـ")


def _feminine(word: str) -> str:
    return FEMININE.get(word, f"{word}ة")


class _Writer:
    """Composes the texts of one product from its category's phrases."""

    def __init__(self, rng: random.Random, category: Category, kind: ProductType, brand: int, style: int) -> None:
        self._rng = rng
        self._category = category
        self._kind = kind
        self._noun: Noun = rng.choice(kind.nouns)
        specs = kind.specs[style % len(kind.specs)]
        features = kind.features
        self._values = {
            "t": self._noun.text,
            "d": self._noun.definite,
            "s": rng.choice(specs) if specs else "",
            "f": rng.choice(features) if features else "",
            "z": rng.choice(kind.sizes) if kind.sizes else "",
            "b": category.brands[brand],
            "e": kind.english,
            "n": rng.choice(category.models),
            "l": rng.choice(category.leads),
        }
        adjective, _, rest = rng.choice(category.adjectives).partition(" ")
        self._values["a"] = f"{adjective}* {rest}".strip()
        colour = "" if kind.key in COLOURLESS or not category.colours else rng.choice(category.colours)
        self._values["C"] = colour
        self._values["c"] = f"{colour}*" if colour else ""
        # One product, one size and one model: the choices are made once so that texts agree with each other.
        self._values = {slot: self._fill(value) for slot, value in self._values.items()}

    def can(self, template: str) -> bool:
        """Whether every slot of the template has something to say for this product."""
        return all(self._values[slot] for slot in _SLOT.findall(template))

    def text(self, template: str) -> str:
        """The template with slots filled, choices made and gender agreed."""
        template = template.replace("لون %c", "لون %C")
        text = self._fill(_SLOT.sub(lambda match: self._values[match[1]], template))
        if "[" in text:
            text = _GENDERED.sub(lambda match: match[2 if self._noun.feminine else 1], text)
        if "*" in text:
            text = _AGREEING.sub(lambda m: _feminine(m[1]) if self._noun.feminine else m[1], text)
        return text

    def _fill(self, text: str) -> str:
        return _CHOICE.sub(lambda match: self._choose(match[1]), text) if "{" in text else text

    def _choose(self, body: str) -> str:
        if "/" in body:
            return self._rng.choice(body.split("/"))
        bounds = _RANGE.fullmatch(body)
        return str(self._rng.randint(int(bounds[1]), int(bounds[2]))) if bounds else body

    def title(self, attempt: int) -> str:
        """A title of two to nine words; later attempts add the details that tell twins apart."""
        usable = [template for template in self._category.titles if self.can(template)]
        if attempt == 0 and self._rng.random() < 0.05:
            usable = []
        template = self._rng.choice(usable or ["%t %b"])
        if attempt >= 2:
            template += " %b" if "%b" not in template else " %n" if "%n" not in template else ""
        if attempt >= 4 and "%n" not in template:
            template += " %n"
        roll = self._rng.random()
        if roll < 0.06:
            template += " %e"
        elif roll < 0.09 and "%a" not in template and template.startswith("%t %s"):
            template = template.replace("%t", "%t %a", 1)
        return self.text(template)

    def description(self) -> str:
        """One to three sentences, most of them particular to the category or the type."""
        rng = self._rng
        note = rng.choice(self._kind.notes)
        sentences = [
            rng.choice(self._fitting(self._category.openers) or [note]),
            note,
            rng.choice(self._fitting(self._category.details) or [note]),
        ]
        keep = rng.choices(([0], [1], [0, 1], [0, 2], [1, 2], [0, 1, 2]), (14, 6, 26, 16, 6, 32))[0]
        chosen = [sentences[number] for number in keep]
        if len(chosen) < 3 and rng.random() < 0.15:
            chosen.append(rng.choice(DELIVERY))
        return " ".join(self.text(sentence) for sentence in dict.fromkeys(chosen))

    def _fitting(self, sentences: Sequence[str]) -> list[str]:
        """The sentences meant for this type and with every slot filled; tagged ones come in double share."""
        mark = f"@{self._kind.tag} "
        tagged = [sentence.removeprefix(mark) for sentence in sentences if sentence.startswith(mark)]
        plain = [sentence for sentence in sentences if not sentence.startswith("@")]
        return [sentence for sentence in tagged * 2 + plain if self.can(sentence)]


def _stretch(rng: random.Random, text: str) -> str:
    """Insert a tatweel into one word, between two letters that join."""
    places = [
        number
        for number in range(1, len(text) - 1)
        if "ء" <= text[number - 1] <= "ي" and text[number - 1] not in _NOT_JOINING and "ا" <= text[number] <= "ي"
    ]
    if not places:
        return text
    place = rng.choice(places)
    return text[:place] + "ـ" * rng.choice((1, 1, 2, 3)) + text[place:]


def _bless(text: str) -> str:
    return " ".join(BLESSED_SPELLINGS.get(word, word) for word in text.split(" "))


def _seller_spelling(rng: random.Random, title: str, description: str) -> tuple[str, str]:
    """The same texts in the spelling of one seller: about a third deviate from the dictionary."""
    if rng.random() < 0.2:
        title, description = (
            _FREE_NUMBER.sub(lambda match: match[0].translate(_DIGITS), text) for text in (title, description)
        )
    if rng.random() < 0.16:
        title, description = title.translate(_BARE_ALEF), description.translate(_BARE_ALEF)
    if rng.random() < 0.1:
        title, description = _FINAL_TAA.sub("ه", title), _FINAL_TAA.sub("ه", description)
    roll = rng.random()
    if roll < 0.03:
        title, description = _FINAL_YAA.sub("ى", title), _FINAL_YAA.sub("ى", description)
    elif roll < 0.08:
        title, description = title.replace("ى", "ي"), description.replace("ى", "ي")
    elif roll < 0.13:
        title = _stretch(rng, title)
    elif roll < 0.18:
        title = _bless(title)
    return title, description


def _words(title: str) -> int:
    return sum(1 for word in title.split() if word not in {"-", "|"})


def _product_texts(
    rng: random.Random, seen: set[str], writer_of: tuple[Category, ProductType, int, int]
) -> tuple[str, str]:
    best = ("", "")
    for attempt in range(9):
        writer = _Writer(rng, *writer_of)
        title = writer.title(attempt)
        if not 2 <= _words(title) <= 9:
            continue
        best = _seller_spelling(rng, title, writer.description())
        if best[0] not in seen:
            break
    if not best[0]:
        best = writer.text("%t %b"), writer.description()
    seen.add(best[0])
    return best


def _product_rows(shelf: _Shelf, rng: random.Random) -> Iterator[tuple[str, str, str, str]]:
    """Rows of products.csv in the order of their numbers."""
    seen: set[str] = set()
    columns = (shelf.kind, shelf.brand, shelf.style, shelf.price, shelf.in_stock)
    ids = _identifiers("P", len(shelf.kind), 6).tolist()
    for product_id, kind, brand, style, price, in_stock in zip(ids, *(c.tolist() for c in columns), strict=True):
        category = CATEGORIES[int(_CATEGORY_OF[kind])]
        title, description = _product_texts(rng, seen, (category, _TYPES[kind], brand, style))
        metadata = {
            "brand": category.brands[brand],
            "category": category.name,
            "price": int(price) if price == int(price) else price,
            "currency": "SAR",
            "in_stock": in_stock,
            "synthetic": True,
        }
        yield product_id, title, description, json.dumps(metadata, ensure_ascii=False)


# ---- the market: which product is picked when ------------------------------------------------------------


class _Aisle:
    """Products sorted by group, with weekly popularity, so that a group is one range to draw from."""

    def __init__(self, group: Ints, groups: int, weekly: Floats) -> None:
        self._order = np.argsort(group, kind="stable")
        self._edges = np.searchsorted(group[self._order], np.arange(groups + 1))
        sums = np.zeros((WEEKS, len(group) + 1))
        np.cumsum(weekly[:, self._order], axis=1, out=sums[:, 1:])
        # Stacked with a growing offset, the weeks form one ascending array: a single search serves any week.
        self._stride = float(sums[:, -1].max()) + 1.0
        self._sums = sums + np.arange(WEEKS)[:, None] * self._stride
        self._flat = self._sums.ravel()

    def pick(self, rng: np.random.Generator, week: Ints, low: Ints, high: Ints) -> Ints:
        """One product number from groups `low` up to but not including `high`, -1 where none is on sale."""
        first, last = self._edges[low], self._edges[high]
        bottom, top = self._sums[week, first], self._sums[week, last]
        place = np.searchsorted(self._flat, bottom + rng.random(len(week)) * (top - bottom), side="right") - 1
        place = np.clip(place - week * self._sums.shape[1], first, np.maximum(last - 1, first))
        product: Ints = self._order[np.minimum(place, len(self._order) - 1)]
        return np.where(top - bottom > 1e-9, product, -1)


class _Taste(NamedTuple):
    """What a pick should look like; -1 in `brand` means no preference."""

    kind: Ints
    brand: Ints
    style: Ints
    tier: Ints

    def take(self, rows: Bools | Ints) -> "_Taste":
        """The same for some rows."""
        return _Taste(self.kind[rows], self.brand[rows], self.style[rows], self.tier[rows])


@dataclass(frozen=True)
class _Market:
    """The shelf with everything needed to draw products from it in bulk."""

    shelf: _Shelf
    by_brand: _Aisle
    by_style: _Aisle
    stocked: Ints
    link_shares: Floats
    link_targets: Ints
    complements: Ints
    look_alikes: Ints

    @classmethod
    def build(cls, shelf: _Shelf, rng: np.random.Generator) -> "_Market":
        """Index the shelf and tie every product to a few complements and look-alikes."""
        week = np.arange(WEEKS)[:, None]
        age = week - shelf.launch_week[None, :]
        fresh = np.where(shelf.launch_week[None, :] > 0, 1.0 + 3.0 * np.exp(-age / 2.5), 1.0)
        weekly = np.where(age >= 0, shelf.weight[None, :] * fresh, 0.0)
        types = len(_TYPES)
        brand_group = shelf.kind * _MOST_BRANDS + shelf.brand
        style_group = (shelf.kind * _MOST_STYLES + shelf.style) * _TIERS + shelf.tier
        numbers = {kind.key: number for number, kind in enumerate(_TYPES)}
        links = [[(numbers[name], share) for name, share in kind.links] for kind in _TYPES]
        targets = np.zeros((types, max(len(row) for row in links)), dtype=np.int64)
        for number, row in enumerate(links):
            targets[number, : len(row)] = [target for target, _ in row]
        empty = np.zeros((0, _COMPANIONS), dtype=np.int64)
        market = cls(
            shelf=shelf,
            by_brand=_Aisle(brand_group, types * _MOST_BRANDS, weekly),
            by_style=_Aisle(style_group, types * _MOST_STYLES * _TIERS, weekly),
            stocked=_stocked_types(shelf.kind),
            link_shares=_cumulative([[share for _, share in row] for row in links]),
            link_targets=targets,
            complements=empty,
            look_alikes=empty,
        )
        return cls(**{**market.__dict__, **market._companions(rng)})

    def _companions(self, rng: np.random.Generator) -> dict[str, Ints]:
        shelf = self.shelf
        week = np.full(len(shelf.kind), WEEKS - 1)
        own = _Taste(shelf.kind, shelf.brand, shelf.style, shelf.tier)
        complements, look_alikes = [], []
        for _ in range(_COMPANIONS):
            target = self.linked(rng, shelf.kind)
            near = _CATEGORY_OF[target] == _CATEGORY_OF[shelf.kind]
            wanted = own._replace(kind=target, brand=np.where(near, shelf.brand, -1))
            complements.append(self.pick(rng, week, wanted))
            look_alikes.append(self.pick(rng, week, own))
        return {"complements": np.stack(complements, axis=1), "look_alikes": np.stack(look_alikes, axis=1)}

    def linked(self, rng: np.random.Generator, kind: Ints) -> Ints:
        """A type that complements each given type, always one with products."""
        column = _draw(rng, self.link_shares, kind)
        target: Ints = self.stocked[self.link_targets[kind, column]]
        return target

    def pick(self, rng: np.random.Generator, week: Ints, taste: _Taste) -> Ints:
        """A product of the wanted type on sale that week, mostly of the wanted brand, style or price."""
        kind = taste.kind
        mode = rng.random(len(kind))
        style = (kind * _MOST_STYLES + taste.style) * _TIERS
        level = style + taste.tier
        exact = mode < 0.4
        low = np.where(exact, level, style)
        high = np.where(exact, level + 1, style + _TIERS)
        whole = mode >= 0.85
        per_type = _MOST_STYLES * _TIERS
        low, high = np.where(whole, kind * per_type, low), np.where(whole, (kind + 1) * per_type, high)
        product = self.by_style.pick(rng, week, low, high)
        branded = (mode >= 0.55) & (mode < 0.85) & (taste.brand >= 0)
        group = kind * _MOST_BRANDS + np.maximum(taste.brand, 0)
        same_brand = self.by_brand.pick(rng, week, group, group + 1)
        product = np.where(branded & (same_brand >= 0), same_brand, product)
        any_of_type = self.by_style.pick(rng, week, kind * per_type, (kind + 1) * per_type)
        return np.where(product >= 0, product, any_of_type)


def _stocked_types(kind: Ints) -> Ints:
    """For every type itself, or, where it has no product, a type of the same category that has one."""
    counts = np.bincount(kind, minlength=len(_TYPES))
    best = [int(first + np.argmax(counts[first:last])) for first, last in pairwise(_FIRST_TYPE.tolist())]
    stocked: Ints = np.where(counts > 0, np.arange(len(_TYPES)), np.array(best)[_CATEGORY_OF])
    return stocked


# ---- the buyers ------------------------------------------------------------------------------------------


def _affinity() -> Floats:
    """How strongly an interest in one category comes with an interest in another, as logarithms."""
    weight = np.array([category.weight for category in CATEGORIES])
    keys = [category.key for category in CATEGORIES]
    table = np.tile(weight, (len(keys), 1))
    for number, category in enumerate(CATEGORIES):
        table[number, [keys.index(name) for name in category.near]] *= 7.0
        table[number, number] = 1e-12
    logs: Floats = np.log(table)
    return logs


@dataclass(frozen=True)
class _Buyers:
    """A block of buyers: up to four interests each, with the taste they have inside each of them."""

    category: Ints
    favourites: Ints
    brand: Ints
    style: Ints
    tier: Ints
    base: Floats
    swing: Floats
    period: Floats
    phase: Floats
    cart_share: Floats

    @classmethod
    def invite(cls, market: _Market, rng: np.random.Generator, count: int) -> "_Buyers":
        """Draw `count` buyers."""
        shape = (count, _INTERESTS)
        shares = np.array([category.weight for category in CATEGORIES])
        first = rng.choice(len(CATEGORIES), count, p=shares / shares.sum())
        score = _affinity()[first] + rng.gumbel(size=(count, len(CATEGORIES)))
        others = np.argsort(-score, axis=1)[:, : _INTERESTS - 1]
        category = np.concatenate([first[:, None], others], axis=1)
        interests = 1 + rng.choice(_INTERESTS, count, p=[0.22, 0.34, 0.28, 0.16])
        base = rng.normal(0.0, 0.8, shape) - np.where(np.arange(_INTERESTS) < interests[:, None], 0.0, np.inf)
        flat = category.ravel()
        level = np.clip(rng.normal(1.0, 0.75, count)[:, None] + rng.normal(0.0, 0.3, shape), 0, 2)
        return cls(
            category=category,
            favourites=_favourite_types(market, rng, flat).reshape(count, _INTERESTS, _FAVOURITES),
            brand=_draw(rng, _BRAND_SHARES, flat).reshape(shape),
            style=_draw(rng, _STYLE_SHARES, flat).reshape(shape),
            tier=np.rint(level).astype(np.int64),
            base=base,
            swing=rng.uniform(0.5, 2.5, shape),
            period=rng.uniform(50.0, 150.0, shape),
            phase=rng.uniform(0.0, 2 * np.pi, shape),
            cart_share=rng.beta(4.0, 16.0, count),
        )

    def interest(self, rng: np.random.Generator, buyer: Ints, day: Floats) -> Ints:
        """Which interest drives each visit; the mixture swings slowly over the weeks."""
        angle = 2 * np.pi * day[:, None] / self.period[buyer] + self.phase[buyer]
        score = self.base[buyer] + self.swing[buyer] * np.sin(angle) + rng.gumbel(size=(len(buyer), _INTERESTS))
        picked: Ints = np.argmax(score, axis=1)
        return picked

    def taste(self, rng: np.random.Generator, buyer: Ints, kind: Ints) -> _Taste:
        """The buyer's taste for a type; outside the buyer's interests only the price level is known."""
        category = _CATEGORY_OF[kind]
        same = self.category[buyer] == category[:, None]
        slot = np.argmax(same, axis=1)
        known = same[np.arange(len(buyer)), slot]
        style = np.where(known, self.style[buyer, slot], _draw(rng, _STYLE_SHARES, category))
        wander = rng.random(len(buyer)) < 0.15
        style = np.where(wander, _draw(rng, _STYLE_SHARES, category), style)
        return _Taste(kind, np.where(known, self.brand[buyer, slot], -1), style, self.tier[buyer, slot])


def _favourite_types(market: _Market, rng: np.random.Generator, category: Ints) -> Ints:
    """Three slots of favourite types for each category entry: one, a complement of it, and often repeats."""
    first = market.stocked[_FIRST_TYPE[category] + _draw(rng, _TYPE_SHARES, category)]
    second = market.linked(rng, first)
    second = np.where(_CATEGORY_OF[second] == category, second, first)
    third = market.stocked[_FIRST_TYPE[category] + _draw(rng, _TYPE_SHARES, category)]
    third = np.where(rng.random(len(category)) < 0.5, third, first)
    return np.stack([first, second, third], axis=1)


# ---- visits ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Looks:
    """Products looked at, ordered by buyer and then time: each is one View and what followed from it.

    `session` counts through the block, `actions` is how many events (1 to 3) the look makes, and `opens` marks
    the first look of a session.
    """

    buyer: Ints
    session: Ints
    actions: Ints
    opens: Bools


def _activity(rng: np.random.Generator, buyers: int, events: int) -> Ints:
    """Events of each buyer: at least three, heavy-tailed, summing to `events` exactly."""
    raw = rng.lognormal(0.0, 0.95, buyers)
    raw = np.minimum(raw, 30.0 * raw.mean())
    edges = np.floor(np.cumsum(raw) / raw.sum() * (events - 3 * buyers) + 1e-6)
    edges[-1] = events - 3 * buyers
    counts: Ints = 3 + np.diff(edges, prepend=0.0).astype(np.int64)
    return counts


def _plan_looks(rng: np.random.Generator, counts: Ints, cart_share: Floats) -> _Looks:
    """Decide how far each look goes down the funnel and where sessions end, using up `counts` exactly."""
    buyer = np.repeat(np.arange(len(counts)), counts)
    cart = rng.random(len(buyer)) < cart_share[buyer]
    purchase = cart & (rng.random(len(buyer)) < 0.35)
    actions = 1 + cart.astype(np.int64) + purchase
    used = np.cumsum(actions) - actions
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    used -= used[starts][buyer]
    keep = used < counts[buyer]
    buyer, used, actions = buyer[keep], used[keep], actions[keep]
    actions = np.minimum(actions, counts[buyer] - used)
    opens = rng.random(len(buyer)) < 0.17
    opens[0] = True
    opens[1:] |= buyer[1:] != buyer[:-1]
    return _Looks(buyer, np.cumsum(opens) - 1, actions, opens)


def _session_starts(rng: np.random.Generator, buyer: Ints, buyers: int) -> Ints:
    """Start seconds of sessions given their buyers (ascending), ascending for each buyer.

    Gaps are bursty: a return the same evening, then days off. Buyers join and leave inside the period.
    """
    end = DAYS - np.minimum(rng.exponential(9.0, buyers), DAYS * 0.5)
    begin = (end - 8.0) * rng.beta(0.7, 2.2, buyers)
    gap = rng.lognormal(0.0, 1.4, len(buyer))
    total = np.cumsum(gap)
    firsts = np.searchsorted(buyer, np.arange(buyers))
    before = (total - gap)[firsts]
    whole = np.bincount(buyer, gap, buyers) + rng.lognormal(0.0, 0.8, buyers)
    day = begin[buyer] + (total - before[buyer]) / whole[buyer] * (end - begin)[buyer]
    hour = rng.choice(24, len(buyer), p=_HOURS / _HOURS.sum())
    clock = hour * 3_600 + rng.integers(0, 3_600, len(buyer)) - _LOCAL_OFFSET
    second = np.floor(day).astype(np.int64) * DAY + clock
    span = 2 * DAYS * DAY
    # Sessions carry no content yet, so sorting their times for each buyer loses nothing.
    ordered: Ints = np.sort(buyer * span + second + DAY) - buyer * span - DAY
    return ordered


def _event_seconds(rng: np.random.Generator, looks: _Looks, limit: int) -> Ints:
    """Seconds of all events, strictly ascending for each buyer, none above `limit`."""
    events_before = np.cumsum(looks.actions) - looks.actions
    event_look = np.repeat(np.arange(len(looks.buyer)), looks.actions)
    step = np.arange(len(event_look)) - events_before[event_look]
    median = np.array([45.0, 25.0, 150.0])[step]
    gap = np.ceil(median * rng.lognormal(0.0, 0.7, len(step))).astype(np.int64)
    opener = looks.opens[event_look] & (step == 0)
    gap[opener] = 0
    session = looks.session[event_look]
    elapsed = np.cumsum(gap)
    first_event = np.flatnonzero(opener)
    elapsed -= elapsed[first_event][session]
    session_buyer = looks.buyer[looks.opens]
    buyers = int(session_buyer[-1]) + 1
    start = _session_starts(rng, session_buyer, buyers)
    # A session may not begin before the previous one of the same buyer is over.
    last_event = np.append(first_event[1:], len(step)) - 1
    busy = elapsed[last_event] + rng.integers(600, 3_000, len(start))
    worked = np.cumsum(busy) - busy
    lane = session_buyer * (1 << 40)
    start = np.maximum.accumulate(start - worked + lane) + worked - lane
    second = start[session] + elapsed
    final_second = second[np.append(np.flatnonzero(np.diff(session_buyer[session])), len(second) - 1)]
    over = np.where(final_second > limit, final_second - limit + rng.integers(0, 6 * 3_600, buyers), 0)
    shifted: Ints = second - over[session_buyer[session]]
    return shifted


def _browse(market: _Market, people: _Buyers, rng: np.random.Generator, looks: _Looks, second: Ints) -> Ints:
    """The product of every look. All sessions advance together, one look at a time."""
    first = np.flatnonzero(looks.opens)
    length = np.diff(np.append(first, len(looks.buyer)))
    order = np.argsort(-length, kind="stable")
    first, length = first[order], length[order]
    buyer = looks.buyer[first]
    day = np.clip(second[first] / DAY, 0.0, DAYS - 1e-6)
    week = (day // 7).astype(np.int64)
    product = np.empty(len(looks.buyer), dtype=np.int64)
    slot = people.interest(rng, buyer, day)
    kind = _opening_type(market, people, rng, buyer, slot)
    current = market.pick(rng, week, people.taste(rng, buyer, kind))
    product[first] = current
    for step in range(1, int(length[0])):
        active = int(np.searchsorted(-length, -step, side="left"))
        buyer, day, week = buyer[:active], day[:active], week[:active]
        current = _next_product(market, people, rng, (buyer, day, week), slot[:active], current[:active])
        product[first[:active] + step] = current
    return product


def _opening_type(market: _Market, people: _Buyers, rng: np.random.Generator, buyer: Ints, slot: Ints) -> Ints:
    """The type a visit starts with: mostly a favourite, sometimes anything of the category or of the shop."""
    count = len(buyer)
    category = people.category[buyer, slot]
    shares = np.array([entry.weight for entry in CATEGORIES])
    roll = rng.random(count)
    category = np.where(roll < 0.05, rng.choice(len(CATEGORIES), count, p=shares / shares.sum()), category)
    anything = market.stocked[_FIRST_TYPE[category] + _draw(rng, _TYPE_SHARES, category)]
    favourite = people.favourites[buyer, slot, rng.integers(0, _FAVOURITES, count)]
    return np.where(roll < 0.2, anything, favourite)


def _next_product(
    market: _Market,
    people: _Buyers,
    rng: np.random.Generator,
    visit: tuple[Ints, Floats, Ints],
    slot: Ints,
    current: Ints,
) -> Ints:
    """Where a visit goes from the current product: a companion, a rival, a complement or elsewhere."""
    buyer, day, week = visit
    count = len(buyer)
    shelf = market.shelf
    roll = rng.random(count)
    here = shelf.kind[current]
    kind = np.where(roll < 0.62, here, market.linked(rng, here))
    favourite = people.favourites[buyer, slot, rng.integers(0, _FAVOURITES, count)]
    kind = np.where(roll >= 0.82, favourite, kind)
    other = people.interest(rng, buyer, day)
    kind = np.where(roll >= 0.92, _opening_type(market, people, rng, buyer, other), kind)
    taste = people.taste(rng, buyer, kind)
    follows = (_CATEGORY_OF[kind] == _CATEGORY_OF[here]) & (rng.random(count) < 0.6)
    taste = taste._replace(style=np.where(follows, shelf.style[current], taste.style))
    product = market.pick(rng, week, taste)
    # The first companion is followed more often than the last: a graded signal, not a fixed chain.
    nth = np.minimum((rng.random(count) ** 1.7 * _COMPANIONS).astype(np.int64), _COMPANIONS - 1)
    companion = np.where(roll < 0.28, market.complements[current, nth], market.look_alikes[current, nth])
    on_sale = shelf.launch_week[companion] <= week
    product = np.where((roll < 0.45) & on_sale, companion, product)
    again = np.flatnonzero(product == current)
    product[again] = market.pick(rng, week[again], taste.take(again))
    return product


def _restock(market: _Market, rng: np.random.Generator, looks: _Looks, second: Ints, product: Ints) -> None:
    """Turn some later looks into a repeat of an earlier purchase of something that runs out (in place)."""
    days = np.array([kind.restock_days for kind in _TYPES])[market.shelf.kind[product]]
    lane = looks.buyer * (1 << 40) + second
    bought = np.flatnonzero(looks.actions == 3)
    source = bought[(days[bought] > 0) & (rng.random(len(bought)) < 0.7)]
    due = lane[source] + (days[source] * rng.uniform(0.7, 1.3, len(source)) * DAY).astype(np.int64)
    for candidates, patience in ((bought, 24), (np.flatnonzero(looks.opens), 30)):
        place = np.searchsorted(lane[candidates], due)
        target = candidates[np.minimum(place, len(candidates) - 1)]
        fits = (place < len(candidates)) & (lane[target] >= due) & (lane[target] - due <= patience * DAY)
        product[target[fits]] = product[source[fits]]
        source, due = source[~fits], due[~fits]


def _simulate(market: _Market, buyers: int, events: int, seed: int, newest: datetime) -> _Log:
    """All events of all buyers, block by block so that memory grows with the log alone, sorted by time."""
    counts = _activity(np.random.default_rng([seed, 3]), buyers, events)
    limit = DAYS * DAY
    buyer = np.empty(events, dtype=np.int32)
    product = np.empty(events, dtype=np.int32)
    kind = np.empty(events, dtype=np.int8)
    second = np.empty(events, dtype=np.int64)
    done = 0
    for block, (low, high) in enumerate(_blocks(counts)):
        rng = np.random.default_rng([seed, 4, block])
        people = _Buyers.invite(market, rng, high - low)
        looks = _plan_looks(rng, counts[low:high], people.cart_share)
        times = _event_seconds(rng, looks, limit)
        begins = np.cumsum(looks.actions) - looks.actions
        seen = _browse(market, people, rng, looks, times[begins])
        _restock(market, rng, looks, times[begins], seen)
        of_look = np.repeat(np.arange(len(begins)), looks.actions)
        part = slice(done, done + len(of_look))
        buyer[part] = looks.buyer[of_look] + low
        product[part] = seen[of_look]
        kind[part] = np.arange(len(of_look)) - begins[of_look]
        second[part] = times
        done += len(of_look)
    order = np.lexsort((buyer, second))
    second = second[order] + int(newest.timestamp()) - limit
    second[-1] = int(newest.timestamp())
    return _Log(buyer[order], product[order], kind[order], second)


def _blocks(counts: Ints) -> Iterator[tuple[int, int]]:
    """Ranges of buyers holding about the same number of events."""
    totals = np.cumsum(counts)
    low = 0
    while low < len(counts):
        used = int(totals[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(totals, used + _BLOCK_EVENTS, side="right")))
        yield low, high
        low = high
