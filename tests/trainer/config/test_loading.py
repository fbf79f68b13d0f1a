"""The configuration: one place for defaults, and whatever cannot be used is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.helpers.small_shop import OFFLINE, SMALL
from trainer.config.loading import DEFAULTS, load_config
from twotower.errors import SettingsError


def refused(*assignments: str, files: tuple[Path, ...] = ()) -> str:
    with pytest.raises(SettingsError) as caught:
        load_config(files, assignments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_zero_threads_are_one_for_each_core_that_the_process_may_use() -> None:
    assert load_config([], ["threads=3"]).thread_count == 3
    allowed = os.sched_getaffinity(0)
    try:
        assert load_config().thread_count == len(allowed)
        os.sched_setaffinity(0, {min(allowed)})
        assert load_config().thread_count == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_floats_in_lists_and_mappings_are_read_as_floats_are() -> None:
    # YAML reads 1e-1 as a text, and 1 as an integer
    config = load_config(
        [],
        [
            "linear.half_lives_days=[1e1, 0]",
            "linear.trend_weights=[1e-1, 1]",
            "linear.cold_lengths=[1e-1, 1]",
            "linear.blend_weights=[5e-1]",
            "data.event_weights={View: 1e-1, AddToCart: 5, Purchase: 1e1}",
            "evaluation.text_pairs=[{one: a, two: b, above: 1e-1}, {one: a, two: b, below: 1}]",
        ],
    )
    linear = config.linear
    assert (linear.half_lives_days, linear.trend_weights, linear.cold_lengths) == ([10.0, 0.0], [0.1, 1.0], [0.1, 1.0])
    assert linear.blend_weights == [0.5]
    assert config.data.event_weights == {"View": 0.1, "AddToCart": 5.0, "Purchase": 10.0}
    assert [(one.above, one.below) for one in config.evaluation.text_pairs] == [(0.1, None), (None, 1.0)]


def test_a_setting_that_the_run_may_find_is_auto_or_a_boolean() -> None:
    assert load_config().evaluation.exclude_seen == "auto"
    assert load_config([], ["evaluation.exclude_seen=true"]).evaluation.exclude_seen is True
    assert load_config([], ["training.repeat_targets=false"]).training.repeat_targets is False
    assert load_config().encoder.descriptions == "auto"
    for given, found in (("auto", False), ("true", True), ("false", False)):
        config = load_config([], [f"encoder.descriptions={given}"]).settle_descriptions(False)
        assert config.encoder.reads_descriptions is found
    message = refused("evaluation.exclude_seen=maybe")
    assert message == "evaluation.exclude_seen='maybe': must be auto, true or false"


def test_threads_are_bounded_by_the_machine_that_is_to_run_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert load_config([], ["threads=16"]).thread_count == 16
    # A small machine can read the configuration of a large one, but not start its threads.
    large = load_config([], ["threads=1024"])
    with pytest.raises(SettingsError, match="threads 1024: must be 0 to 16, eight for each core of this machine"):
        _ = large.thread_count
    assert refused("threads=1025").startswith("threads=1025: ")
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert large.thread_count == 1024


def test_the_defaults_are_those_of_production() -> None:
    config = load_config()
    assert config.encoder.name == "paraphrase-multilingual-MiniLM-L12-v2"
    assert not config.encoder.is_catalogue_encoder and config.encoder.profile == "light"
    assert config.model.dimension == 384
    assert config.data.event_weights == {"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0}
    assert list(config.data.event_weights) == ["View", "AddToCart", "Purchase"]
    columns = config.data.event_columns
    assert (columns.buyer, columns.product, columns.event, columns.time) == (
        "distinct_id",
        "product_id",
        "event_name",
        "created_at",
    )
    assert config.data.max_reject_share == 0.05


def test_the_offline_file_changes_the_encoder_and_nothing_else() -> None:
    usual, offline = load_config().model_dump(), load_config([Path(OFFLINE)]).model_dump()
    assert offline["encoder"].pop("name") == "catalogue"
    usual["encoder"].pop("name")
    assert offline == usual
    assert load_config([Path(OFFLINE)]).encoder.profile == "full"


def leaves(node: yaml.Node, path: str = "") -> list[tuple[str, int]]:
    """Every value that is no section, with its line."""
    if isinstance(node, yaml.MappingNode) and node.value:
        return [found for key, value in node.value for found in leaves(value, f"{path}.{key.value}".lstrip("."))]
    return [(path, node.start_mark.line)]


# Settings whose names say enough; their section has the comment.
SPEAK_FOR_THEMSELVES = (
    "data.event_columns.",
    "data.product_columns.",
    "data.metadata_paths.",
    "data.event_weights.",
)


def test_every_setting_has_a_comment() -> None:
    lines = DEFAULTS.read_text(encoding="utf-8").splitlines()
    bare = [
        path
        for path, line in leaves(yaml.compose("\n".join(lines)))
        if "#" not in lines[line] and not path.startswith(SPEAK_FOR_THEMSELVES)
    ]
    assert bare == []


SECTIONS = [
    "",
    "data",
    "data.event_columns",
    "data.product_columns",
    "data.metadata_paths",
    "encoder",
    "encoder.catalogue",
    "model",
    "training",
    "linear",
    "neighbours",
    "own",
    "prior",
    "evaluation",
    "index",
    "search",
    "searches",
    "again",
    "trending",
    "together",
    "publish",
    "paths",
]


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_is_named_at_every_level(section: str, tmp_path: Path) -> None:
    key = f"{section}.nonsense".lstrip(".")
    assert f"unknown key {key}" in refused(f"{key}=1")
    content: object = {"nonsense": 1}
    for part in reversed(section.split(".") if section else []):
        content = {part: content}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    assert refused(files=(path,)).startswith(f"{path}: unknown key {key}")


def test_every_section_of_the_file_is_in_the_list_above() -> None:
    def walk(content: dict[str, object], path: str = "") -> set[str]:
        inner = {f"{path}.{key}".lstrip("."): value for key, value in content.items() if isinstance(value, dict)}
        free = {"data.event_names", "data.event_weights", "data.event_filter", "data.product_filter"}
        return {path}.union(*(walk(value, key) for key, value in inner.items() if key not in free))

    assert walk(yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))) == set(SECTIONS)


def test_a_near_miss_is_suggested() -> None:
    assert "did you mean training.max_epochs?" in refused("training.max_epoch=1")


WRONG = [
    ("seed=x", "seed='x'"),
    ("seed=-1", "seed=-1"),
    ("seed=1.5", "seed=1.5"),
    ("device=tpu", "device='tpu'"),
    ("threads=-1", "threads=-1"),
    ("data.delimiter=';;'", "data.delimiter=';;'"),
    ("data.delimiter=", "data.delimiter=''"),
    ("data.delimiter=''", "data.delimiter=''"),
    ("data.delimiter='", "the value is not YAML"),
    ("data.event_weights={}", "data.event_weights"),
    ("data.event_weights={View: 0}", "data.event_weights.View"),
    ("data.event_weights={View: -1}", "data.event_weights.View=-1"),
    ("data.event_weights={View: .nan}", "data.event_weights.View=nan"),
    ("data.event_weights={View: true}", "data.event_weights.View=True"),
    ("data.event_weights=5", "data.event_weights=5"),
    ("data.event_names={buy: Sale}", "event_names maps 'buy' to 'Sale'"),
    ("data.max_reject_share=1.01", "data.max_reject_share=1.01"),
    ("encoder.name=", "encoder.name=''"),
    ("encoder.normaliser=fulll", "encoder.normaliser='fulll'"),
    ("encoder.max_length=0", "encoder.max_length=0"),
    ("encoder.parity_tolerance=0", "encoder.parity_tolerance=0"),
    ("encoder.catalogue.ngram_min=5", "ngram_min 5 is above ngram_max 4"),
    ("encoder.catalogue.buckets=3", "encoder.catalogue.buckets=3"),
    ("encoder.catalogue=small", "this is a section, not a value"),
    ("model=3", "this is a section, not a value"),
    ("model.dimension=384.5", "model.dimension=384.5"),
    ("model.dimension='384'", "model.dimension='384'"),
    ("model.dimension=0", "model.dimension=0"),
    ("model.dimension=true", "model.dimension=True"),
    ("model.brand_embedding=1", "model.brand_embedding=1"),
    ("model.brand_embedding=maybe", "model.brand_embedding='maybe'"),
    ("model.buyer_tower=mean", "model.buyer_tower='mean'"),
    ("model.half_life_days=-1", "model.half_life_days=-1"),
    ("model.dropout=1", "model.dropout=1"),
    ("model.dropout=null", "model.dropout=None"),
    ("training.learning_rate=0", "training.learning_rate=0"),
    ("training.learning_rate=.nan", "training.learning_rate=nan"),
    ("training.learning_rate=nan", "training.learning_rate="),
    ("training.learning_rate=.inf", "training.learning_rate=inf"),
    ("training.learning_rate=infinity", "training.learning_rate="),
    ("training.learning_rate=fast", "training.learning_rate='fast'"),
    ("training.learning_rate=[1]", "training.learning_rate=[1]"),
    ("training.temperature=1.5", "training.temperature=1.5"),
    ("training.max_epochs=0", "training.max_epochs=0"),
    ("linear.cold_lengths=[1e1]", "linear.cold_lengths.0=10.0"),
    ("linear.cold_lengths=[true]", "linear.cold_lengths.0=True"),
    ("linear.cold_lengths=[few]", "linear.cold_lengths.0='few'"),
    ("linear.blend_weights=[1e0]", "linear.blend_weights.0=1.0"),
    ("linear.half_lives_days=[nan]", "linear.half_lives_days.0="),
    ("evaluation.text_pairs=[{one: a, two: b, above: 1e1}]", "evaluation.text_pairs.0.above=10.0"),
    ("evaluation.split=random", "evaluation.split='random'"),
    ("evaluation.test_days=0", "evaluation.test_days=0"),
    ("index.kind=annoy", "index.kind='annoy'"),
    ("index.target_recall=1", "index.target_recall=1.0"),
    ("index.target_recall=0.5", "index.target_recall=0.5"),
    ("publish.keep_versions=0", "publish.keep_versions=0"),
]


@pytest.mark.parametrize(("assignment", "named"), WRONG, ids=[one[0] for one in WRONG])
def test_a_wrong_or_impossible_value_is_named_with_its_key(assignment: str, named: str) -> None:
    assert named in refused(assignment)


def test_a_configured_blend_must_be_possible() -> None:
    message = refused("training.start=blend", "model.heads=1")
    assert "training.start=blend needs" in message and "they are [0.5, 0.65, 0.8], attention and 1" in message
    assert "they are [], attention and 3" in refused("training.start=blend", "linear.blend_weights=[]")


def test_all_wrong_values_are_named_at_once() -> None:
    message = refused("model.dimension=0", "training.temperature=9")
    assert "model.dimension=0" in message and "training.temperature=9" in message


@pytest.mark.parametrize("assignment", ["model.dimension", "=3", " = 3", ""])
def test_an_assignment_has_a_key_and_an_equals_sign(assignment: str) -> None:
    assert "write it as section.key=value" in refused(assignment)


def test_a_value_that_is_not_yaml_is_named() -> None:
    assert "the value is not YAML" in refused("data.event_names={a: ")


def test_values_are_read_as_the_setting_wants_them() -> None:
    config = load_config(
        [],
        [
            "training.learning_rate=1e-4",
            "training.weight_decay=0",
            "model.half_life_days=30",
            "model.dropout=0",
            "data.event_names={buy: Purchase}",
            "data.event_weights={View: 1, Purchase: 3}",
            "encoder.prompt=query: ",
            'data.delimiter=";"',
            "data.event_columns.buyer=007",
            "paths.cache=/tmp/a=b",
        ],
    )
    assert config.training.learning_rate == 1e-4
    assert (config.training.weight_decay, config.model.half_life_days, config.model.dropout) == (0.0, 30.0, 0.0)
    assert config.data.event_names == {"buy": "Purchase"}
    # our own names are replaced whole: AddToCart is gone
    assert config.data.event_weights == {"View": 1.0, "Purchase": 3.0}
    assert config.data.delimiter == ";"
    assert config.encoder.prompt == "query: "
    assert config.data.event_columns.buyer == "007"
    assert config.paths.cache == "/tmp/a=b"


@pytest.mark.parametrize("delimiter", list(",;|: #"))
def test_a_delimiter_needs_no_quotes(delimiter: str) -> None:
    assert load_config([], [f"data.delimiter={delimiter}"]).data.delimiter == delimiter


def test_a_number_where_a_file_should_hold_a_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("data: {event_columns: {buyer: 3}}\npaths: {cache: 3}\n")
    message = refused(files=(path,))
    assert "data.event_columns.buyer=3" in message and "paths.cache=3" in message


@pytest.mark.parametrize("written", ["'\\t'", '"\\t"', "\t", "'\t'", "\\t"])
def test_a_tab_can_be_set_as_people_write_it(written: str) -> None:
    assert load_config([], [f"data.delimiter={written}"]).data.delimiter == "\t"


def test_later_files_and_assignments_win(tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("model: {dimension: 64, max_history: 7}\nseed: 1\n")
    second.write_text("model:\n  dimension: 32\n")
    config = load_config([first, second], ["seed=9"])
    assert (config.model.dimension, config.model.max_history, config.seed) == (32, 7, 9)


def test_the_written_configuration_reads_back_the_same(tmp_path: Path) -> None:
    config = load_config([Path(OFFLINE)], SMALL)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config([path]) == config


def test_the_digest_depends_on_the_named_sections() -> None:
    one, two = load_config(), load_config([], ["publish.keep_versions=9"])
    assert one.digest() != two.digest()
    assert one.digest("model", "training") == two.digest("model", "training")
    assert one.digest("model") != load_config([], ["model.dimension=64"]).digest("model")


def test_files_that_are_not_a_configuration_are_named(tmp_path: Path) -> None:
    cases = {"list.yaml": ("- 1\n", "must be a mapping"), "broken.yaml": ("a: [", "is not YAML")}
    for name, (text, problem) in cases.items():
        path = tmp_path / name
        path.write_text(text)
        message = refused(files=(path,))
        assert str(path) in message and problem in message
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    assert "is not YAML" in refused(files=(tmp_path / "latin.yaml",))
    assert "No such file" in refused(files=(tmp_path / "nowhere.yaml",))
    assert "Is a directory" in refused(files=(tmp_path,))
    (tmp_path / "empty.yaml").write_text("")
    assert load_config([tmp_path / "empty.yaml"]) == load_config()


@pytest.mark.parametrize(
    ("assignments", "split", "protocol"),
    [
        ([], "leave_last_out", "published"),
        ([], "newest_sessions", "published"),
        ([], "global_time", "refit"),
        # nothing is refitted
        (["training.refit=false"], "global_time", "published"),
        (["evaluation.protocol=published"], "global_time", "published"),
        (["evaluation.protocol=refit"], "leave_last_out", "refit"),
    ],
)
def test_the_protocol_follows_the_split_unless_it_is_given(assignments: list[str], split: str, protocol: str) -> None:
    assert load_config([], assignments).settle_protocol(split).evaluation.protocol == protocol
