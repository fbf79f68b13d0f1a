"""Every page in both languages against a running gateway."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from explorer.app import create_app
from explorer.live import read_routes
from explorer.settings import ExplorerSettings
from tests.helpers.redis_server import RedisServer
from tests.helpers.shards import build_sharded, shops
from tests.helpers.stack import NOBODY, Stack, stack


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def system(tiny: Path, redis: RedisServer) -> AsyncIterator[Stack]:
    async with stack(tiny, redis) as running:
        yield running


async def open_page(gateway_url: str, method: str, path: str, image_hosts: str = "", **more: object) -> httpx.Response:
    app = create_app(ExplorerSettings.model_validate({"gateway_url": gateway_url, "image_hosts": image_hosts}))
    async with (
        app.router.lifespan_context(app) as state,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(_with_state(app, state)), base_url="http://localhost"
        ) as client,
    ):
        return await client.request(method, path, **more)  # type: ignore[arg-type]


def _with_state(app: object, state: object) -> object:
    async def wrapped(scope: dict[str, object], receive: object, send: object) -> None:
        await app({**scope, "state": dict(state)}, receive, send)  # type: ignore[operator,call-overload]

    return wrapped


async def test_every_page_answers_in_both_languages(system: Stack) -> None:
    url = str(system.client.base_url)
    product = (await system.answer("/popular", k=1))["product_ids"][0]
    paths = (
        "search",
        "search?q=خاتم",
        "buyer",
        "buyer?buyer_id=nobody",
        f"product/{product}",
        "trending",
        "live",
        "compare",
    )
    for language, direction in (("ar", "rtl"), ("en", "ltr")):
        for path in (*paths, "compare?value=x&value_b=y"):
            page = await open_page(url, "GET", f"/{language}/{path}")
            assert page.status_code == 200, (path, page.text)
            assert f'lang="{language}" dir="{direction}"' in page.text
            assert page.headers["content-security-policy"].startswith("default-src 'none'")


async def test_an_event_is_stored_and_the_changes_are_marked(system: Stack) -> None:
    url = str(system.client.base_url)
    product = (await system.answer("/popular", k=1))["product_ids"][0]
    form = {"buyer_id": "guest-1", "product_id": product, "event_type": "View", "before": "none-such"}
    page = await open_page(url, "POST", "/en/buyer", data=form, follow_redirects=True)
    stored = (await system.get("/history", buyer_id="guest-1")).json()["interactions"]
    assert [(one["product_id"], one["event_type"]) for one in stored] == [(product, "View")]
    assert page.status_code == 200 and '<span class="mark">new</span>' in page.text


async def test_a_form_of_another_site_is_refused(system: Stack) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    page = await open_page(str(system.client.base_url), "POST", "/en/buyer", headers=headers)
    assert page.status_code == 403


async def test_products_names_what_it_does_not_know(system: Stack) -> None:
    known = (await system.answer("/popular", k=1))["product_ids"][0]
    answer = await system.answer("/products", id=[known, "none-such"])
    assert [one["product_id"] for one in answer["products"]] == [known]
    assert answer["unknown_product_ids"] == ["none-such"]


async def test_what_the_gateway_refuses_is_no_fault_of_the_gateway(system: Stack) -> None:
    url = str(system.client.base_url)
    unknown = await open_page(url, "GET", "/en/product/none-such")
    refused = await open_page(url, "GET", "/en/search?q=x&price_min=9&price_max=1")
    assert (unknown.status_code, refused.status_code) == (404, 422)
    assert "is below price_min, which is 9" in refused.text and "A value is not accepted" in refused.text
    assert "Not found" in unknown.text and 'action="/en/search"' in unknown.text


@pytest.mark.parametrize(
    ("path", "language", "said"),
    [
        ("/en/nope", "en", "There is no page at this address"),
        ("/nope", "ar", "لا توجد صفحة بهذا العنوان"),
        ("/static/nope.js", "ar", "لا توجد صفحة بهذا العنوان"),
    ],
)
async def test_an_unknown_address_leads_to_the_search(path: str, language: str, said: str) -> None:
    page = await open_page(f"http://{NOBODY}", "GET", path)
    assert page.status_code == 404 and said in page.text and f'href="/{language}/search"' in page.text


@pytest.mark.parametrize(("path", "target"), [("/", "/ar/search"), ("/ar", "/ar/search"), ("/en", "/en/search")])
async def test_a_language_alone_is_its_search(path: str, target: str) -> None:
    page = await open_page(f"http://{NOBODY}", "GET", path)
    assert (page.status_code, page.headers["location"]) == (307, target)


async def test_prices_may_have_arabic_digits(system: Stack) -> None:
    url = str(system.client.base_url)
    latin = await open_page(url, "GET", "/ar/search?q=خاتم&price_min=20.5&price_max=300")
    arabic = await open_page(url, "GET", "/ar/search?q=خاتم&price_min=٢٠٫٥&price_max=٣٠٠")
    found = [re.findall('data-product="([^"]*)"', page.text) for page in (latin, arabic)]
    assert latin.status_code == arabic.status_code == 200
    assert found[0] == found[1] and found[0]


async def test_an_arabic_page_warns_in_arabic(system: Stack) -> None:
    url = str(system.client.base_url)
    arabic = await open_page(url, "GET", "/ar/search?q=خاتم&category=زهور")
    english = await open_page(url, "GET", "/en/search?q=خاتم&category=زهور")
    assert "لا منتج في الفئة «زهور»" in arabic.text and "no product has" not in arabic.text
    assert "no product has category=زهور" in english.text


async def test_a_report_that_is_not_there(system: Stack) -> None:
    page = await open_page(str(system.client.base_url), "GET", "/en/report/none-such")
    assert page.status_code == 404


async def test_without_a_gateway_the_page_says_so() -> None:
    page = await open_page(f"http://{NOBODY}", "GET", "/en/search?q=x")
    assert page.status_code == 502
    assert "There is no answer" in page.text


async def test_a_missing_shard_is_named_beside_the_services_and_the_versions(
    tmp_path: Path, redis: RedisServer
) -> None:
    folder = build_sharded(tmp_path / "artifacts", "a", "b")
    async with shops([folder] * 2, redis, may_publish=True, missing_shard="degrade") as (client, shards):
        url = str(client.base_url)
        whole = await open_page(url, "GET", "/en/model")
        # of a, b and what they were built from, a alone can be published
        assert whole.text.count('<form method="post"') == 1 and "Roll back to this version" in whole.text
        assert "version base-a is for 1 shards" in whole.text
        shards[1].stop.set()
        await shards[1].task
        health = await open_page(url, "GET", "/en/live")
        assert "retrieval shard 1: it cannot be reached" in health.text and "Degraded" in health.text
        page = await open_page(url, "GET", "/en/model")
        assert page.status_code == 200 and "shard 1 of 2 of the retrieval service cannot be reached" in page.text
        assert '<form method="post"' not in page.text and "Products: " in page.text


def test_routes_are_read_from_metrics() -> None:
    lines = [
        "# TYPE twotower_http_seconds histogram",
        'twotower_http_seconds_count{route="/search",status="200"} 3',
        'twotower_http_seconds_sum{route="/search",status="200"} 0.02',
        'twotower_http_seconds_count{route="/search",status="422"} 1',
        'twotower_http_seconds_sum{route="/search",status="422"} 0.02',
    ]
    figures = read_routes("\n".join(lines) + "\n")["/search"]
    assert (figures.count, figures.errors) == (4, 1)
    assert figures.mean_ms == pytest.approx(10)


async def test_pictures_come_from_the_named_hosts_alone(system: Stack) -> None:
    url = str(system.client.base_url)
    picture = "https://pictures.shop.example/1.png"
    drawn = await open_page(url, "GET", "/en/product/p1")
    shown = await open_page(url, "GET", "/en/product/p1", image_hosts="*.shop.example")
    other = await open_page(url, "GET", "/en/product/p1", image_hosts="shop.example")
    assert picture not in drawn.text and picture not in other.text
    assert picture in shown.text and "img-src 'self' *.shop.example;" in shown.headers["content-security-policy"]
