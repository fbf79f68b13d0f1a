"""Which products belong to which shard of the retrieval service."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple


class Rows(NamedTuple):
    """The rows from `first` to `stop` - 1."""

    first: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True)
class Shard:
    """The part `number` (from 0) of `count` parts of a version's products."""

    number: int = 0
    count: int = 1

    def rows(self, products: int) -> Rows:
        """The rows of this part, of all rows of `products`: a range, at most one longer than any other."""
        return Rows(self.number * products // self.count, (self.number + 1) * products // self.count)

    def holds_id(self, product_id: str) -> bool:
        """Whether a product that stands beside the rows belongs to this part."""
        return order_of(product_id) % self.count == self.number

    def __str__(self) -> str:
        return f"shard {self.number} of {self.count}"


WHOLE = Shard()


def order_of(product_id: str) -> int:
    """The same number from 0 to 2^62 - 1 for the same id in every process: the place among products without rows."""
    return int.from_bytes(hashlib.blake2b(product_id.encode(), digest_size=8).digest(), "little") >> 2
