"""Product titles and descriptions, spelled as sellers spell them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from demo.market.catalogue import Catalogue, Category, Noun, ProductType
from demo.market.stock import Shelf, identifiers

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


@dataclass(frozen=True)
class _Product:
    """What the texts of one product are written from."""

    catalogue: Catalogue
    category: Category
    kind: ProductType
    brand: str
    style: int


class _Writer:
    """Composes the texts of one product from its category's phrases."""

    def __init__(self, rng: random.Random, product: _Product) -> None:
        self._rng = rng
        self._catalogue = product.catalogue
        self._category = category = product.category
        self._kind = kind = product.kind
        self._noun: Noun = rng.choice(kind.nouns)
        self._values = {
            "t": self._noun.text,
            "d": self._noun.definite,
            "s": rng.choice(kind.specs[product.style % len(kind.specs)]),
            "f": rng.choice(kind.features),
            "z": rng.choice(kind.sizes) if kind.sizes else "",
            "b": product.brand,
            "e": kind.english,
            "n": rng.choice(category.models),
            "l": rng.choice(category.leads),
        }
        adjective, _, rest = rng.choice(category.adjectives).partition(" ")
        self._values["a"] = f"{adjective}* {rest}".strip()
        colour = rng.choice(category.colours) if kind.coloured and category.colours else ""
        self._values["C"] = colour
        self._values["c"] = f"{colour}*" if colour else ""
        # Choices are made once: title and description name the same size and model.
        self._values = {slot: self._fill(value) for slot, value in self._values.items()}

    def has_values_for(self, template: str) -> bool:
        """Whether this product has a value for every slot of the template."""
        return all(self._values[slot] for slot in _SLOT.findall(template))

    def text(self, template: str) -> str:
        """Fills the slots of the template, chooses options and makes words agree in gender."""
        template = template.replace("لون %c", "لون %C")
        text = self._fill(_SLOT.sub(lambda match: self._values[match[1]], template))
        if "[" in text:
            text = _GENDERED.sub(lambda match: match[2 if self._noun.feminine else 1], text)
        if "*" in text:
            text = _AGREEING.sub(lambda match: self._agreeing(match[1]), text)
        return text

    def _agreeing(self, word: str) -> str:
        return self._catalogue.feminine.get(word, f"{word}ة") if self._noun.feminine else word

    def _fill(self, text: str) -> str:
        return _CHOICE.sub(lambda match: self._choose(match[1]), text) if "{" in text else text

    def _choose(self, body: str) -> str:
        if "/" in body:
            return self._rng.choice(body.split("/"))
        bounds = _RANGE.fullmatch(body)
        return str(self._rng.randint(int(bounds[1]), int(bounds[2]))) if bounds else body

    def title(self, attempt: int) -> str:
        """A title of two to nine words; later attempts add brand and model, because an earlier title was taken."""
        usable = [template for template in self._category.titles if self.has_values_for(template)]
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
        """One to three sentences, most of them written for the category or the type."""
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
            chosen.append(rng.choice(self._catalogue.delivery))
        return " ".join(self.text(sentence) for sentence in dict.fromkeys(chosen))

    def _fitting(self, sentences: Sequence[str]) -> list[str]:
        """The sentences that suit this type and have a value for every slot; tagged ones twice, to be drawn more."""
        mark = f"@{self._kind.tag} "
        tagged = [sentence.removeprefix(mark) for sentence in sentences if sentence.startswith(mark)]
        plain = [sentence for sentence in sentences if not sentence.startswith("@")]
        return [sentence for sentence in tagged * 2 + plain if self.has_values_for(sentence)]


def _stretch(rng: random.Random, text: str) -> str:
    """Inserts a tatweel into one word, between two letters that join."""
    places = [
        number
        for number in range(1, len(text) - 1)
        if "ء" <= text[number - 1] <= "ي" and text[number - 1] not in _NOT_JOINING and "ا" <= text[number] <= "ي"
    ]
    if not places:
        return text
    place = rng.choice(places)
    return text[:place] + "ـ" * rng.choice((1, 1, 2, 3)) + text[place:]


def _vocalise(vocalised: Mapping[str, str], text: str) -> str:
    return " ".join(vocalised.get(word, word) for word in text.split(" "))


def _seller_spelling(rng: random.Random, vocalised: Mapping[str, str], title: str, description: str) -> tuple[str, str]:
    """Title and description as one seller spells them: about a third deviate from the dictionary."""
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
        title = _vocalise(vocalised, title)
    return title, description


def _words(title: str) -> int:
    return sum(1 for word in title.split() if word not in {"-", "|"})


def _product_texts(rng: random.Random, seen: set[str], product: _Product) -> tuple[str, str]:
    """Title and description. The title is new, unless nine attempts gave none; it is added to `seen`."""
    best = ("", "")
    for attempt in range(9):
        writer = _Writer(rng, product)
        title = writer.title(attempt)
        if not 2 <= _words(title) <= 9:
            continue
        best = _seller_spelling(rng, product.catalogue.vocalised, title, writer.description())
        if best[0] not in seen:
            break
    if not best[0]:
        best = writer.text("%t %b"), writer.description()
    seen.add(best[0])
    return best


def product_rows(shelf: Shelf, rng: random.Random) -> Iterator[tuple[str, str, str, str]]:
    """Rows of products.csv in the order of their numbers."""
    assortment = shelf.assortment
    seen: set[str] = set()
    columns = (shelf.kind, shelf.brand, shelf.style, shelf.price, shelf.in_stock)
    ids = identifiers("P", len(shelf.kind), 6).tolist()
    for product_id, kind, brand, style, price, in_stock in zip(ids, *(c.tolist() for c in columns), strict=True):
        category = assortment.categories[int(assortment.category_of[kind])]
        product = _Product(
            assortment.catalogue, category, assortment.types[kind], brand=category.brands[brand], style=style
        )
        title, description = _product_texts(rng, seen, product)
        metadata = {
            "brand": product.brand,
            "category": category.name,
            "price": int(price) if price == int(price) else price,
            "currency": "SAR",
            "in_stock": in_stock,
            "synthetic": True,
        }
        yield product_id, title, description, json.dumps(metadata, ensure_ascii=False)
