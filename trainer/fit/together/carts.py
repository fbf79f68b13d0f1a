"""Weights that add up over a cart: how much each product of it speaks for another one, beside the rest.

Ten products of one series in a cart say nearly the same. Sums of lifts would count it ten times; the weights of a ridge
regression do not. For each product, it is regressed on those that it is a complement of, over all baskets and sessions
(SLIM's model, Ning and Karypis 2011, in closed form and on few columns, as EASE, Steck 2019, solves it on all).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from trainer.config.schema import Together
from trainer.fit.together.groups import Shopping

# products whose pairs are added up at once
_ROWS = 16_384


def cart_weights(lists: sparse.csr_matrix, gram: sparse.csr_matrix, ridges: Sequence[float]) -> list[sparse.csr_matrix]:
    """Weights [N, N] for the entries of `lists` [N, N], from 0: row a, column b is what a says for b.

    `gram` [N, N]: see `upper_gram`. A ridge is added to its diagonal; there is one answer for each.
    """
    columns = lists.tocsc()
    found = np.zeros((len(ridges), columns.nnz))
    for target in range(columns.shape[1]):
        part = slice(columns.indptr[target], columns.indptr[target + 1])
        sources = columns.indices[part]
        if len(sources):
            rows = np.append(sources, target)
            half = gram[rows][:, rows].toarray()
            whole = half + half.T - np.diag(half.diagonal())
            system, wanted = whole[:-1, :-1], whole[:-1, -1]
            for place, ridge in enumerate(ridges):
                found[place, part] = np.linalg.solve(system + ridge * np.eye(len(sources)), wanted)
    return [
        sparse.csc_matrix((np.maximum(one, 0.0), columns.indices, columns.indptr), shape=columns.shape).tocsr()
        for one in found
    ]


def upper_gram(shopping: Shopping, settings: Together) -> sparse.csr_matrix:
    """The weight of the groups that hold both products [N, N], of one product on the diagonal.

    Those of sessions weigh `session_weight`. Both halves are equal, and gigabytes of a large shop: the lower is left
    out.
    """
    size, parts = shopping.baskets.members.shape[1], []
    for groups, share in zip(shopping, (1.0, settings.session_weight), strict=True):
        weights = sparse.diags(share * groups.weights(settings.size_power))
        parts.append((groups.members.T.tocsr() @ weights, groups.members))
    # both parts of a large shop take gigabytes, and so would their sum beside them
    indices, data, sizes = np.empty(0, np.int32), np.empty(0), [np.zeros(1, np.int64)]
    for first in range(0, size, _ROWS):
        products = [by_product[first : first + _ROWS] @ members for by_product, members in parts]
        rows = sparse.triu(sum(products[1:], products[0]), k=first, format="csr")
        done = len(data)
        # the system moves a large array without a copy
        indices.resize(done + rows.nnz, refcheck=False)
        data.resize(done + rows.nnz, refcheck=False)
        indices[done:], data[done:] = rows.indices, rows.data
        sizes.append(np.diff(rows.indptr))
    return sparse.csr_matrix((data, indices, np.cumsum(np.concatenate(sizes))), shape=(size, size))
