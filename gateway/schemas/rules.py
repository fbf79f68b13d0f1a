"""The requests and answers of the admin API about rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.answers import ProductOut
from gateway.schemas.fields import Buyer, Id, Slot, Strict, Words
from gateway.schemas.rule import MAX_RULES, Rule

_RuleList = Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)]


class RulesBody(Strict):
    """PUT /rules: all rules. `version`: the one that they are a change of."""

    rules: _RuleList
    version: Annotated[int, Field(strict=True, ge=0)]
    note: Annotated[str, Field(max_length=500)] = ""


class UndoBody(Strict):
    """POST /rules/undo: the version whose rules come back, as a new version."""

    version: Annotated[int, Field(strict=True, ge=0)]
    note: Annotated[str, Field(max_length=500)] = ""


class PreviewBody(Strict):
    """POST /rules/preview: a list with the rules in force and with these. At most one of the three is named.

    Without one, the list is that of popular products. `route`: instead of /retrieve the buyer's list of /again, instead
    of /similar the product's of /together, instead of popular products those of /trending.
    """

    rules: _RuleList
    slot: Slot = "home"
    buyer_id: Buyer | None = None
    query: Words | None = None
    product_id: Id | None = None
    route: Literal["again", "together", "trending"] | None = None
    k: Annotated[int, Field(strict=True, ge=1, le=100)] = 10

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [name for name in ("buyer_id", "query", "product_id") if getattr(self, name) is not None]
        if len(named) > 1:
            raise PydanticCustomError("refused", "{problem}", {"problem": f"names {' and '.join(named)}; name one"})
        wanted = {"again": "buyer_id", "together": "product_id", "trending": "none of the three"}
        if self.route is not None and (named or ["none of the three"]) != [wanted[self.route]]:
            problem = f"of /{self.route} names {named[0] if named else 'nothing'}; name {wanted[self.route]}"
            raise PydanticCustomError("refused", "{problem}", {"problem": problem})
        return self


class RuleWarningOut(Strict):
    """A rule that has no effect or contradicts another. `line`: of rules.yaml, null for rules that are in no file."""

    rule: str
    line: int | None
    message: str


class RulesAnswer(Strict):
    """The rules in force. `version`: 0 before the first change; for a file, how often it was read."""

    version: int
    source: Literal["file", "redis"]
    rules: list[dict[str, Any]]
    warnings: list[RuleWarningOut]
    request_id: str


class RulesVersionOut(Strict):
    """One version of the rules; `at`: ISO time, `who`: the name of the key that wrote it."""

    version: int
    at: str
    who: str
    note: str
    rules: list[dict[str, Any]]


class RulesHistoryAnswer(Strict):
    """The kept versions, newest first."""

    versions: list[RulesVersionOut]
    request_id: str


class PreviewedProduct(ProductOut):
    """`placed_by`: the rule that moved the product to its place, null if the model did."""

    score: float
    placed_by: str | None = None


class PreviewAnswer(Strict):
    """Both lists, with the details of their products."""

    before: list[PreviewedProduct]
    after: list[PreviewedProduct]
    warnings: list[RuleWarningOut]
    request_id: str
