"""The report's wording: the headline, names of systems and metrics, and numbers in their units."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime

from trainer.evaluate.gate import GATE_BASELINES
from trainer.evaluate.slices import script
from trainer.model.terms import TermChoice
from trainer.report import charts
from trainer.report.tables import BaselineComparison

_NO_BREAK = "\u00a0"
_METRICS = {
    "coverage@10": "Catalogue covered",
    "popularity@10": "Popularity of recommended products",
    "new@10": "New products recommended",
}
_VERDICTS = {"better": "better than", "unclear": "no clear difference from", "worse": "worse than"}


def headline(comparisons: Sequence[BaselineComparison]) -> str:
    """Says in one line if the model is better than the baselines."""
    if not comparisons:
        return "Not tested: no buyer has enough events"
    parts = []
    for verdict, words in _VERDICTS.items():
        if names := [prose_name(one.name) for one in comparisons if one.verdict == verdict]:
            parts.append(f"{words} {_enumerate(names)}")
    line = "; ".join(parts)
    return line[0].upper() + line[1:]


def prose_name(system: str) -> str:
    """Returns a system's name as it stands inside a sentence."""
    name = charts.SYSTEMS[system].name
    return name if name.isupper() else name[0].lower() + name[1:]


def gate_baselines(test: Container[str]) -> str:
    """Names the tested baselines that the gate compares with: `popularity, item-kNN or transitions`."""
    return _enumerate([prose_name(name) for name in GATE_BASELINES if name in test], "or")


def _enumerate(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def percent(value: float, digits: int = 1) -> str:
    """Writes a share in per cent, without a line break before the sign."""
    return f"{100 * value:.{digits}f}{_NO_BREAK}%"


def relative(share: float) -> str:
    """Writes a difference as a share of what it is compared with: `+25 %`, or `12.4 ×` from five times on."""
    if share >= 4:
        return f"{1 + share:,.1f}{_NO_BREAK}×"
    return f"{100 * share:+.0f}{_NO_BREAK}%".replace("-", "−")


def direction(text: str) -> str:
    """Returns `rtl` for a text with Arabic letters: `auto` would left-align a title that begins with a Latin brand."""
    return "rtl" if script(text) in {"Arabic", "mixed"} else "auto"


def shown_metric(metric: str) -> str:
    """Returns a metric's name for the reader."""
    return _METRICS.get(metric) or charts.shown_metric(metric)


def shown_value(value: float, metric: str) -> str:
    """Writes a value in the unit of its metric: a share, a number of events, or a score."""
    if metric in {"coverage@10", "new@10"}:
        return percent(value)
    return f"{value:,.0f}" if metric == "popularity@10" else f"{value:.3f}"


def template_filters() -> dict[str, Callable[..., str]]:
    """Returns the filters that the template uses, by name."""
    return {
        "score": lambda value: f"{value:.3f}",
        "cosine": lambda value: f"{value:.2f}".replace("-", "−"),
        "signed": lambda value: f"{value:+.3f}".replace("-", "−"),
        "percent": percent,
        "relative": relative,
        "terms": lambda choice: TermChoice(**choice).describe(),
        "count": lambda value: f"{value:,.0f}",
        "day": lambda ms: f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}",
        "metric": shown_metric,
        "prose": prose_name,
        "direction": direction,
        "value": shown_value,
    }
