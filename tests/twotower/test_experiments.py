"""experiments.yaml: what is accepted, what is refused, and who is in which arm."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from twotower.errors import SettingsError
from twotower.experiments import (
    Assignment,
    Experiment,
    Experiments,
    arm_named_by,
    place_of,
    read_experiments,
    recommendation_id,
)

TWO = """
experiments:
  - name: new-model
    slots: [home]
    arms:
      - {name: control, share: 0.5}
      - {name: new, share: 0.3, version: 20260101T120000Z-0a1b2c3d, settings: {diversity: 0.2}}
    guardrails: {min_click_ratio: 0.7}
  - {name: mixed, kind: interleave, share: 0.1, arms: [{name: a}, {name: b, version: v2}]}
"""


def read(folder: Path, text: str) -> Experiments:
    path = folder / "experiments.yaml"
    path.write_text(text)
    return read_experiments(path)


def split(*shares: float, **fields: object) -> Experiment:
    arms = [{"name": f"a{place}", "share": share} for place, share in enumerate(shares)]
    return Experiment.model_validate({"name": "test", "arms": arms, **fields})


def test_a_file_names_experiments_arms_and_versions(tmp_path: Path) -> None:
    found = read(tmp_path, TWO)
    new, mixed = found.experiments
    assert (new.kind, new.control.name, new.arms[1].settings.given()) == ("split", "control", {"diversity": 0.2})
    assert (new.guardrails.min_click_ratio, new.guardrails.min_lists) == (0.7, 500)
    assert new.covers("home") and not new.covers("basket") and not new.covers(None)
    assert mixed.covers("basket") and mixed.covers(None)
    assert found.versions() == ["20260101T120000Z-0a1b2c3d", "v2"]
    assert read(tmp_path, "").experiments == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("experiments: [", "is not YAML"),
        ("experiments: [{name: Ünique, arms: []}]", "experiments.0.name: .*, not 'Ünique'"),
        ("experiments: [{name: x, arms: [{name: a, share: 0.6}, {name: b, share: 2}]}]", "arms.1.share: .*, not 2"),
        ("experiments: [{name: x, arms: [{name: a, share: 0.6}, {name: b, share: 0.5}]}]", "are 1.1 together"),
        ("experiments: [{name: x, arms: [{name: a, share: 0.6}, {name: b}]}]", "the arm b has no share"),
        ("experiments: [{name: x, arms: [{name: a, share: 0.6}, {name: a, share: 0.1}]}]", "the arm a stands there"),
        ("experiments: [{name: x, kind: shadow, arms: [{name: a}, {name: b}, {name: c}]}]", "shadow takes two arms"),
        ("experiments: [{name: x, kind: shadow, arms: [{name: a, share: 1}, {name: b}]}]", "the arm a has a share"),
        ("experiments: [{name: x, arms: [{name: a, share: 1, colour: red}]}]", "colour: .* not permitted"),
        ("experiments: [{name: x, share: 1, arms: [{name: a, share: 1}, {name: b, share: 1}]}]", "a share in each arm"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(tmp_path, text)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_experiments(tmp_path / "none.yaml")


def test_a_place_is_the_first_53_bits_of_the_salted_hash() -> None:
    digest = hashlib.blake2b("salt\0ليلى".encode(), digest_size=8).hexdigest()
    assert place_of("salt", "ليلى") == (int(digest, 16) // 2**11) / 2**53
    assert 0 <= place_of("salt", "ليلى") < 1


def test_shares_are_kept_and_salts_are_independent() -> None:
    buyers = [f"b{number}" for number in range(20_000)]
    arms = {one: split(0.5, 0.3).arm_of(one) for one in buyers}
    found = Counter(arm.name if arm else None for arm in arms.values())
    for name, share in (("a0", 0.5), ("a1", 0.3), (None, 0.2)):
        assert abs(found[name] / 20_000 - share) < 0.015  # more than four standard errors
    # who is in a1 here is in a1 there as often as anybody
    other = split(0.5, 0.3, salt="other")
    both = sum(1 for one, arm in arms.items() if arm and arm.name == "a1" and other.arm_of(one) == arm)
    assert abs(both / found["a1"] - 0.3) < 0.025


def test_a_canary_that_grows_keeps_its_buyers() -> None:
    few, more = split(0.95, 0.05), split(0.8, 0.2)
    buyers = [f"b{number}" for number in range(2000)]
    canaries = {one for one in buyers if few.arm_of(one) == few.arms[1]}
    assert canaries and canaries < {one for one in buyers if more.arm_of(one) == more.arms[1]}
    # shares of all buyers leave nobody out, however they add up
    thirds = split(1 / 3, 1 / 3, 1 / 3)
    assert all(thirds.arm_of(one) for one in buyers)


def test_a_changed_arm_is_another_experiment_and_a_changed_guardrail_is_not() -> None:
    one = split(0.5, 0.5)
    assert split(0.5, 0.5, guardrails={"min_lists": 7}).digest() == one.digest()
    assert split(0.5, 0.4).digest() != one.digest() != split(0.5, 0.5, salt="s").digest()


def test_a_list_id_says_which_arm_it_is_of() -> None:
    assert recommendation_id("r1", None) == "r1"
    named = recommendation_id("r~1", Assignment("new-model", "control"))
    assert named == "r~1~new-model~control" and arm_named_by(named) == ("new-model", "control")
    assert arm_named_by("r1") is None
    # no longer than an id may be
    assert recommendation_id("r" * 120, Assignment("new-model", "control")) == "r" * 120
