"""The vocabulary of the synthetic market: what catalogue.yaml holds, and the checks of it.

The head of catalogue.yaml explains the markup of phrases and nouns. `demo.market.titles` resolves it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twotower.errors import TwoTowerError

CATALOGUE = Path(__file__).with_name("catalogue.yaml")
_SEPARATOR = "؛"
_PROBLEMS = {"missing": "is missing", "extra_forbidden": "is not a known field"}


class CatalogueError(TwoTowerError):
    """A catalogue file is wrong; the message has one line for each problem, with category, type and field."""


class Noun(BaseModel):
    """A product noun; `feminine` drives agreement, `definite` is the form with the article."""

    text: str
    definite: str
    feminine: bool


def split_phrases(text: object) -> object:
    """The alternatives of a phrase list as a tuple. A value that is no text stays, and validation refuses it."""
    if not isinstance(text, str):
        return text
    return tuple(part.strip() for part in text.split(_SEPARATOR) if part.strip())


def parse_nouns(text: object) -> object:
    """The nouns of a phrase list. A value that is no text stays, and validation refuses it."""
    phrases = split_phrases(text)
    return tuple(_noun(phrase) for phrase in phrases) if isinstance(phrases, tuple) else phrases


def _noun(marked: str) -> Noun:
    """Parses the markup of one noun: `_` joins an adjective, `~` a tail without the article, `:f` feminine."""
    text = marked.removesuffix(":f")
    head, _, tail = text.partition("~")
    *construct, last = head.split(" ")
    definite = " ".join([*construct, " ".join(_with_article(word) for word in last.split("_"))])
    plain = text.replace("_", " ").replace("~", " ")
    return Noun(text=plain, definite=f"{definite} {tail}".strip(), feminine=text != marked)


def _with_article(word: str) -> str:
    return word if word.startswith("ال") and len(word) > 5 else f"ال{word}"


Phrases = Annotated[tuple[str, ...], BeforeValidator(split_phrases)]
Nouns = Annotated[tuple[Noun, ...], BeforeValidator(parse_nouns), Field(min_length=1)]
SomePhrases = Annotated[Phrases, Field(min_length=1)]
Sentences = Annotated[tuple[str, ...], Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
ForEachStyle = Annotated[tuple[Positive, ...], Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProductType(_Entry):
    """One kind of product.

    `price` is the typical price in riyals, and `restock_days` is 0 for durable goods. A `tag` admits the sentences of
    the category with that tag. `coloured` is false if a colour would be odd or would contradict the material. `links`
    gives the types that a buyer tends to look at next, with relative weights.
    """

    nouns: Nouns
    english: str
    price: Positive
    weight: Positive
    restock_days: int = Field(0, ge=0)
    tag: str = ""
    coloured: bool = True
    specs: Annotated[tuple[SomePhrases, ...], Field(min_length=1)]
    features: SomePhrases
    sizes: Phrases = ()
    notes: Sentences
    links: Annotated[dict[str, Positive], Field(min_length=1)]


class Category(_Entry):
    """One department of the marketplace with its own brands, phrases and styles.

    `style_weights` and `style_prices` (factors of the price) have one entry for each style. `near` gives the categories
    in which the same people tend to shop.
    """

    name: str
    weight: Positive
    style_weights: ForEachStyle
    style_prices: ForEachStyle
    near: tuple[str, ...]
    brands: SomePhrases
    adjectives: SomePhrases
    colours: Phrases = ()
    leads: SomePhrases
    models: SomePhrases
    titles: Sentences
    openers: Sentences
    details: Sentences
    types: Annotated[dict[str, ProductType], Field(min_length=1)]


class Catalogue(_Entry):
    """The whole vocabulary; catalogue.yaml explains each part of it."""

    feminine: dict[str, str]
    vocalised: dict[str, str]
    delivery: Sentences
    categories: Annotated[dict[str, Category], Field(min_length=1)]


@functools.cache
def load_catalogue() -> Catalogue:
    """The catalogue of the demo market, read once."""
    return read_catalogue(CATALOGUE)


def read_catalogue(path: Path) -> Catalogue:
    """Reads and checks a catalogue. Raises CatalogueError if a field is missing, unknown or wrong."""
    try:
        content = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise CatalogueError(f"{path}: {error}") from None
    try:
        catalogue = Catalogue.model_validate(content)
    except ValidationError as error:
        problems = [f"{_place(problem['loc'])} {_explain(problem)}" for problem in error.errors()]
    else:
        problems = list(_inconsistencies(catalogue))
    if problems:
        raise CatalogueError("\n".join(f"{path}: {problem}" for problem in problems))
    return catalogue


def _place(location: tuple[int | str, ...]) -> str:
    """The category, type and field of an error's location, e.g. `category spices, type cumin, field links.clove`."""
    rest, names = list(location), []
    for level, name in (("categories", "category"), ("types", "type")):
        if len(rest) >= 2 and rest[0] == level:
            names.append(f"{name} {rest[1]}")
            rest = rest[2:]
    if rest:
        names.append(f"field {'.'.join(map(str, rest))}")
    return ", ".join(names) or "the file"


def _explain(problem: Any) -> str:
    return _PROBLEMS.get(problem["type"]) or f"is {problem['input']!r}: {problem['msg']}"


def _inconsistencies(catalogue: Catalogue) -> Iterator[str]:
    """Problems between fields that are each right."""
    owners: dict[str, str] = {}
    for key, category in catalogue.categories.items():
        for name in category.types:
            if name in owners:
                yield f"category {key}, type {name}: category {owners[name]} has a type of this name too"
            owners[name] = key
    for key, category in catalogue.categories.items():
        styles = len(category.style_weights)
        if len(category.style_prices) != styles:
            yield (
                f"category {key}, field style_prices has {len(category.style_prices)} entries, "
                f"style_weights has {styles}: each style needs both"
            )
        for near in category.near:
            if near not in catalogue.categories or near == key:
                yield f"category {key}, field near names {near!r}, which is no other category"
        for name, kind in category.types.items():
            place = f"category {key}, type {name}"
            if len(kind.specs) not in {1, styles}:
                yield f"{place}, field specs has {len(kind.specs)} entries; give 1 or {styles}, one for each style"
            for link in kind.links:
                if link not in owners or link == name:
                    yield f"{place}, field links names {link!r}, which is no other type"
