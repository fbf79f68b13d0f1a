"""Settings of the item service: TWOTOWER_ITEM_<FIELD>."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from item_service.query.understanding import STEPS
from twotower.serving.settings import ServiceSettings


class ItemSettings(ServiceSettings):
    """The settings of every service, the longest text that may be encoded, and how queries are understood."""

    max_text: int = Field(
        20_000, ge=1, description="maximum characters of title and description together, of brand, and of category"
    )
    synonyms: Annotated[Path | None, BeforeValidator(lambda value: value or None)] = Field(
        None, description="file of the shop's own synonyms, laid over those that ship; read again when it changes"
    )
    query_steps: str = Field(
        ",".join(STEPS), description="the steps that understand queries, separated by commas; empty for none"
    )

    @field_validator("query_steps")
    @classmethod
    def _check_steps(cls, value: str) -> str:
        unknown = [step for step in _split(value) if step not in STEPS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no step; known: {', '.join(STEPS)}")
        return value

    @property
    def steps(self) -> tuple[str, ...]:
        return _split(self.query_steps)


def _split(steps: str) -> tuple[str, ...]:
    return tuple(step.strip() for step in steps.split(",") if step.strip())
