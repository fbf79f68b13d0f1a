"""Product titles and descriptions, spelt the way sellers spell them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence

from demo.market.catalogue import (
    BLESSED_SPELLINGS,
    CATEGORIES,
    COLOURLESS,
    DELIVERY,
    FEMININE,
    Category,
    Noun,
    ProductType,
)
from demo.market.stock import CATEGORY_OF, TYPES, Shelf, identifiers

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


def product_rows(shelf: Shelf, rng: random.Random) -> Iterator[tuple[str, str, str, str]]:
    """Rows of products.csv in the order of their numbers."""
    seen: set[str] = set()
    columns = (shelf.kind, shelf.brand, shelf.style, shelf.price, shelf.in_stock)
    ids = identifiers("P", len(shelf.kind), 6).tolist()
    for product_id, kind, brand, style, price, in_stock in zip(ids, *(c.tolist() for c in columns), strict=True):
        category = CATEGORIES[int(CATEGORY_OF[kind])]
        title, description = _product_texts(rng, seen, (category, TYPES[kind], brand, style))
        metadata = {
            "brand": category.brands[brand],
            "category": category.name,
            "price": int(price) if price == int(price) else price,
            "currency": "SAR",
            "in_stock": in_stock,
            "synthetic": True,
        }
        yield product_id, title, description, json.dumps(metadata, ensure_ascii=False)
