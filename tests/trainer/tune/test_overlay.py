"""The file that a search writes."""

from __future__ import annotations

from pathlib import Path

from trainer.config.loading import load_config
from trainer.tune.overlay import to_yaml
from trainer.tune.search import Outcome, StageResult

NEIGHBOURS = StageResult(
    stage="neighbours",
    trials=31,
    pruned=0,
    before=0.212,
    best=0.2331,
    settings={"neighbours.steps": 5, "neighbours.step_weight": 0.8},
    configured={"neighbours.steps": 10, "neighbours.step_weight": 0.5, "neighbours.reverse": 0.2},
)
LINEAR = StageResult("linear", 12, 0, 0.2331, 0.2335, {}, {"linear.l2": 300.0})
SOFTMAX = StageResult(
    stage="softmax",
    trials=4,
    pruned=2,
    before=0.2331,
    best=0.24,
    settings={"training.learning_rate": 0.00005, "model.vector_dropout": 0.3},
    configured={"training.learning_rate": 0.002, "model.vector_dropout": 0.4},
)


def test_each_changed_setting_has_its_old_value_and_both_figures(tmp_path: Path) -> None:
    text = to_yaml(Outcome("ndcg@10", 2480, 0.212, [NEIGHBOURS, LINEAR, SOFTMAX]))
    assert (
        text
        == """\
# Written by `python -m trainer tune`: lay it over the same configuration with --config.
# ndcg@10 0.2400 on the 2,480 validation buyers who did not guide the search, 0.2120 with the configuration.
# neighbours: 31 trials, 0 of them pruned; 0.2120 before, 0.2331 with the best
# linear: 12 trials, 0 of them pruned; none gains more than one standard error (0.2331 before, 0.2335 the best)
# softmax: 4 trials, 2 of them pruned; 0.2331 before, 0.2400 with the best
neighbours:
  steps: 5  # 10 before; ndcg@10 0.2331 with the settings of this stage, 0.2120 without
  step_weight: 0.8  # 0.5 before; ndcg@10 0.2331 with the settings of this stage, 0.2120 without
training:
  learning_rate: 5e-05  # 0.002 before; ndcg@10 0.2400 with the settings of this stage, 0.2331 without
model:
  vector_dropout: 0.3  # 0.4 before; ndcg@10 0.2400 with the settings of this stage, 0.2331 without
"""
    )
    path = tmp_path / "tuned.yaml"
    path.write_text(text)
    config = load_config([path])
    assert (config.neighbours.steps, config.neighbours.step_weight, config.model.vector_dropout) == (5, 0.8, 0.3)
    assert config.training.learning_rate == 0.00005


def test_a_search_without_a_gain_changes_nothing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "tuned.yaml"
    idle = SOFTMAX._replace(trials=1, pruned=0, best=0.212, before=0.212, settings={})
    path.write_text(to_yaml(Outcome("recall@10", 40, 0.212, [LINEAR, idle])))
    said = path.read_text()
    assert "# Nothing gains over the configuration: recall@10 0.2120 on the 40 validation buyers" in said
    assert "# softmax: not searched, the time was up\n" in said
    assert load_config([path]) == load_config()
