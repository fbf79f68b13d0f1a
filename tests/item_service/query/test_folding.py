"""Names are folded word by word, as they would be folded whole."""

from __future__ import annotations

import pytest

from item_service.query.query import fold, fold_name


@pytest.mark.parametrize(
    "name",
    [
        "خاتم ذهب",
        "  خـــاتم   ذَهَبٌ أصلي ",
        "Lumora PRO",
        "100 مل",
        "عطر 100 ml",
        "قهوة <b>عربية</b>",
        "R&amp;B كفر",
        "ﷺ",
        "",
    ],
)
def test_a_name_is_folded_as_its_text_is(name: str) -> None:
    assert fold_name(name) == fold(name)
