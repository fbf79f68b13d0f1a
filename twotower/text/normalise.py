"""Arabic-aware normalisation and the text of an item, shared by training and serving.

Profile `light` is for pretrained encoders, which were trained on raw text; `full` is for the catalogue encoder.
The steps follow Unicode (UAX #15 for NFKC) and the usual orthographic normalisation of Arabic retrieval
(Larkey, Ballesteros and Connell, SIGIR 2002).
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import asdict, dataclass

# Harakat, Quranic marks, superscript alef, extended Arabic marks; and the spacing small waw and yeh
_MARKS = re.compile(
    "[\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0898-\u089f\u08ca-\u08e1\u08e3-\u08ff]"
)
_TATWEEL = "\u0640"
# Zero-width characters, bidi controls, other format controls, lone surrogates, noncharacters
_INVISIBLE = (
    "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
)
# Presentation forms of lone marks: NFKC puts them on a space, which cuts a word in two.
_LONE_MARKS = "\ufc5e-\ufc63\ufe70\ufe72\ufe74\ufe76\ufe78\ufe7a\ufe7c\ufe7e"
_DROPPED = re.compile(f"[{_INVISIBLE}{_LONE_MARKS}]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# Only elements of HTML are tags: "<Type-C>" and "مقاس<L ... >" are words of a shop.
_ELEMENTS = (
    "a abbr address article aside audio b big blockquote body br button caption center cite code col colgroup dd del "
    "div dl dt em embed fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe "
    "img input ins kbd label legend li link main mark meta nav noscript object ol optgroup option p param path "
    "picture pre q s script section select small source span strike strong style sub summary sup svg table tbody td "
    "textarea tfoot th thead title tr tt u ul video wbr"
)
_TAG = re.compile(rf"</?(?:{_ELEMENTS.replace(' ', '|')})(?=[\s/>])[^<>]*>", re.ASCII | re.IGNORECASE)
_MARKUP = re.compile(r"[<>&;]")
_SPACE = re.compile(r"\s+")
# Words that no step changes, whatever the settings: letters that nothing folds, with single spaces between.
_SETTLED = re.compile("[a-zءؤئابت-غف-وي]+(?: [a-zءؤئابت-غف-وي]+)*")
_DIGITS = {ord(c): str(i) for zero in "٠۰" for i, c in enumerate(chr(ord(zero) + n) for n in range(10))}
_ALEF = {ord(c): "ا" for c in "أإآٱٲٳٵ"}
_LETTERS = {ord("ک"): "ك", ord("ی"): "ي", ord("ى"): "ي", ord("ە"): "ه", ord("ہ"): "ه", ord("ۀ"): "ه"}
_SEPARATORS = {ord("٫"): ".", ord("٬"): ",", ord("،"): ",", ord("؛"): ";", ord("٪"): "%"}
# Digits and separators of Arabic and Persian script, as ASCII.
NUMERALS = {**_DIGITS, **_SEPARATORS}
_STANDARD = {**_ALEF, **_LETTERS, **NUMERALS}
# Variant shapes of letters, and sounds that Gulf, Iraqi and Egyptian shops write with either letter. This merges some
# words of Persian and Urdu; a shop in these languages keeps its letters with `encoder.normaliser: light`.
_SHAPES = {ord("ھ"): "ه", ord("ڪ"): "ك", ord("ۃ"): "ة", ord("ۂ"): "ه", ord("ے"): "ي", ord("ں"): "ن"}
_SOUNDS = {ord("پ"): "ب", ord("چ"): "ج", ord("ڤ"): "ف", ord("ژ"): "ز", ord("گ"): "ك"}
_WITH_VARIANTS = {**_STANDARD, **_SHAPES, **_SOUNDS}
# NFKC attaches these signs to the digits before them: "1½" becomes 11⁄2, and "10²" becomes 102.
_SIGN = re.compile("[²³¹⁰⁴-⁹¼½¾\u2150-\u215f\u2189]")
_RAISED = re.compile(r"(?<=\w)(?<![²³¹⁰⁴-⁹])(?=[²³¹⁰⁴-⁹⅟])")
_FRACTION = re.compile(r"(\d?)([¼½¾\u2150-\u215e\u2189])(?=(\w?))")
_DECIMALS = {sign: f"{unicodedata.numeric(sign):g}".removeprefix("0") for sign in "¼½¾⅕⅖⅗⅘⅒⅛⅜⅝⅞"}
_WITH_COMMAS = re.compile(r"(?<![0-9])(?<![0-9]\.)[0-9]+(?:\.[0-9]+)*(?:,[0-9]+(?:\.[0-9]+)*)+")
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
# One name for each unit, as spelled after folding. No single letters: 4L may be a clothing size, 5G is a network.
_UNIT_NAMES = {
    "مل": "ml",
    "كجم": "kg|كغ|كغم|كيلو|كيلوجرام|كيلوغرام|كيلوكرام|كيلو جرام|كيلو غرام",
    "جرام": "gm|غم|جم|غرام|كرام",
    "سم": "cm",
    "مم": "mm|ملم",
    "جيجا": "gb|جيجابايت|جيجا بايت|قيقا|قيقابايت|قيقا بايت|جيقا|جيقابايت|جيقا بايت|غيغابايت|غيغا بايت",
    "تيرا": "tb|تيرابايت|تيرا بايت",
    "بوصة": "inch|انش",
    "لتر": "ليتر|liter|litre",
}
_UNITS = {name: unit for unit, names in _UNIT_NAMES.items() for name in names.split("|")}
# "5 كيلو متر" is not a weight.
_KILO = "كيلو(?! (?:متر|واط|وات|هرتز|بايت|كالوري|سعر[اهة]))"
# Whole words, the longest first.
_UNIT_NAME = "|".join(_KILO if name == "كيلو" else name for name in sorted(_UNITS, key=len, reverse=True))
_UNIT = re.compile(rf"([0-9] ?)({_UNIT_NAME})(?!\w)")


@dataclass(frozen=True)
class Normaliser:
    """A text normaliser; its settings are part of the encoder's hash.

    Always cleaned: compatibility forms, tatweel, marks, invisible characters, HTML and white space.

    - `letters`: lower-cases, and folds alef forms, Persian and final letters, digits and separators.
    - `teh_marbuta`: folds ة to ه.
    - `variants` (needs `letters`): also folds variant shapes of letters and letters for sounds that Arabic lacks (پ to
      ب); writes numbers in one form (1½ and ١،٥ as 1.5, 1,500 as 1500, 38,39,40 as a list) and the units after them by
      one name (5 kg as 5 كجم).
    """

    letters: bool = True
    teh_marbuta: bool = True
    variants: bool = False

    def __post_init__(self) -> None:
        if self.variants and not self.letters:
            raise ValueError("variants=True needs letters=True")

    @classmethod
    def profile(cls, name: str) -> Normaliser:
        """The normaliser of `light` or `full`. Raises ValueError for any other name."""
        profiles = {"light": cls(letters=False, teh_marbuta=False), "full": cls(variants=True)}
        if name not in profiles:
            raise ValueError(f"normaliser profile {name!r} is unknown; known: {', '.join(profiles)}")
        return profiles[name]

    def settings(self) -> dict[str, bool]:
        return asdict(self)

    def __call__(self, text: str) -> str:
        """The normalised text: idempotent, never raises, never empty if `text` has a letter or digit."""
        if _SETTLED.fullmatch(text):
            return text
        cleaned = self._to_fixed_point(text, markup=True)
        if _holds_word(cleaned):
            return cleaned
        # All of it looked like markup ("<b>", "&nbsp;"): the words are better than no text.
        plain = self._to_fixed_point(text, markup=False)
        return plain if _holds_word(plain) else cleaned

    def _to_fixed_point(self, text: str, markup: bool) -> str:
        # One step may give another one work ("&amp;lt;" -> "&lt;" -> "<"); each round shortens or settles the text.
        while (result := self._once(text, markup)) != text:
            text = result
        return text

    def _once(self, text: str, markup: bool) -> str:
        text = _DROPPED.sub("", text)
        if self.variants and _SIGN.search(text):
            text = _FRACTION.sub(_decimal, _RAISED.sub(" ", text))
        text = unicodedata.normalize("NFKC", text)
        if markup:
            if "&" in text:
                text = html.unescape(text)
            if "<" in text:
                text = _TAG.sub(" ", _COMMENT.sub(" ", text))
        else:
            text = _MARKUP.sub(" ", text)
        text = _MARKS.sub("", text.replace(_TATWEEL, ""))
        text = _SPACE.sub(" ", _CONTROL.sub(" ", text)).strip()
        if self.letters:
            text = text.lower().translate(_WITH_VARIANTS if self.variants else _STANDARD)
        if self.variants:
            text = _measured(text)
        return text.replace("ة", "ه") if self.teh_marbuta else text


def item_text(title: str, description: str) -> str:
    """The text of an item whose description is read, before normalisation."""
    return f"{title} {description}".strip()


def title_text(title: str, description: str) -> str:
    """The text of an item whose description is not read: the title; the description only if there is no title."""
    return title.strip() or description.strip()


def searched_words(text: str) -> str:
    """The words of a search without the signs around them: "«خاتم ذهب»؟" and "#خاتم_ذهب" become "خاتم ذهب".

    Signs distinguish titles, but not what a shopper wants. A sign stays inside a word ("5W-30", "1.5"), and "+" or "%"
    after a digit ("SPF 50+"). A text without letters and digits becomes "".
    """
    if "ـ" not in text and text.replace(" ", "").isalnum():
        return " ".join(text.split())
    kept = [
        " " if unicodedata.category(character)[0] in "PS" and not _within_word(text, place) else character
        for place, character in enumerate(text)
    ]
    return _SPACE.sub(" ", "".join(kept)).strip() if _holds_word(text) else ""


def _within_word(text: str, place: int) -> bool:
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if text[place] in "+%٪" and before.isdigit():
        return True
    # A sign between two Arabic words separates them.
    joined = before.isalnum() and after.isalnum() and text[place] != "_"
    return joined and (before.isascii() or before.isdigit() or after.isascii() or after.isdigit())


def _decimal(found: re.Match[str]) -> str:
    """The decimal of a fraction sign with the digit before it; the sign after a space if no decimal is exact."""
    digit, sign, after = found.groups()
    space = " " if after else ""
    if sign in _DECIMALS:
        return (digit or " 0") + _DECIMALS[sign] + space
    return f"{digit} {sign}{space}"


def _without_commas(found: re.Match[str]) -> str:
    """A number without commas: they separate thousands (also one comma before three digits), decimals or a list."""
    number = found[0]
    if _THOUSANDS.fullmatch(number):
        return number.replace(",", "")
    alone = number.count(",") == 1 and "." not in number
    return number.replace(",", "." if alone else " ")


def _measured(text: str) -> str:
    """Folded text with numbers without commas, and one name for each unit after a number."""
    if "," in text:
        text = _WITH_COMMAS.sub(_without_commas, text)
    return _UNIT.sub(lambda found: found[1] + _UNITS[found[2]], text)


def _holds_word(text: str) -> bool:
    # the tatweel counts as a letter in Unicode, and says nothing by itself
    return any(character.isalnum() and character != "ـ" for character in text)
