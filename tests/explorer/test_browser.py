"""Every page in both languages on a phone and on a desktop, and what visitors come to do, in a real browser."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page

from explorer.app import create_app
from explorer.settings import ExplorerSettings
from tests.explorer.browser import CHROMIUM, SIZES, Watched, chromium
from tests.helpers.lists import write_lists
from tests.helpers.processes import ROOT
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import running, until
from tests.helpers.stack import gateway
from tests.helpers.tiny_version import build_version

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt install chromium"),
    pytest.mark.timeout(180),
]
PAGES = (
    "search",
    "search?q=khatem+dahab&diversity=0.2",
    "search?q=خاتم&category=زهور",
    "buyer",
    "buyer?buyer_id=B00042&find=عطر",
    "buyer?buyer_id=nobody",
    "trending",
    "trending?category=زهور",
    "product/p0",
    "product/none-such",
    "compare",
    "compare?kind=search&value=خاتم&understand_b=false",
    "rules",
    "rules?product_id=p0&find=خاتم",
    "model",
    "live",
    "nope",
)
# what answers 404
UNKNOWN = ("product/none-such", "nope")


@contextmanager
def _served(artifacts: Path, redis: RedisServer) -> Iterator[str]:
    """The whole system in a thread of its own, because Playwright blocks this one. Yields host and port."""
    started, address = threading.Event(), list[str]()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        import uvicorn

        from gateway.http.draining import bind

        redis.mark_loaded()
        async with AsyncExitStack() as exits:
            addresses = {}
            for name, more in (("item", {}), ("buyer", {}), ("retrieval", {"may_publish": True})):
                service = await exits.enter_async_context(running(name, artifacts, **more))
                addresses[f"{name}_address"] = service.address
            client = await exits.enter_async_context(gateway(redis_url=redis.url, **addresses))
            for product, kind in (("p0", "Purchase"), ("p4", "View"), ("p1", "AddToCart")):
                body = {"buyer_id": "B00042", "product_id": product, "event_type": kind, "timestamp": "2025-10-09"}
                assert (await client.post("/interactions", json=body)).status_code == 200
            listener = bind("127.0.0.1", 0)
            app = create_app(ExplorerSettings(gateway_url=str(client.base_url)))
            server = uvicorn.Server(uvicorn.Config(app, log_config=None))
            task = asyncio.create_task(server.serve(sockets=[listener]))
            await until(lambda: server.started or task.done())
            address.append(f"127.0.0.1:{listener.getsockname()[1]}")
            started.set()
            await stop.wait()
            server.should_exit = True
            await task

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(60), "the system has not started"
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    artifacts = tmp_path_factory.mktemp("explorer") / "artifacts"
    artifacts.mkdir()
    build_version(artifacts, "a", lists=write_lists)
    better = {"recall@10": {"difference": 0.12, "low": 0.1, "high": 0.14}}
    measured = {"test": {"model": {"recall@10": 0.3, "cases": 50}}, "differences": {"popularity": better}}
    build_version(artifacts, "b", created_at="2026-02-01T00:00:00+00:00", measured=measured, lists=write_lists)
    with RedisServer() as redis, _served(artifacts, redis) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as running_browser:
        yield running_browser


@contextmanager
def opened(browser: object, host: str, size: str = "desktop") -> Iterator[Watched]:
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height})  # type: ignore[attr-defined]
    try:
        yield Watched(page, host)
    finally:
        page.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["ar", "en"])
def test_no_page_has_a_fault_or_a_barrier(browser: object, host: str, language: str, size: str) -> None:
    found = []
    with opened(browser, host, size) as watched:
        for path in PAGES:
            watched.page.goto(f"http://{host}/{language}/{path}")
            # the browser itself reports the status of a page that says 404
            faults = [one for one in watched.faults if "404" not in one or path not in UNKNOWN]
            found += [(path, one) for one in [*faults, *watched.barriers()]]
            found += [(path, f"{watched.overflow()} pixels too wide")] if watched.overflow() > 0 else []
            watched.faults.clear()
    assert not found


def follow(page: Page, element: Locator) -> None:
    """Clicks an element that loads another page, and waits for that page."""
    with page.expect_navigation():
        element.click()


def test_what_a_buyer_is_shown_and_how_an_event_changes_it(browser: object, host: str) -> None:
    with opened(browser, host) as watched:
        page = watched.page
        page.goto(f"http://{host}/")
        follow(page, page.get_by_role("link", name="المشتري"))
        page.get_by_label("رقم المشتري").fill("B00042")
        follow(page, page.get_by_role("button", name="اعرض"))
        assert page.locator(".history li").count() == 3
        assert page.locator("#lists .card").count() == 12
        assert page.locator(".mark", has_text="جديد").count() == 0
        follow(page, page.locator("#lists .card").last.get_by_role("button", name="شراء"))
        page.wait_for_url("**/buyer?**before=**")
        assert page.locator(".history li").count() == 4


def test_what_latin_letters_find_with_completions_while_typing(browser: object, host: str) -> None:
    with opened(browser, host, "phone") as watched:
        page = watched.page
        page.goto(f"http://{host}/ar/search")
        page.get_by_label("ابحث عن منتج").press_sequentially("خات")
        page.locator("#suggestions a").first.wait_for()
        page.get_by_label("ابحث عن منتج").fill("khatem dahab")
        follow(page, page.get_by_role("button", name="اعرض"))
        first = page.locator(".cards h3").first.inner_text()
        assert "خاتم ذهب" in first
        assert not watched.faults


def test_which_version_is_live_and_back_to_the_one_before(browser: object, host: str) -> None:
    with opened(browser, host) as watched:
        page = watched.page
        page.goto(f"http://{host}/en/search")
        follow(page, page.get_by_role("link", name="Model"))
        assert page.locator(".headline h2").inner_text() == "Live now: b"
        assert "Better than popularity: recall@10 +0.120" in page.locator(".headline").inner_text()
        follow(page, page.get_by_role("button", name="Roll back to this version a"))
        page.get_by_role("status").wait_for()
        assert page.locator(".headline h2").inner_text() == "Live now: a"
        follow(page, page.get_by_role("button", name="Roll back to this version b"))
        page.wait_for_url("**published=b")
        assert page.locator(".headline h2").inner_text() == "Live now: b"
        assert not watched.faults


def test_a_product_is_put_first_for_a_day_and_taken_back(browser: object, host: str) -> None:
    with opened(browser, host) as watched:
        page = watched.page
        page.goto(f"http://{host}/ar/search")
        follow(page, page.get_by_role("link", name="القواعد"))
        page.get_by_label("رقم المنتج").fill("p9")
        page.get_by_label("الرقم أو الكلمات").first.fill("B00042")
        follow(page, page.get_by_role("button", name="معاينة").first)
        after = page.locator("section:has(> h3:text-is('بعد')) .card")
        assert after.first.get_attribute("data-product") == "p9"
        assert not watched.barriers()
        follow(page, page.get_by_role("button", name="فعّل الآن").first)
        page.goto(f"http://{host}/ar/buyer?buyer_id=B00042")
        first = page.locator(".cards .card").first
        assert first.get_attribute("data-product") == "p9" and "pin p9" in first.inner_text()
        page.goto(f"http://{host}/ar/buyer?buyer_id=B00042&slot=email")
        assert "pin p9" not in page.locator(".cards .card").first.inner_text()
        follow(page, page.get_by_role("link", name="القواعد"))
        follow(page, page.get_by_role("button", name="احذف pin p9"))
        assert page.locator(".versions li").count() == 0
        follow(page, page.get_by_role("button", name="تراجع"))
        assert page.locator(".versions li").count() == 1
        follow(page, page.get_by_role("button", name="احذف pin p9"))
        assert page.locator(".changes li").count() == 4
        assert not watched.faults


def test_a_rule_that_the_gateway_refuses_stays_in_the_form(browser: object, host: str) -> None:
    with opened(browser, host, "phone") as watched:
        page = watched.page
        page.goto(f"http://{host}/en/rules")
        page.get_by_text("All rules as text").click()
        page.locator("textarea").fill("- {name: wrong, do: exclude, when: 'price >'}")
        follow(page, page.get_by_role("button", name="Put in force").last)
        assert "rules[0]" in page.get_by_role("alert").inner_text()
        assert "price >" in page.locator("textarea").input_value()
        assert page.locator(".versions li").count() == 0


def test_what_rises_in_a_category(browser: object, host: str) -> None:
    with opened(browser, host, "phone") as watched:
        page = watched.page
        page.goto(f"http://{host}/ar/search")
        follow(page, page.get_by_role("link", name="الرائج"))
        shown = page.locator(".cards .card")
        assert [one.get_attribute("data-product") for one in shown.all()] == ["p5", "p2", "p9"]
        assert "40 متسوقًا" in shown.first.locator(".reason").inner_text()
        # p5 and p9 are perfumes
        follow(page, page.locator(".chips a", has_text="عطور"))
        assert [one.get_attribute("data-product") for one in shown.all()] == ["p5", "p9"]
        assert not watched.faults


def test_what_a_buyer_is_due_to_buy_again(browser: object, host: str) -> None:
    with opened(browser, host, "phone") as watched:
        page = watched.page
        page.goto(f"http://{host}/en/buyer?buyer_id=B00042")
        # another journey may have bought more
        ring = page.locator("#again .card[data-product=p0]")
        assert "You bought it once" in ring.locator(".reason").inner_text()
        assert "overdue by (days)" in ring.inner_text()
        page.goto(f"http://{host}/en/buyer?buyer_id=nobody")
        assert "holds no purchase" in page.locator("#again").inner_text()
        assert not watched.faults


def test_a_rule_is_tried_on_what_is_trending(browser: object, host: str) -> None:
    with opened(browser, host) as watched:
        page = watched.page
        page.goto(f"http://{host}/en/rules")
        page.get_by_label("Product id").fill("p9")
        page.get_by_label("Slot").first.select_option("trending")
        page.locator("select[name=subject_kind]").first.select_option("trending")
        follow(page, page.get_by_role("button", name="Preview").first)
        after = page.locator("section:has(> h3:text-is('After')) .card")
        assert [one.get_attribute("data-product") for one in after.all()] == ["p9", "p5", "p2"]
        assert not watched.faults


def test_history_and_reasons_are_marked_together(browser: object, host: str) -> None:
    with opened(browser, host) as watched:
        page = watched.page
        page.goto(f"http://{host}/ar/buyer?buyer_id=B00042")
        card = page.locator("[data-because]:not([data-because=''])").first
        product = (card.get_attribute("data-because") or "").split(" ")[0]
        assert "%" in card.locator(".shares").inner_text() and card.locator(".reason").inner_text()
        card.hover()
        assert page.locator(f".history [data-product='{product}'].lit").count() >= 1
        card.locator(".shares a").first.click()
        page.wait_for_url(f"**#because-{product}")
        assert not watched.faults


def test_two_settings_side_by_side_with_differences_marked(browser: object, host: str) -> None:
    with opened(browser, host) as watched:
        page = watched.page
        page.goto(f"http://{host}/en/compare")
        page.get_by_label("Buyer or search words").fill("B00042")
        page.get_by_label("Diversity").nth(1).select_option("0.8")
        follow(page, page.get_by_role("button", name="Show"))
        assert page.locator(".columns section").count() == 2
        assert page.locator(".mark").count() > 0
        page.get_by_label("Answered by").nth(1).select_option(label="a")
        page.get_by_label("Diversity").nth(1).select_option("0")
        follow(page, page.get_by_role("button", name="Show"))
        assert "Second side: a" in page.locator(".columns section h2").nth(1).inner_text()
        assert not watched.faults


def test_what_is_served_is_what_the_lock_names() -> None:
    sums = (ROOT / "explorer" / "web" / "vendored.sha256").read_text().split("\n")
    for line in filter(None, sums):
        digest, name = line.split()
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest, name


def test_a_page_names_no_other_host(host: str) -> None:
    page = httpx.get(f"http://{host}/ar/live", trust_env=False)
    assert "https://" not in page.text and "script-src 'self'" in page.headers["content-security-policy"]
