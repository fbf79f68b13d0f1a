"""report.html: what it says, that nothing in it is fetched or run, and that a run without it is no run."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.small_shop import copy_artifacts, run_arguments, small_run
from trainer.__main__ import main
from trainer.data.catalogue import Products
from trainer.data.dataset import Dataset
from trainer.data.events import Events
from trainer.data.rejects import Summary
from trainer.data.split import Cases
from trainer.errors import ReportError
from trainer.evaluate.examples import sample_buyers
from trainer.evaluate.ranking import Ranks
from trainer.evaluate.similarity import example_pairs, nearest
from trainer.report import charts as figures
from trainer.report import page as report
from trainer.report.page import Rival, compare, headline, render, shown_metric, shown_value, write_report
from twotower.artifact.catalogue import Product, write_catalogue
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import IndexSpec, TextSearch
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, open_version

_VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Reads a page: every element with its attributes, the text of each element, and that what opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))

    def told(self) -> str:
        return " ".join(text for _, text in self.texts)


@pytest.fixture(scope="module")
def version() -> Version:
    layout = Layout(small_run()[1])
    pointer = read_pointer(layout.current)
    assert pointer is not None
    return open_version(layout, pointer.version)


@pytest.fixture
def folder(version: Version, tmp_path: Path) -> VersionLayout:
    """A copy of a version folder that a test may change."""
    shutil.copytree(version.layout.root, tmp_path / "version")
    return VersionLayout(tmp_path / "version")


@pytest.fixture(scope="module")
def page(version: Version) -> Page:
    return Page(version.layout.report.read_text(encoding="utf-8"))


def metrics_of(version: Version) -> Any:
    return json.loads(version.layout.metrics.read_text(encoding="utf-8"))


def change(folder: VersionLayout, **sections: Any) -> None:
    content = json.loads(folder.metrics.read_text(encoding="utf-8"))
    folder.metrics.write_text(json.dumps(content | sections), encoding="utf-8")


def retitle(folder: VersionLayout, title: str, category: str) -> None:
    """Every product gets this title and this category; ids stay."""
    ids = np.load(folder.ids, allow_pickle=False).tolist()
    folder.products.unlink()
    products = [Product(one, row, title, "", "", category, None, "", True, 0.0) for row, one in enumerate(ids)]
    write_catalogue(folder.products, products)


def test_a_run_writes_the_report_and_the_manifest_lists_it(version: Version) -> None:
    entry = version.manifest.files["report.html"]
    assert entry.size == version.layout.report.stat().st_size < 1_500_000
    version.check(version.layout.report)


def test_nothing_is_fetched_and_nothing_runs(page: Page, version: Version) -> None:
    text = version.layout.report.read_text(encoding="utf-8")
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*[\"']?([^)]*)", text))
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "img", "object", "embed", "base"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), attributes


def test_ids_are_unique_and_every_reference_finds_its_element(page: Page, version: Version) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    asked = {(attributes["href"] or "")[1:] for _, attributes in page.elements if "href" in attributes}
    asked |= set(re.findall(r"url\(#([^)]+)\)", version.layout.report.read_text(encoding="utf-8")))
    labels = [attributes["aria-labelledby"] or "" for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert asked | {name for label in labels for name in label.split()} <= set(ids)


def test_figures_have_a_name_a_description_and_only_colours_of_the_page(page: Page, version: Version) -> None:
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) == 4 and all(one["role"] == "img" for one in drawings)
    for name in ("curves", "intervals", "coverage", "map"):
        assert {f"{name}-title", f"{name}-told"} <= {attributes.get("id") for _, attributes in page.elements}
    styles = [attributes.get("style") or "" for _, attributes in page.elements]
    assert not any("#0000" in style for style in styles)
    used = set(re.findall(r"var\(--([\w-]+)\)", " ".join(styles)))
    text = version.layout.report.read_text(encoding="utf-8")
    assert {"model", "item-knn", "group-0", "muted"} <= used
    for name in used:  # in the light scheme and in the dark one
        assert len(re.findall(rf"--{name}:", text)) == 2, name


def test_arabic_is_set_by_its_own_direction(page: Page) -> None:
    assert ("html", {"lang": "en", "dir": "ltr"}) in page.elements
    arabic = re.compile("[\u0621-\u064a]")
    shown = [tag for tag, text in page.texts if arabic.search(text)]
    # in SVG a tip is the browser's own; in HTML every one stands in an element of its own direction
    assert set(shown) <= {"span", "small", "bdi", "th", "title", "pre"}
    spans = [attributes for tag, attributes in page.elements if tag == "span" and attributes.get("class") == "title"]
    assert len(spans) > 100 and all(one["dir"] == "rtl" for one in spans)
    headers = [attributes for tag, attributes in page.elements if tag == "th" and attributes.get("scope") == "row"]
    assert len([one for one in headers if one.get("dir") == "rtl"]) == 4  # the slices by category
    # a title that begins with a Latin brand is Arabic all the same
    assert [report.direction(text) for text in ("خاتم", "Omega ساعة", "Omega", "")] == ["rtl", "rtl", "auto", "auto"]


def test_every_table_says_what_its_columns_are(page: Page) -> None:
    headers = [attributes for tag, attributes in page.elements if tag == "th"]
    assert all(attributes["scope"] in {"row", "col"} for attributes in headers)
    tables = [tag for tag, _ in page.elements if tag == "table"]
    assert len(tables) == len([tag for tag, _ in page.elements if tag == "thead"]) > 20


def test_the_figures_of_the_run_stand_in_the_page(page: Page, version: Version) -> None:
    found, told = metrics_of(version), page.told()
    for system in ("model", "popularity", "item_knn", "ease"):
        low, high = found["intervals"][system]["ndcg@20"]
        assert f"{found['test'][system]['ndcg@20']:.3f} {low:.3f}–{high:.3f}" in told
    assert f"{found['similarity']['auc'] * 100:.1f} %" in told
    assert version.name in told and version.manifest.configuration["fingerprint"] in told
    assert f"torch {found['libraries']['torch']}" in told
    assert "60 of 60 rows" in told and "900 of 900 rows" in told and "Warning: only" in told
    assert "The publish gate off" in told and "max_history: 50" in told
    assert len(found["samples"]) == 10
    for one in found["samples"]:
        assert f"Buyer {one['buyer']}" in told


def test_values_given_by_hand_are_shown_where_they_should(folder: VersionLayout, version: Version) -> None:
    found = metrics_of(version)
    found["test"]["model"] |= {"ndcg@10": 0.15, "recall@10": 0.25, "coverage@10": 0.698, "cases": 1234.0}
    found["test"]["item_knn"] |= {"ndcg@10": 0.12, "recall@10": 0.2}
    found["compared"] = {"item_knn": found["compared"]["item_knn"]}
    found["compared"]["item_knn"]["ndcg@10"] = {"difference": 0.03, "low": 0.024, "high": 0.036}
    found["gate"] = {
        "verdict": "refused", "metric": "ndcg@10", "reasons": ["it lost & fell"],
        "served": {
            "version": "old", "how": "both ranked the same 5 test cases", "metric": "ndcg@10", "compared_on": 5,
            "model": 0.1, "served": 0.2, "difference": -0.1, "low": -0.15, "high": -0.05,
        },
    }  # fmt: skip
    found["data"]["rejected_events"] = {"unreadable time": 9}
    change(folder, **found)
    told = Page(render(folder, version.manifest)).told()
    assert "Better than item-kNN Of what 1,234 test buyers took next" in told
    assert "held 25.0 % ; those of item-kNN 20.0 %" in told
    assert (
        "against item-kNN +25 % ▲ clearly better 0.150 against 0.120; 95 % interval of the difference +20 % to +30 %"
        in told
    )
    assert "The publish gate refused" in told and f"publish {version.name} --force" in told
    assert "it lost & fell Beside the served version old : both ranked the same 5 test cases;" in told
    assert "NDCG@10 0.100 against 0.200, difference −0.100 (95 % interval −0.150 to −0.050)" in told
    assert "69.8 %" in told and "unreadable time 9 1.00 %" in told


def test_titles_and_names_are_text_and_never_markup(folder: VersionLayout, version: Version) -> None:
    evil = '</title><script>alert("1")</script><img src=x onerror=alert(2)>&amp;'
    retitle(folder, evil, f"قسم {evil}")
    found = metrics_of(version)
    found["samples"][0]["buyer"] = evil
    found["slices"]["category"] = {evil: next(iter(found["slices"]["category"].values()))}
    found["data"]["rejected_events"] = {evil: 1}
    folder.config.write_text(f"encoder: {evil}", encoding="utf-8")
    change(folder, **found)
    text = render(folder, version.manifest)
    assert "<script" not in text and "<img" not in text
    # in HTML, and as the tip of a point of the map
    shown = Page(text)
    assert [tag for tag, one in shown.texts if one == evil].count("title") == 60
    assert {tag for tag, one in shown.texts if evil in one} == {"span", "small", "bdi", "th", "title", "pre"}


def test_pairs_of_titles_are_shown_and_a_missed_one_is_a_warning(folder: VersionLayout, version: Version) -> None:
    one = {"one": "خاتم ذهب", "two": "زيت محرك", "above": None, "below": 0.3}
    pairs = [one | {"cosine": -0.25, "holds": True}, one | {"two": "سوار <b>", "cosine": 0.61, "holds": False}]
    change(folder, similarity=metrics_of(version)["similarity"] | {"texts": pairs})
    told = Page(render(folder, version.manifest)).told()
    assert "زيت محرك" in told and "-0.25" in told.replace("−", "-")
    assert "Warning: 'خاتم ذهب' and 'سوار <b>' have a cosine of 0.61, wanted below 0.3." in told
    change(folder, similarity=metrics_of(version)["similarity"] | {"texts": []})
    assert "Titles that should be alike" not in Page(render(folder, version.manifest)).told()


def test_how_well_words_find_products_is_told(folder: VersionLayout, version: Version) -> None:
    search = TextSearch(index=IndexSpec(), titles=1000, found_first=0.875, found_in_ten=1.0, noise=0.214)
    told = Page(render(folder, version.manifest.model_copy(update={"text_search": search}))).told()
    assert "Of 1,000 titles searched for as they stand, 87.5 % found a product of that title first" in told
    assert "not above 0.21," in told


def test_a_shop_in_which_nobody_can_be_asked_has_a_report_too(folder: VersionLayout, version: Version) -> None:
    found = metrics_of(version)
    nobody = {"same_category_mean": None, "cross_category_mean": None, "auc": None, "pairs": 0}
    training = found["training"] | {"curve": [], "candidates": {}, "kind": "linear"}
    change(
        folder, intervals={}, compared={}, slices={}, samples=[], training=training,
        similarity=nobody | {"text_only": nobody, "texts": []},
    )  # fmt: skip
    retitle(folder, "", "")
    told = Page(render(folder, version.manifest)).told()
    assert "Not tested: no buyer has enough events" in told and "There was nobody to ask." in told
    assert "there is no curve to draw" in told and "There are no two categories" in told
    # a product without a title is called by its id
    assert "None can be drawn." in told and "p59" in told


def test_a_blend_is_told_as_one(folder: VersionLayout, version: Version) -> None:
    scores = {"linear": 0.1, "softmax": 0.11, "blend": 0.12}
    training = metrics_of(version)["training"] | {"kind": "blend", "best_epoch": 3, "share": 0.65, "candidates": scores}
    change(folder, training=training)
    page = render(folder, version.manifest)
    told = Page(page).told()
    assert ", 3 epochs, of which 0.65 is the linear model." in told
    # each candidate is a line of its own in the picture
    assert ">blend</text>" in page and ">linear</text>" in page


def test_a_report_that_cannot_be_made_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = (artifacts / "CURRENT").read_text(), list_versions(Layout(artifacts))

    def broken(*_: object) -> None:
        raise ValueError("no room for a plot")

    monkeypatch.setattr(figures, "coverage", broken)
    assert main(run_arguments(shop, artifacts, command="publish")) == 1
    assert "ReportError: report.html cannot be made: ValueError: no room for a plot" in capsys.readouterr().err
    assert before == ((artifacts / "CURRENT").read_text(), list_versions(Layout(artifacts)))


def test_figures_of_an_older_evaluation_are_refused_by_what_they_lack(folder: VersionLayout, version: Version) -> None:
    content = metrics_of(version)
    del content["samples"]
    folder.metrics.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ReportError, match=r"report\.html cannot be made: KeyError: 'samples'"):
        write_report(folder, version.manifest)


def test_report_prints_where_the_report_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts = copy_artifacts(small_run()[1], tmp_path / "artifacts")
    (name,) = list_versions(Layout(artifacts))
    path = artifacts / "versions" / name / "report.html"
    assert main(["report", name, "--artifacts", str(artifacts)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert main(["report", "--artifacts", str(artifacts)]) == 0  # the one in CURRENT
    assert capsys.readouterr().out == f"{path}\n"
    path.write_text("something else")
    assert main(["report", name, "--artifacts", str(artifacts)]) == 2
    assert "report.html has 14 bytes, its manifest says" in capsys.readouterr().err
    assert main(["report", "nope", "--artifacts", str(artifacts)]) == 2
    assert "there is no version 'nope'" in capsys.readouterr().err
    assert main(["report", "--artifacts", str(tmp_path)]) == 2
    assert "nothing is published in" in capsys.readouterr().err


def rival(name: str, low: float, high: float) -> Rival:
    return Rival(name, 0.2, 0.1, (low + high) / 2, low, high)


@pytest.mark.parametrize(
    ("rivals", "said"),
    [
        ([], "Not tested: no buyer has enough events"),
        ([rival("popularity", 0.1, 0.2)], "Better than popularity"),
        (
            [rival("ease", 0.1, 0.2), rival("item_knn", 0.1, 0.2), rival("popularity", 0.1, 0.2)],
            "Better than EASE, item-kNN and popularity",
        ),
        (
            [rival("ease", -0.2, -0.1), rival("item_knn", -0.1, 0.1), rival("popularity", 0.1, 0.2)],
            "Better than popularity; no clear difference from item-kNN; worse than EASE",
        ),
        ([rival("popularity", 0.0, 0.2)], "No clear difference from popularity"),
    ],
)
def test_the_headline_answers_the_question(rivals: list[Rival], said: str) -> None:
    assert headline(rivals) == said


def test_rivals_are_compared_on_the_metric_that_was_set_the_strongest_first() -> None:
    test = {"model": {"recall@10": 0.3}, "popularity": {"recall@10": 0.1}, "item_knn": {"recall@10": 0.2}}
    facts = {"difference": 0.1, "low": 0.05, "high": 0.15}
    compared = {"popularity": {"recall@10": facts}, "item_knn": {"recall@10": facts}}
    assert compare(test, compared, "recall@10") == [
        Rival("item_knn", 0.3, 0.2, 0.1, 0.05, 0.15), Rival("popularity", 0.3, 0.1, 0.1, 0.05, 0.15),
    ]  # fmt: skip


def test_numbers_are_shown_in_the_unit_of_their_metric() -> None:
    assert (shown_value(0.17074, "ndcg@10"), shown_value(0.698, "coverage@10")) == ("0.171", "69.8\u00a0%")
    assert (shown_value(1234.5, "popularity@10"), shown_value(0, "new@10")) == ("1,234", "0.0\u00a0%")
    assert [shown_metric(one) for one in ("ndcg@10", "mrr@20", "recall@100", "coverage@10")] == [
        "NDCG@10", "MRR@20", "Recall@100", "Catalogue covered",
    ]  # fmt: skip


def test_sample_buyers_show_the_newest_events_first_and_what_was_found() -> None:
    names = ["a", "b", "c", "d", "e"]
    empty = [""] * 5
    products = Products(names, names, empty, empty, empty, [None] * 5, empty, [True] * 5, [()] * 5)
    events = Events(
        np.array([0, 0, 0, 1, 1, 1, 1], np.int32), np.array([0, 1, 2, 3, 4, 0, 1], np.int32),
        np.array([1, 3, 1, 2, 1, 1, 1], np.int8), np.arange(7) * 1000, np.array([0, 3, 7]),
    )  # fmt: skip
    data = Dataset(products, ["left", "right"], events, ["View", "AddToCart", "Purchase"], Summary())
    cases = Cases(np.array([0, 1]), np.array([0, 3]), np.array([2, 5]), np.array([3, 7]))
    top = np.array([[3, 2, 4], [2, 1, 0]])
    # the second buyer's two targets: product 1 is second, product 0 third; given the other way round
    ranks = Ranks(np.array([0, 1, 1]), np.array([1, 2, 1]), top, np.array([2, 0, 1]))
    left, right = sample_buyers(ranks, cases, events, data, 7)
    assert left == {
        "buyer": "left", "history_events": 2,
        "history": [
            {"product": "b", "event": "Purchase", "time_ms": 1000}, {"product": "a", "event": "View", "time_ms": 0},
        ],
        "recommended": [
            {"product": "d", "hit": False}, {"product": "c", "hit": True}, {"product": "e", "hit": False},
        ],
        "targets": [{"product": "c", "rank": 2}],
    }  # fmt: skip
    assert right["targets"] == [{"product": "b", "rank": 2}, {"product": "a", "rank": 3}]
    assert [one["hit"] for one in right["recommended"]] == [False, True, True]
    assert len(sample_buyers(ranks, cases, events, data, 7, buyers=1)) == 1


def test_nearest_products_and_example_pairs() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)
    first, second = nearest(vectors, np.array([0, 2]), 2)
    assert [(one.one, one.two, round(one.cosine, 6)) for one in first] == [(0, 1, 0.8), (0, 2, 0.0)]
    assert [(one.two, round(one.cosine, 6)) for one in second] == [(1, 0.6), (0, 0.0)]
    same, cross = example_pairs(vectors, np.array([1, 1, 2, 0]), 5, 7)
    assert {(frozenset((one.one, one.two)), round(one.cosine, 6)) for one in same} == {(frozenset((0, 1)), 0.8)}
    assert all(2 in (one.one, one.two) and 3 not in (one.one, one.two) for one in cross)
    assert len(same) == len(cross) == 5
    assert example_pairs(vectors, np.zeros(4, np.int64), 5, 7) == ([], [])


def test_the_map_puts_like_products_together_and_is_the_same_each_time() -> None:
    draw = np.random.default_rng(0)
    centres = np.eye(3, 16, dtype=np.float32)
    vectors = np.repeat(centres, 20, axis=0) + draw.normal(0, 0.05, (60, 16)).astype(np.float32)
    points = figures.project(vectors, 7)
    np.testing.assert_array_equal(points, figures.project(vectors, 7))
    groups = points.reshape(3, 20, 2)
    spread = np.linalg.norm(groups - groups.mean(axis=1, keepdims=True), axis=2).max()
    middles = groups.mean(axis=1)
    assert min(np.linalg.norm(middles[i] - middles[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > spread
    assert figures.item_map(vectors[:9], np.zeros(9, np.int64), ["x"] * 9, 7) == ""
    assert figures.item_map(np.ones_like(vectors), np.zeros(60, np.int64), ["x"] * 60, 7) == ""


def test_each_point_of_the_map_says_its_own_title() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    group = np.array([0, -1, 1] * 4)
    drawn = Page(str(figures.item_map(vectors, group, [f"ت{row}" for row in range(12)], 7)))
    tips = [text for tag, text in drawn.texts if tag == "title"][1:]  # the figure's own comes first
    assert tips == [f"ت{row}" for row in [*range(1, 12, 3), *range(0, 12, 3), *range(2, 12, 3)]]


def test_library_versions_are_those_installed() -> None:
    assert report.library_versions()["numpy"] == np.__version__
