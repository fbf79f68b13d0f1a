"""Titles within sentences: what a browser may break over lines."""

from __future__ import annotations

from explorer.rendering import with_whole_titles


def test_a_title_of_the_other_direction_stays_whole_with_its_quotes() -> None:
    shown = with_whole_titles("Because you viewed “\u2068خاتم ذهب\u2069” and you bought “Ring <21>”")
    assert shown == (
        'Because you viewed <span class="quoted">“\u2068خاتم ذهب\u2069”</span> and you bought “Ring &lt;21&gt;”'
    )
    assert with_whole_titles("لأنك شاهدت «\u2068LG & 2\u2069»") == (
        'لأنك شاهدت <span class="quoted">«\u2068LG &amp; 2\u2069»</span>'
    )
