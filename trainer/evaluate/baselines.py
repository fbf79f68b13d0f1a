"""The baselines: simple recommenders, fitted on the training events of the tested model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from trainer.data.events import Events
from trainer.data.gram import gram_matrix, invert, mirror
from trainer.data.matrix import history_matrix, item_similarities, training_matrix
from trainer.data.popularity import buyer_counts, recent_counts
from trainer.data.split import Cases
from trainer.data.transitions import TransitionSettings, transition_matrix
from trainer.errors import DataError
from twotower.arrays import Float32, Int64

# returns the scores [B, N] of B cases
Scorer = Callable[[Cases], Float32]

# item-kNN reads this many latest interactions and multiplies the weight by this factor at each step back
_LAST, _DECAY = 50, 0.8
# the same for transitions
_LAST_TRANSITIONS, _TRANSITION_DECAY = 10, 0.5
_TRANSITIONS = TransitionSettings(
    steps=10,
    decay=0.8,
    reverse=0.2,
    source_power=0.5,
    target_power=0.3,
    max_gap_days=None,
    kind_power=0.0,
    keep=100,
    repeats=False,
)
# half-life of recent popularity
_RECENT_DAYS = 15.0


def popularity_scorer(share: Float32) -> Scorer:
    """Gives every buyer the same scores."""
    return lambda cases: np.broadcast_to(share, (len(cases), len(share)))


def recent_popularity_scorer(events: Events, train_stop: Int64, products: int) -> Scorer:
    """Popularity of late: a buyer counts once for each product, half as much for each 15 days since."""
    return popularity_scorer(recent_counts(events, train_stop, products, _RECENT_DAYS))


def item_knn_scorer(events: Events, train_stop: Int64, products: int) -> Scorer:
    """Item-kNN: cosine of products over the training matrix, summed over the last 50 interactions.

    Each interaction weighs 0.8 of the next newer one.
    """
    similar = item_similarities(events, train_stop, products)

    def score(cases: Cases) -> Float32:
        scores: Float32 = (history_matrix(events, cases, products, _LAST, _DECAY) @ similar).toarray()
        return scores

    return score


def transitions_scorer(events: Events, train_stop: Int64, products: int) -> Scorer:
    """How often other buyers took a product after those of this history, summed over the last 10 interactions.

    Each interaction weighs half of the next newer one. Knows the 100 best followers of each product.
    """
    table = transition_matrix(events, train_stop, products, _TRANSITIONS)

    def score(cases: Cases) -> Float32:
        histories = history_matrix(events, cases, products, _LAST_TRANSITIONS, _TRANSITION_DECAY)
        scores: Float32 = (histories @ table).toarray()
        return scores

    return score


def bought_before_scorer(events: Events, train_stop: Int64, products: int) -> Scorer:
    """The products of a history, those that it has most often first, then the popular ones."""
    popular = buyer_counts(events, train_stop, products)
    # below 1: whatever the buyer has had comes first
    after = popular / max(float(popular.max(initial=0)) + 1, 1)
    longest = int(np.diff(events.start).max(initial=1))

    def score(cases: Cases) -> Float32:
        scores: Float32 = history_matrix(events, cases, products, longest, 1.0).toarray()
        return scores + after

    return score


def ease_scorer(events: Events, train_stop: Int64, products: int, l2: float) -> Scorer:
    """EASE: a linear autoencoder with a zero diagonal, in closed form.

    A history is a set: order and repetition do not count. Holds one float32 matrix [N, N]. Raises DataError if the item
    matrix is singular. Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data".
    """
    gram = gram_matrix(training_matrix(events, train_stop, products))
    try:
        invert(gram, l2)
    except DataError as error:
        raise DataError(f"EASE, evaluation.ease_l2: {error}") from error
    mirror(gram)
    weights = gram.T  # [N, N] in row-major order: scipy would copy the other order for every chunk
    weights /= -np.diag(weights).copy()
    weights[np.diag_indices(products)] = 0

    def score(cases: Cases) -> Float32:
        sizes = cases.cut - cases.start
        rows = np.repeat(np.arange(len(cases)), sizes)
        columns = np.concatenate([events.product[a:b] for a, b in zip(cases.start, cases.cut, strict=True)])
        histories = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(cases), products))
        histories.data[:] = 1  # scipy has summed the duplicates
        return np.asarray(histories @ weights, np.float32)

    return score
