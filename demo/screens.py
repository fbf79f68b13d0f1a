"""`python -m demo.screens`: photographs every page of the running demo's explorer, in both languages and two sizes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from demo.settings import DemoSettings
from twotower.errors import SettingsError
from twotower.serving.settings import read_settings

_SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
_PAGES = {
    "search-empty": "search",
    "search": "search?q=khatem+dahab",
    "search-none": "search?q=خاتم&category=none",
    "buyer-empty": "buyer",
    "buyer": "buyer?buyer_id=B00042&find=عطر",
    "trending": "trending",
    "product": "product/P000042",
    "product-unknown": "product/none-such",
    "compare-empty": "compare",
    "compare": "compare?kind=retrieve&value=B00042&diversity_b=0.5",
    "rules": "rules?product_id=P000042&find=خاتم",
    "model": "model",
    "live": "live",
}


def main() -> int:
    """Writes PNG files into .demo/screens. Returns 1 if there is no chromium."""
    from playwright.sync_api import sync_playwright

    try:
        settings = read_settings(DemoSettings, "demo")
    except SettingsError as error:
        print(f"screens: {error}", file=sys.stderr)
        return 2
    path = shutil.which("chromium")
    if path is None:
        print("screens: there is no chromium: apt install chromium", file=sys.stderr)
        return 1
    folder = settings.folder / "screens"
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for size, (width, height) in _SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            for language in ("ar", "en"):
                for name, where in _PAGES.items():
                    page.goto(f"{settings.explorer_address}/{language}/{where}")
                    if name == "live":
                        page.wait_for_timeout(7000)  # two points of its charts
                    page.screenshot(path=Path(folder) / f"{name}-{language}-{size}.png", full_page=True)
        browser.close()
    print(f"{len(_SIZES) * len(_PAGES) * 2} pictures in {folder}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
