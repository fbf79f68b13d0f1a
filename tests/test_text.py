"""The normaliser: every rule by example, and the three promises (idempotent, never raises, never loses a text)."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twotower.text import Normaliser, item_text, searched_words

LIGHT, FULL = Normaliser.profile("light"), Normaliser.profile("full")
KEEP_TEH = Normaliser(letters=True, teh_marbuta=False)
# what encoders saved before `variants` was known have
OLD = Normaliser(letters=True, teh_marbuta=True)

# rule, text, light, full
CASES = [
    ("presentation forms", "\ufe94\ufea9\ufeb1", "\u0629\u062f\u0633", "\u0647\u062f\u0633"),
    ("lam-alef ligature", "\ufefb", "لا", "لا"),
    ("full-width Latin", "ＡＢ１", "AB1", "ab1"),
    ("a currency ligature", "\ufdfc", "ریال", "ريال"),
    ("tatweel", "خـــاتم", "خاتم", "خاتم"),
    ("harakat", "خَاتِمُ ذَهَبٍ", "خاتم ذهب", "خاتم ذهب"),
    ("shadda and sukun", "شدّة سكْون", "شدة سكون", "شده سكون"),
    ("superscript alef", "هٰذا", "هذا", "هذا"),
    ("Quranic marks", "قل\u06d6 هو\u06e2 الله\u0615", "قل هو الله", "قل هو الله"),
    ("extended Arabic marks", "كتا\u08d4ب\u08f0", "كتاب", "كتاب"),
    ("the rest of the extended Arabic marks", "كتا\u0898ب\u089f ذه\u08caب\u08d2", "كتاب ذهب", "كتاب ذهب"),
    ("marks in presentation form", "خ\ufe76اتم ذ\ufe70\ufe72ه\ufe74ب\ufe78", "خاتم ذهب", "خاتم ذهب"),
    ("more of them", "خ\ufe7aا\ufe7cتم\ufe7e", "خاتم", "خاتم"),
    ("shadda with a mark in presentation form", "شد\ufc60ه \ufc5eس\ufc63كر", "شده سكر", "شده سكر"),
    ("tatweel with a mark in presentation form", "خ\ufe71ا\ufe77تم", "خاتم", "خاتم"),
    ("zero-width space", "خا\u200bتم", "خاتم", "خاتم"),
    ("zero-width joiners", "خا\u200cت\u200dم", "خاتم", "خاتم"),
    ("byte order mark", "\ufeffخاتم", "خاتم", "خاتم"),
    ("bidi marks", "\u200fخاتم\u200e \u061cذهب", "خاتم ذهب", "خاتم ذهب"),
    ("bidi embeddings and isolates", "\u202bخاتم\u202c \u2067ذهب\u2069", "خاتم ذهب", "خاتم ذهب"),
    ("soft hyphen", "gold\u00aden", "golden", "golden"),
    ("variation selector", "هدية\ufe0f", "هدية", "هديه"),
    ("lone surrogate", "خا\ud800تم", "خاتم", "خاتم"),
    ("alef with hamza above", "أسورة", "أسورة", "اسوره"),
    ("alef with hamza below", "إطار", "إطار", "اطار"),
    ("alef with madda", "آلة", "آلة", "اله"),
    ("alef wasla", "ٱلذهب", "ٱلذهب", "الذهب"),
    ("high-hamza and wavy alefs", "ٲٳ", "ٲٳ", "اا"),
    ("hamza on its own and on waw and yeh stay", "ماء مؤمن بئر", "ماء مؤمن بئر", "ماء مؤمن بئر"),
    ("Persian keheh", "کتاب", "کتاب", "كتاب"),
    ("Persian yeh", "شای", "شای", "شاي"),
    ("final alef maksura", "مستشفى", "مستشفى", "مستشفي"),
    ("Arabic-Indic digits", "١٢٣٤٥٦٧٨٩٠", "١٢٣٤٥٦٧٨٩٠", "1234567890"),
    ("extended Arabic-Indic digits", "۱۲۳۴۵۶۷۸۹۰", "۱۲۳۴۵۶۷۸۹۰", "1234567890"),
    ("Arabic decimal and thousands signs", "١٬٢٣٤٫٥", "١٬٢٣٤٫٥", "1,234.5"),
    ("Arabic comma, semicolon and percent", "أ، ب؛ ٥٪", "أ، ب؛ ٥٪", "ا, ب; 5%"),
    ("lower case", "iPhone 15 PRO", "iPhone 15 PRO", "iphone 15 pro"),
    ("tags", "<p>خاتم<br/>ذهب</p>", "خاتم ذهب", "خاتم ذهب"),
    ("tags with attributes", '<a href="x">سلسال</a> <IMG src=y>', "سلسال", "سلسال"),
    ("tags in capitals and with controls", "<H2>خاتم</H2><BR\n/><uL><Li class=a>ذهب", "خاتم ذهب", "خاتم ذهب"),
    ("a name of no element is no tag", "كيبل شحن <Type-C> سريع", "كيبل شحن <Type-C> سريع", "كيبل شحن <type-c> سريع"),
    ("nor one that begins like one", "<b2> <a-b> </pen>", "<b2> <a-b> </pen>", "<b2> <a-b> </pen>"),
    ("smaller than a Latin size", "مقاس<L خاتم ذهب> جديد", "مقاس<L خاتم ذهب> جديد", "مقاس<l خاتم ذهب> جديد"),
    ("a tag that only NFKC shows", "خاتم＜ｂ＞ذهب", "خاتم ذهب", "خاتم ذهب"),
    ("a tag that only folding shows", "خاتم<h٢>ذهب", "خاتم<h٢>ذهب", "خاتم ذهب"),
    ("comments", "خاتم<!-- draft <b> -->ذهب", "خاتم ذهب", "خاتم ذهب"),
    ("entities", "قهوة &amp; تمر&nbsp;&quot;فاخر&quot;", 'قهوة & تمر "فاخر"', 'قهوه & تمر "فاخر"'),
    ("numeric entities", "&#1582;&#x627;تم", "خاتم", "خاتم"),
    ("entities escaped twice", "&amp;lt;b&amp;gt;خاتم&amp;lt;/b&amp;gt;", "خاتم", "خاتم"),
    ("a smaller-than sign is no tag", "5 < 7 خاتم", "5 < 7 خاتم", "5 < 7 خاتم"),
    ("whitespace", "  خاتم \t\r\n\u00a0\u2003ذهب  ", "خاتم ذهب", "خاتم ذهب"),
    ("control characters separate", "خاتم\x00ذهب\x07\x9fفضة", "خاتم ذهب فضة", "خاتم ذهب فضه"),
    ("teh marbuta", "مجوهرات نسائية فاخرة", "مجوهرات نسائية فاخرة", "مجوهرات نسائيه فاخره"),
    ("nothing", "", "", ""),
    ("nothing but marks", "\u064b\u0640\u200f ", "", ""),
]


@pytest.mark.parametrize(("text", "light", "full"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_rule(text: str, light: str, full: str) -> None:
    assert LIGHT(text) == light
    assert FULL(text) == full


@pytest.mark.parametrize("text", ["<خاتم>", "<b>", "<script>x</script>", "<img خاتم>", "<!-- خاتم -->", "<a1>"])
def test_a_text_that_is_all_markup_keeps_its_words(text: str) -> None:
    for normalise in (LIGHT, FULL):
        assert any(character.isalnum() for character in normalise(text))


# rule, text, old settings, full
VARIANTS = [
    ("heh doachashmee", "ھدية", "ھديه", "هديه"),
    ("swash kaf", "ڪتاب", "ڪتاب", "كتاب"),
    ("teh marbuta goal", "هديۃ", "هديۃ", "هديه"),
    ("heh goal with hamza", "هديۂ", "هديۂ", "هديه"),
    ("yeh barree", "ساعے", "ساعے", "ساعي"),
    ("noon ghunna", "زيتوں", "زيتوں", "زيتون"),
    ("peh", "پيجامة", "پيجامه", "بيجامه"),
    ("tcheh", "چاكيت", "چاكيت", "جاكيت"),
    ("veh", "ڤانيليا", "ڤانيليا", "فانيليا"),
    ("jeh", "ژيل", "ژيل", "زيل"),
    ("gaf", "گلاس", "گلاس", "كلاس"),
    ("presentation forms of such letters", "\ufb58\ufb7a\ufb6a\ufb8a\ufb92\ufbaa", "پچڤژگھ", "بجفزكه"),
]


@pytest.mark.parametrize(("text", "old", "full"), [one[1:] for one in VARIANTS], ids=[one[0] for one in VARIANTS])
def test_variant(text: str, old: str, full: str) -> None:
    assert OLD(text) == old
    assert FULL(text) == full


def test_teh_marbuta_is_a_setting() -> None:
    assert KEEP_TEH("أسورة") == "اسورة"
    assert FULL("أسورة") == "اسوره"
    assert Normaliser(letters=True, teh_marbuta=False, variants=True)("هديۃ") == "هدية"


def test_spellings_of_one_title_become_one() -> None:
    spellings = ["أسورة ذهب ٢١", "اسورة ذهب 21", "أســورةٌ ذهـب ۲۱", "<b>اسوره</b> &nbsp;ذهب\u200f 21"]
    assert {FULL(text) for text in spellings} == {"اسوره ذهب 21"}


def test_profiles_and_their_settings() -> None:
    assert LIGHT.settings() == {"letters": False, "teh_marbuta": False, "variants": False}
    assert FULL.settings() == {"letters": True, "teh_marbuta": True, "variants": True}
    assert Normaliser(**FULL.settings()) == FULL
    older = {"letters": True, "teh_marbuta": True}  # as encoder.json had them
    assert Normaliser(**older) == OLD != FULL
    with pytest.raises(ValueError, match="variants are folded only where letters are"):
        Normaliser(letters=False, variants=True)
    with pytest.raises(ValueError, match="'ful' is unknown; known: light, full"):
        Normaliser.profile("ful")


def test_the_item_text_is_title_space_description() -> None:
    assert item_text("خاتم", "ذهب عيار 21") == "خاتم ذهب عيار 21"
    assert item_text("خاتم", "") == "خاتم"
    assert item_text("", "ذهب") == "ذهب"


# letters of every kind that a rule touches, so that random texts hit the rules; any character at all beside them
RULED = st.sampled_from(
    [*"".join(case[1] for case in CASES + VARIANTS), "&lt;", "&gt;", "&amp;", "<b>", "</b>", "<!--", "-->"]
)
TEXTS = st.lists(st.one_of(RULED, st.characters(codec=None)), max_size=30).map("".join)
ANY = st.one_of(TEXTS, st.text(st.characters(exclude_categories=())))
PROFILES = st.sampled_from([LIGHT, FULL, OLD, KEEP_TEH, Normaliser(letters=False, teh_marbuta=True)])


@given(ANY, PROFILES)
@settings(max_examples=400, deadline=None)
@example("&#38;lt;b&#38;gt;", FULL)
@example("\ud800\udfff", LIGHT)
@example("İ", FULL)
@example("ᾼ", FULL)
@example("<" * 50, FULL)
def test_normalising_twice_changes_nothing_and_never_raises(text: str, normalise: Normaliser) -> None:
    once = normalise(text)
    assert normalise(once) == once
    once.encode("utf-8")  # nothing that UTF-8 cannot hold is left


@given(ANY, PROFILES)
@settings(max_examples=400, deadline=None)
@example("<a>", FULL)
@example("&nbsp;", FULL)
@example("&shy;", FULL)
@example("&zwj;", FULL)
@example("<!--٣-->", LIGHT)
@example("&#x200b;", FULL)
@example("ۥ", FULL)
def test_a_text_that_holds_a_letter_or_digit_is_never_emptied(text: str, normalise: Normaliser) -> None:
    # a mark or a tatweel alone is no text, though Unicode calls some of them letters
    plain = re.sub("[\u0640\u06e5\u06e6\u08c9]", "", unicodedata.normalize("NFKC", text))
    if any(character.isalnum() for character in plain):
        assert any(character.isalnum() for character in normalise(text))


@given(ANY)
@settings(max_examples=100, deadline=None)
def test_what_is_left_holds_no_controls_and_no_runs_of_space(text: str) -> None:
    result = FULL(text)
    assert result == " ".join(result.split())
    assert not [one for one in result if unicodedata.category(one) in {"Cc", "Cs"}]
    assert not set("أإآٱکیىـةً٠۰ھڪۃۂےںپچڤژگ") & set(result)


def test_a_hostile_text_is_settled_in_few_rounds() -> None:
    # each round undoes one level of escaping: the number of rounds is what must stay small, not the text
    text = "خاتم &" + "amp;" * 2000 + "lt;b>"
    assert FULL(text).startswith("خاتم")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("خاتم ذهب؟", "خاتم ذهب"),
        ("«خاتم ذهب»", "خاتم ذهب"),
        ("#خاتم_ذهب", "خاتم ذهب"),
        ("✨خاتم ذهب✨ 💍", "خاتم ذهب"),
        ("- خاتم - ذهب -", "خاتم ذهب"),
        ("عباية،سوداء", "عباية سوداء"),
        ("زيت محرك 5W-30", "زيت محرك 5W-30"),
        ("شاحن Type-C (65W)", "شاحن Type-C 65W"),
        ("ترمس 1.5 لتر", "ترمس 1.5 لتر"),
        ("ترمس ١٫٥ لتر", "ترمس ١٫٥ لتر"),
        ("SPF 50+ واقي", "SPF 50+ واقي"),
        ("خصم 20%!", "خصم 20%"),
        ("خَاتَمُ ذَهَبٍ.", "خَاتَمُ ذَهَبٍ"),
        ("!؟", ""),
        ("😀", ""),
        ("َُِ", ""),
    ],
)
def test_a_search_is_its_words_without_the_signs_around_them(typed: str, words: str) -> None:
    assert searched_words(typed) == words
    assert searched_words(words) == words
