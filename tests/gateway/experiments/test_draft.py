"""Team draft interleaving."""

from __future__ import annotations

from collections import Counter

from gateway.experiments.draft import draft


def drafted(first: str, second: str, k: int, seed: str = "x") -> tuple[str, str]:
    """The products of a draft, and their teams."""
    lists = {"A": first, "B": second}
    picks = draft(first, second, k, seed)
    return "".join(lists[team][place] for team, place in picks), "".join(team for team, _ in picks)


def test_each_team_takes_its_best_product_that_is_left() -> None:
    found = {drafted("abc", "bde", 4, str(seed)) for seed in range(64)}
    # by hand: A first or B first in each of two rounds; b is the second choice of A after a, and the first of B
    assert found == {("abcd", "ABAB"), ("abdc", "ABBA"), ("bacd", "BAAB"), ("badc", "BABA")}


def test_a_list_that_is_at_its_end_leaves_the_rest_to_the_other() -> None:
    for seed in range(16):
        products, teams = drafted("a", "abcd", 4, str(seed))
        assert (sorted(products), teams.count("A") <= 1) == (list("abcd"), True)
        assert drafted("", "ab", 5, str(seed)) == ("ab", "BB")
        assert drafted("ab", "ab", 9, str(seed))[0] in ("ab", "ba")
    assert drafted("", "", 3) == ("", "")


def test_odd_places_go_to_both_teams_equally_often_and_a_seed_says_how() -> None:
    counts = Counter(team for seed in range(2000) for team in drafted("abc", "def", 3, str(seed))[1])
    assert abs(counts["A"] - 3000) < 110  # 2000 coins decide the third place: five standard deviations
    assert drafted("abc", "def", 3, "r1") == drafted("abc", "def", 3, "r1")
