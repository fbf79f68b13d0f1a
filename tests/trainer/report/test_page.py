"""report.html: its content, that it loads and runs nothing, and that a run fails if it cannot be made."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recorder.files import write_table
from recorder.rows import table_of
from tests.helpers.event_log import NOON, shown
from tests.helpers.html_page import Page
from tests.helpers.small_shop import copy_artifacts, run_arguments, small_run
from trainer.__main__ import main
from trainer.errors import ReportError
from trainer.report import charts
from trainer.report.page import library_versions, render, write_report
from trainer.report.tables import BaselineComparison, compare_with_baselines
from trainer.report.wording import direction, gate_baselines, headline, relative, shown_metric, shown_value
from twotower.artifact.catalogue import Product, write_catalogue
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import IndexSpec, TextSearch
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, open_version


@pytest.fixture(scope="module")
def version() -> Version:
    layout = Layout(small_run()[1])
    pointer = read_pointer(layout.current)
    assert pointer is not None
    return open_version(layout, pointer.version)


@pytest.fixture
def folder(version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VersionLayout:
    """A copy of a version folder that a test may change. Its map is drawn without t-SNE, which takes seconds."""
    monkeypatch.setattr(charts, "project", lambda vectors, seed: vectors[:, :2].astype(np.float64))
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


def test_arabic_has_its_own_direction(page: Page) -> None:
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
    assert [direction(text) for text in ("خاتم", "Omega ساعة", "Omega", "")] == ["rtl", "rtl", "auto", "auto"]


def test_every_table_says_what_its_columns_are(page: Page) -> None:
    headers = [attributes for tag, attributes in page.elements if tag == "th"]
    assert all(attributes["scope"] in {"row", "col"} for attributes in headers)
    tables = [tag for tag, _ in page.elements if tag == "table"]
    assert len(tables) == len([tag for tag, _ in page.elements if tag == "thead"]) > 20


def test_the_page_shows_the_metrics_of_the_run(page: Page, version: Version) -> None:
    found, text = metrics_of(version), page.text()
    for system in ("model", "popularity", "recent_popularity", "item_knn", "transitions", "ease"):
        low, high = found["intervals"][system]["ndcg@20"]
        assert f"{found['test'][system]['ndcg@20']:.3f} {low:.3f}–{high:.3f}" in text
    assert f"{found['similarity']['auc'] * 100:.1f} %" in text
    assert version.name in text and version.manifest.configuration["fingerprint"] in text
    assert f"torch {found['libraries']['torch']}" in text
    assert "60 of 60 rows" in text and "900 of 900 rows" in text and "Warning: only" in text
    assert "The publish gate off" in text and "max_history: 50" in text
    assert len(found["samples"]) == 10
    assert [f"Buyer {place} ·" in text for place in range(12)] == [False, *[True] * 10, False]
    assert not any(one["buyer"] in text for one in found["samples"])


def test_given_values_are_shown(folder: VersionLayout, version: Version) -> None:
    found = metrics_of(version)
    found["test"]["model"] |= {"ndcg@10": 0.15, "recall@10": 0.25, "coverage@10": 0.698, "cases": 1234.0}
    found["test"]["item_knn"] |= {"ndcg@10": 0.12, "recall@10": 0.2}
    found["differences"] = {"item_knn": found["differences"]["item_knn"]}
    found["differences"]["item_knn"]["ndcg@10"] = {"difference": 0.03, "low": 0.024, "high": 0.036}
    found["gate"] = {
        "verdict": "refused",
        "metric": "ndcg@10",
        "reasons": ["it lost & fell"],
        "served": {
            "version": "old",
            "summary": "both ranked the same 5 test cases",
            "metric": "ndcg@10",
            "compared_cases": 5,
            "head_start": 0.01,
            "model": 0.1,
            "served": 0.2,
            "difference": -0.1,
            "low": -0.15,
            "high": -0.05,
        },
    }
    found["data"]["rejected_events"] = {"unreadable time": 9}
    change(folder, **found)
    text = Page(render(folder, version.manifest)).text()
    assert "Better than item-kNN The test asked what 1,234 buyers chose next." in text
    assert "contain 25.0 % of it; those of item-kNN 20.0 %" in text
    assert "compared with item-kNN +25 % ▲ clearly better 0.150 against 0.120; 95 % interval" in text
    assert "interval of the difference +20 % to +30 %" in text
    assert "The publish gate refused" in text and f"publish {version.name} --force" in text
    assert "it lost & fell Comparison with the served version old : both ranked the same 5 test cases;" in text
    assert "NDCG@10 0.100 against 0.200; it knew events that the tested model lacks, worth +0.010 to a baseline" in text
    assert "; difference −0.100 (95 % interval −0.150 to −0.050)" in text
    assert "69.8 %" in text and "unreadable time 9 1.00 %" in text


def test_titles_and_names_are_text_and_never_markup(folder: VersionLayout, version: Version) -> None:
    evil = '</title><script>alert("1")</script><img src=x onerror=alert(2)>&amp;'
    retitle(folder, evil, f"قسم {evil}")
    found = metrics_of(version)
    found["samples"][0]["history"][0]["event"] = evil
    found["slices"]["category"] = {evil: next(iter(found["slices"]["category"].values()))}
    found["data"]["rejected_events"] = {evil: 1}
    folder.config.write_text(f"encoder: {evil}", encoding="utf-8")
    change(folder, **found)
    text = render(folder, version.manifest)
    assert "<script" not in text and "<img" not in text
    # in HTML, and as the tip of a point of the map
    shown = Page(text)
    assert [tag for tag, one in shown.texts if one == evil].count("title") == 60
    assert {tag for tag, one in shown.texts if evil in one} == {"span", "small", "bdi", "td", "th", "title", "pre"}


def test_pairs_of_titles_are_shown_and_an_unmet_one_is_a_warning(folder: VersionLayout, version: Version) -> None:
    one = {"one": "خاتم ذهب", "two": "زيت محرك", "above": None, "below": 0.3}
    pairs = [one | {"cosine": -0.25, "holds": True}, one | {"two": "سوار <b>", "cosine": 0.61, "holds": False}]
    change(folder, similarity=metrics_of(version)["similarity"] | {"texts": pairs})
    text = Page(render(folder, version.manifest)).text()
    assert "زيت محرك" in text and "-0.25" in text.replace("−", "-")
    assert "Warning: 'خاتم ذهب' and 'سوار <b>' have a cosine of 0.61, wanted below 0.3." in text
    change(folder, similarity=metrics_of(version)["similarity"] | {"texts": []})
    assert "Titles that should be similar" not in Page(render(folder, version.manifest)).text()


def test_the_quality_of_text_search_is_shown(folder: VersionLayout, version: Version) -> None:
    search = TextSearch(index=IndexSpec(), titles=1000, found_first=0.875, found_in_ten=1.0, noise=0.214)
    text = Page(render(folder, version.manifest.model_copy(update={"text_search": search}))).text()
    assert "With 1,000 titles as queries, the first result has that title for 87.5 %, and" in text
    assert "reach a cosine of 0.21: if" in text


def test_a_shop_without_test_buyers_has_a_report_too(folder: VersionLayout, version: Version) -> None:
    found = metrics_of(version)
    nobody = {"same_category_mean": None, "cross_category_mean": None, "auc": None, "pairs": 0}
    training = found["training"] | {"curve": [], "candidates": {}, "kind": "linear"}
    change(
        folder,
        intervals={},
        differences={},
        slices={},
        samples=[],
        training=training,
        similarity=nobody | {"text_only": nobody, "texts": []},
    )
    retitle(folder, "", "")
    text = Page(render(folder, version.manifest)).text()
    assert "Not tested: no buyer has enough events" in text and "There were no test buyers." in text
    assert "so there is no curve" in text and "it needs at least two categories" in text
    # a product without a title is called by its id
    assert "There are no such pairs." in text and "p59" in text


def test_a_blend_is_described_with_its_share(folder: VersionLayout, version: Version) -> None:
    scores = {"linear": 0.1, "softmax": 0.11, "blend": 0.12}
    training = metrics_of(version)["training"] | {
        "kind": "blend",
        "vectors": "blend",
        "best_epoch": 3,
        "share": 0.65,
        "candidates": scores,
    }
    change(folder, training=training)
    page = render(folder, version.manifest)
    text = Page(page).text()
    assert ", 3 epochs, with a share of 0.65 for the linear model." in text
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

    monkeypatch.setattr(charts, "coverage", broken)
    assert main(run_arguments(shop, artifacts, command="publish")) == 1
    assert "ReportError: report.html cannot be made: ValueError: no room for a plot" in capsys.readouterr().err
    assert before == ((artifacts / "CURRENT").read_text(), list_versions(Layout(artifacts)))


def test_metrics_without_a_section_are_refused_by_its_name(folder: VersionLayout, version: Version) -> None:
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
    assert "has no published version: name a VERSION" in capsys.readouterr().err


def comparison(name: str, low: float, high: float) -> BaselineComparison:
    return BaselineComparison(name, 0.2, 0.1, (low + high) / 2, low, high)


@pytest.mark.parametrize(
    ("comparisons", "line"),
    [
        ([], "Not tested: no buyer has enough events"),
        ([comparison("popularity", 0.1, 0.2)], "Better than popularity"),
        (
            [comparison("ease", 0.1, 0.2), comparison("item_knn", 0.1, 0.2), comparison("popularity", 0.1, 0.2)],
            "Better than EASE, item-kNN and popularity",
        ),
        (
            [comparison("ease", -0.2, -0.1), comparison("item_knn", -0.1, 0.1), comparison("popularity", 0.1, 0.2)],
            "Better than popularity; no clear difference from item-kNN; worse than EASE",
        ),
        ([comparison("popularity", 0.0, 0.2)], "No clear difference from popularity"),
    ],
)
def test_the_headline_answers_the_question(comparisons: list[BaselineComparison], line: str) -> None:
    assert headline(comparisons) == line


def test_a_difference_is_a_percentage_or_a_multiple() -> None:
    shown = [relative(one) for one in (0.25, -0.071, 3.99, 4.0, 11.39)]
    assert shown == ["+25\u00a0%", "−7\u00a0%", "+399\u00a0%", "5.0\u00a0×", "12.4\u00a0×"]


def test_the_gates_baselines_are_named_as_far_as_they_were_tested() -> None:
    tested = ["model", "popularity", "recent_popularity", "item_knn", "transitions", "ease"]
    assert gate_baselines(tested) == "popularity, recent popularity, item-kNN or transitions"
    assert gate_baselines(["model", "popularity", "ease"]) == "popularity"
    assert gate_baselines(["model", "popularity", "bought_before"]) == "popularity or bought before"


def test_baselines_are_compared_on_the_configured_metric_the_strongest_first() -> None:
    test = {"model": {"recall@10": 0.3}, "popularity": {"recall@10": 0.1}, "item_knn": {"recall@10": 0.2}}
    facts = {"difference": 0.1, "low": 0.05, "high": 0.15}
    differences = {"popularity": {"recall@10": facts}, "item_knn": {"recall@10": facts}}
    assert compare_with_baselines(test, differences, "recall@10") == [
        BaselineComparison("item_knn", 0.3, 0.2, 0.1, 0.05, 0.15),
        BaselineComparison("popularity", 0.3, 0.1, 0.1, 0.05, 0.15),
    ]


def test_numbers_are_shown_in_the_unit_of_their_metric() -> None:
    assert (shown_value(0.17074, "ndcg@10"), shown_value(0.698, "coverage@10")) == ("0.171", "69.8\u00a0%")
    assert (shown_value(1234.5, "popularity@10"), shown_value(0, "new@10")) == ("1,234", "0.0\u00a0%")
    assert [shown_metric(one) for one in ("ndcg@10", "mrr@20", "recall@100", "coverage@10")] == [
        "NDCG@10",
        "MRR@20",
        "Recall@100",
        "Catalogue covered",
    ]


def test_library_versions_are_those_installed() -> None:
    assert library_versions()["numpy"] == np.__version__


def test_a_report_with_a_log_has_its_online_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts, log = small_run()[1], tmp_path / "private" / "log"
    record = shown("r1", ["p1"], model_version="v<1>", experiment="test", arm="new")
    write_table(log / "lists" / "day=2025-01-01" / "1-0.parquet", table_of("lists", [(*record, NOON)]))
    out = tmp_path / "report.html"
    assert main(["report", "--artifacts", str(artifacts), "--log", str(log), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    text = out.read_text(encoding="utf-8")
    assert "What 1 served lists led to" in text and "v&lt;1&gt;" in text and "Experiment test" in text
    assert main(["report", "--artifacts", str(artifacts), "--out", str(out)]) == 2
    assert "--log and --out go together" in capsys.readouterr().err
