"""What `trainer online` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_RATES = {"click_through": "click-through", "cart_rate": "cart rate", "purchase_rate": "purchase rate"}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The summary as lines of text."""
    yield f"all: {_rates(found['all'])}"
    for column, title in (("model_version", "version"), ("slot", "slot"), ("source", "source")):
        for part in found[f"by_{column}"]:
            yield f"{title} {part[column] or '(none)'}: {_rates(part)}"
    for part in found["by_arm"]:
        yield f"{part['experiment']}, arm {part['arm']}: {_rates(part)}"
    for name, told in found["experiments"].items():
        yield from (f"{name}: {line}" for line in experiment_lines(told))


def experiment_lines(told: dict[str, Any]) -> Iterator[str]:
    """What is known of one experiment."""
    if ratio := told.get("sample_ratio"):
        counts = ", ".join(f"{arm} {count:,}" for arm, count in ratio["buyers"].items())
        alarm = "SAMPLE RATIO MISMATCH, no verdict can be trusted" if ratio["mismatch"] else "as the shares promise"
        yield f"buyers: {counts}: {alarm} (p = {ratio['p']:.2g})"
    if told.get("left_out_buyers"):
        yield f"{told['left_out_buyers']:,} buyers of several arms, or after an arm was switched off, are left out"
    for one in told.get("comparisons", ()):
        for rate, title in _RATES.items():
            yield f"{one['arm']} beside {one['beside']}: {title} {_difference(one[rate])}"
    if mixed := told.get("interleaving"):
        clicks = ", ".join(f"{arm} {count:g}" for arm, count in mixed["clicks"].items())
        yield f"{mixed['lists']:,} interleaved lists, clicked products: {clicks}"
        if mixed["credit_per_list"]:
            yield f"{mixed['arm']} beside {mixed['beside']}: credit a list {_difference(mixed['credit_per_list'])}"
    if shadow := told.get("shadow"):
        common = shadow["share_in_common"]
        shared = (
            "none of them beside a list that was shown" if common is None else f"{common:.1%} of the products shown"
        )
        yield f"{shadow['lists']:,} shadow lists of {shadow['arm']}: {shared}"


def _rates(part: dict[str, Any]) -> str:
    rates = ", ".join(f"{title} {_figure(part[name])}" for name, title in _RATES.items())
    revenue = part["revenue_per_1000_lists"]
    counts = f"{part['lists']:,} lists, {part['impressions']:,} impressions, {part['buyers']:,} buyers"
    return f"{counts}; {rates}; revenue of 1,000 lists {_figure(revenue)}"


def _figure(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['mean']:.4g} ({low:.4g} to {high:.4g})"


def _difference(told: dict[str, Any]) -> str:
    if "anytime" not in told:
        return str(told["verdict"])
    low, high = told["anytime"]
    return f"{told['difference']:+.4g} ({low:+.4g} to {high:+.4g}, at any time): {told['verdict']}"
