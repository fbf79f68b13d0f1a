"""The synonym files: their groups, a shop's own file over them, and words replaced by them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path

import pytest

from item_service.query.expansion import Expansions, expand
from item_service.query.known_words import KnownWords
from item_service.query.query import Alternative, Query
from item_service.query.shop_synonyms import ShopSynonyms
from item_service.query.synonyms import ONE_WAY, TWO_WAY, Synonym, Synonyms, shipped_lines
from twotower.errors import InvalidInput


def of(*files: str) -> Synonyms:
    return Synonyms.of(*(enumerate(text.splitlines(), start=1) for text in files))


def test_two_way_and_one_way_groups() -> None:
    synonyms = of("جوال، موبايل\nكفر > إطار، جراب # a tyre or a case")
    assert synonyms.get("موبايل") == (Synonym("جوال", TWO_WAY),)
    assert synonyms.get("الجوال") == (Synonym("موبايل", TWO_WAY),)
    assert synonyms.get("كفر") == (Synonym("اطار", ONE_WAY), Synonym("جراب", ONE_WAY))
    assert synonyms.get("جراب") == ()


def test_a_later_file_adds_and_takes_out() -> None:
    synonyms = of("جوال، موبايل، تلفون", "-تلفون\nجوال، خليوي")
    assert {one.text for one in synonyms.get("جوال")} == {"موبايل", "خليوي"}
    assert synonyms.get("تلفون") == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [("جوال", "holds one word only"), ("> جوال", "no group"), ("جوال >", "no group"), ("!، ؟", "no group")],
)
def test_a_line_that_is_no_group_is_named(line: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=rf"line 2: .*{problem}"):
        of(f"جوال، موبايل\n{line}")


def test_the_file_that_ships_holds_hundreds_of_groups_without_repeating_a_line() -> None:
    lines = [line.strip() for _, line in shipped_lines() if line.strip() and not line.startswith("#")]
    assert len(lines) > 500
    assert [line for line, count in Counter(lines).items() if count > 1] == []
    synonyms = Synonyms.of(shipped_lines())
    assert "جوال" in {one.text for one in synonyms.get("تلفون")}
    # كفر finds tyres and phone cases, and neither finds it alone
    assert {"اطار", "جراب"} <= {one.text for one in synonyms.get("كفر")}
    assert "كفر" not in {one.text for one in synonyms.get("جراب")}


def test_a_word_that_no_title_has_is_replaced(known: KnownWords, synonyms: Synonyms) -> None:
    found = expand(Query("", "تلفون lumora"), Expansions(known, synonyms))
    assert found.text == "جوال lumora"
    assert [(change.step, change.before, change.after) for change in found.changes] == [
        ("synonyms", "تلفون lumora", "جوال lumora")
    ]


def test_a_word_of_the_catalogue_stays_and_gets_alternatives(known: KnownWords, synonyms: Synonyms) -> None:
    found = expand(Query("", "عبايه سوداء"), Expansions(known, synonyms))
    assert (found.text, found.changes) == ("عبايه سوداء", ())
    # no title says "اسود"
    assert found.alternatives == {}
    assert expand(Query("", "كفر"), Expansions(known, synonyms)).text == "اطار"


def test_an_english_phrase_is_turned_around(known: KnownWords, synonyms: Synonyms) -> None:
    assert expand(Query("", "gold ring"), Expansions(known, synonyms)).text == "خاتم ذهب"
    assert expand(Query("", "smart watch"), Expansions(known, synonyms)).text == "ساعه ذكيه"


def test_alternatives_of_an_earlier_step_stay_the_best_first(known: KnownWords, synonyms: Synonyms) -> None:
    query = Query("", "خاتم", alternatives={"خاتم": (Alternative("خواتم", 0.5),)})
    assert expand(query, Expansions(known, synonyms)).alternatives == query.alternatives


def test_a_shops_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "synonyms.txt"
    path.write_text("زولية، بساط", encoding="utf-8")
    shop = ShopSynonyms(path)
    assert not shop.poll()
    assert "بساط" in {one.text for one in shop.current.get("زولية")}
    path.write_text("زولية، سجادة فارسية", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert shop.poll()
    assert "سجاده فارسيه" in {one.text for one in shop.current.get("زولية")}
    path.write_text("زولية", encoding="utf-8")
    os.utime(path, ns=(2, 2))
    before = shop.current
    with caplog.at_level(logging.ERROR):
        assert not shop.poll()
    assert shop.current is before and "line 1" in caplog.text


def test_a_shops_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        ShopSynonyms(tmp_path / "none.txt")


def test_a_word_in_a_group_has_only_its_own_synonyms_whatever_its_stem() -> None:
    synonyms = of("شمعة، شموع\nشمعات، بواجي")
    assert {one.text for one in synonyms.get("شمعات")} == {"بواجي"}
    assert {one.text for one in synonyms.get("الشمعة")} == {"شموع"}
    # another form of both
    assert {one.text for one in synonyms.get("شمعاتها")} == {"شموع", "بواجي"}
    assert synonyms.get("شمعاتها", in_other_forms=False) == ()
