"""When a result counts as better."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.fit.validation import CaseValues
from trainer.tune.models import is_better

OLD = CaseValues(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.5, 0.5, 0.5]))


@pytest.mark.parametrize(
    ("metric", "recall", "expected"),
    [
        # the mean differences have standard errors of 0 and .029
        ([0.1, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0], True),
        ([0.1, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], True),
        ([0.1, 0.0, 0.0, -0.05], [0.0, 0.0, 0.0, 0.0], False),
        ([0.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1], False),
        # recall@100 falls by 1.7 errors, and by 3
        ([0.1, 0.1, 0.1, 0.1], [-0.1, -0.1, 0.0, 0.0], True),
        ([0.1, 0.1, 0.1, 0.1], [-0.1, -0.1, -0.1, 0.0], False),
    ],
)
def test_a_gain_is_more_than_an_error_and_costs_no_recall(
    metric: list[float], recall: list[float], expected: bool
) -> None:
    new = CaseValues(OLD.metric + np.array(metric), OLD.recall + np.array(recall))
    assert is_better(new, OLD) is expected
