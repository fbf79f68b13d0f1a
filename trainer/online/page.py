"""The online figures as HTML: a page of their own, or a section of a version's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainer.online.wording import experiment_lines
from twotower.artifact.fsync import write_atomically


def write_page(path: Path, found: dict[str, Any]) -> None:
    """Writes a page that loads nothing else. Raises OSError."""
    text = _environment().get_template("page.html").render(section=section(found))
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def section(found: dict[str, Any]) -> Markup:
    """The figures of `summarise` as one section. Names of arms and slots are untrusted: the template escapes them."""
    verdicts = [(name, list(experiment_lines(told))) for name, told in found["experiments"].items()]
    return Markup(_environment().get_template("section.html").render(found=found, verdicts=verdicts))


def _environment() -> Environment:
    loader = PackageLoader("trainer.online")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
