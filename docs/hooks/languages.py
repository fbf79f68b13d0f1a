"""The two languages of the documentation site: a page under ar/ is Arabic and reads from right to left.

mkdocs calls the functions `on_…` by name while it builds the site.
"""

import copy
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

SECTIONS = {"en": 0, "ar": 1}  # the language's place in mkdocs.yml's `nav`
# What Git hosts need to show Arabic, and the site does not: `div` lines, and direction marks beside code.
DIRECTION = re.compile(r"^</?div[^>]*>$|&lrm;(?=`)|(?<=`)&lrm;", re.MULTILINE)
MARKS = re.compile(r"[\u064b-\u0652]")  # Arabic vowel marks, which hardly anybody types
ALTERNATES = re.compile(r'\s*<link rel="alternate"[^>]*hreflang[^>]*>')


def language_of(page: Page) -> str:
    """Returns "ar" for a page under ar/, "en" for any other."""
    return "ar" if page.file.src_uri.startswith("ar/") else "en"


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Ends each language's row of previous and next pages where the other language begins."""
    for page in nav.pages:
        if page.next_page and language_of(page) != language_of(page.next_page):
            page.next_page.previous_page = None
            page.next_page = None
    return nav


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Removes the direction from an Arabic page's text: the theme and the style sheet set it."""
    return DIRECTION.sub("", markdown) if language_of(page) == "ar" else markdown


def on_page_context(context: dict[str, Any], page: Page, config: MkDocsConfig, nav: Navigation) -> dict[str, Any]:
    """Sets the theme's language, the navigation and the language switch for one page."""
    language = language_of(page)
    config.theme["language"] = language

    entries = nav.items[SECTIONS[language]].children
    own = copy.copy(nav)
    own.items = entries
    own.homepage = entries[0]
    context["nav"] = own
    page.parent = None  # the language's own entry is no part of the path

    translated = {language_of(other): other.url for other in nav.pages if name_of(other) == name_of(page)}
    for choice in config.extra["alternate"]:
        home = nav.items[SECTIONS[choice["lang"]]].children[0].url
        choice["link"] = translated.get(choice["lang"], home)
    return context


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Removes the links for crawlers: for each one the theme's script asks for a sitemap that does not exist."""
    return ALTERNATES.sub("", output)


def on_post_build(config: MkDocsConfig) -> None:
    """Removes the vowel marks from the search index, so that a word typed without them is found."""
    path = Path(config.site_dir, "search", "search_index.json")
    index = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(MARKS.sub("", json.dumps(index, ensure_ascii=False)), encoding="utf-8")


def name_of(page: Page) -> str:
    """Returns the file's path below its language's folder: the same for a page and its translation."""
    return page.file.src_uri.removeprefix("ar/")
