"""The file that a search leaves: the settings that gain, to be laid over the configuration."""

from __future__ import annotations

from typing import Any

from trainer.tune.search import Outcome, StageResult


def to_yaml(outcome: Outcome) -> str:
    """A YAML file of the settings that gain, each with the figures with and without its stage's settings."""
    sections: dict[str, list[str]] = {}
    for stage in outcome.stages:
        for key, value in stage.settings.items():
            section, name = key.split(".")
            before = _number(stage.configured[key])
            figures = f"{outcome.metric} {stage.best:.4f} with the settings of this stage, {stage.before:.4f} without"
            sections.setdefault(section, []).append(f"  {name}: {_number(value)}  # {before} before; {figures}")
    lines = [f"# {line}" for line in _heading(outcome)]
    for section, settings in sections.items():
        lines += [f"{section}:", *settings]
    return "\n".join(lines) + "\n"


def _heading(outcome: Outcome) -> list[str]:
    buyers = f"on the {outcome.judges:,} validation buyers who did not guide the search"
    if any(stage.settings for stage in outcome.stages):
        first = f"{outcome.metric} {outcome.after:.4f} {buyers}, {outcome.before:.4f} with the configuration."
    else:
        first = f"Nothing gains over the configuration: {outcome.metric} {outcome.before:.4f} {buyers}."
    return ["Written by `python -m trainer tune`: lay it over the same configuration with --config.", first] + [
        _describe(stage) for stage in outcome.stages
    ]


def _describe(stage: StageResult) -> str:
    trials = f"{stage.stage}: {stage.trials} trials, {stage.pruned} of them pruned"
    if stage.settings:
        return f"{trials}; {stage.before:.4f} before, {stage.best:.4f} with the best"
    if stage.trials <= 1:
        return f"{stage.stage}: not searched, the time was up"
    return f"{trials}; none gains more than one standard error ({stage.before:.4f} before, {stage.best:.4f} the best)"


def _number(value: Any) -> str:
    return f"{value:g}"
