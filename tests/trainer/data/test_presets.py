"""The presets of --format, each on a small file in the documented form of its system's export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trainer.config.loading import PRESETS, load_config, preset_file
from trainer.data.dataset import Dataset, load_dataset
from twotower.errors import SettingsError

NAMES = [
    "mixpanel",
    "ga4",
    "shopify",
    "woocommerce",
    "salla",
    "zid",
    "magento",
    "google-merchant",
    "rees46",
    "retailrocket",
]


def lines(*records: object) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read(folder: Path, preset: str, events: str | Path, products: str | Path | Sequence[str], *sets: str) -> Dataset:
    """The data set of files with these texts."""
    texts = [products] if isinstance(products, (str, Path)) else list(products)
    paths = [one if isinstance(one, Path) else folder / f"file{place}" for place, one in enumerate([events, *texts])]
    for path, text in zip(paths, [events, *texts], strict=True):
        if isinstance(text, str):
            path.write_text(text, encoding="utf-8")
    config = load_config([preset_file(preset)], sets).data
    return load_dataset([str(paths[0])], [str(path) for path in paths[1:]], config, 7, folder / "work")


def rows(made: Dataset) -> list[tuple[str, str, str, str]]:
    """(buyer, product, event, minute of the time) in the order of the arrays."""
    events = made.events
    return [
        (
            made.buyers[buyer],
            made.products.ids[product],
            made.event_names[kind - 1],
            datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
        )
        for buyer, product, kind, ms in zip(
            events.buyer, events.product, events.kind, events.time.tolist(), strict=True
        )
    ]


def facts(made: Dataset, *fields: str) -> list[tuple[Any, ...]]:
    """These columns of the products, in the order of the file."""
    return list(zip(*(getattr(made.products, name) for name in fields), strict=True))


def test_there_is_one_of_each_name() -> None:
    assert sorted(path.stem for path in PRESETS.glob("*.yaml")) == sorted(NAMES)
    for name in NAMES:
        load_config([preset_file(name)])
    with pytest.raises(SettingsError, match=r"--format nonsense: must be one of ga4, .*, or a path that ends in .yaml"):
        preset_file("nonsense")


PLAIN = "product_id,title\np1,خاتم\np2,عود\n"


def test_mixpanel_joins_what_a_visitor_did_before_the_login(tmp_path: Path) -> None:
    def event(name: str, time: int, **properties: object) -> dict[str, object]:
        return {
            "event": name,
            "properties": {"time": time, **{key.replace("S_", "$"): v for key, v in properties.items()}},
        }

    made = read(
        tmp_path,
        "mixpanel",
        lines(
            # simplified ID merge
            event("Product Viewed", 1735689600, distinct_id="$device:d1", S_device_id="d1", product_id="p1"),
            event("Product Added", 1735689660, distinct_id="u1", S_device_id="d1", S_user_id="u1", product_id="p1"),
            event(
                "Order Completed",
                1735689720,
                distinct_id="u1",
                S_user_id="u1",
                products=[{"product_id": "p1"}, {"product_id": "p2"}],
            ),
            # original ID merge
            event("Product Viewed", 1735689780, distinct_id="a2", product_id="p2"),
            event("$identify", 1735689800, distinct_id="u2", S_identified_id="u2", S_anon_id="a2"),
            event("Product Viewed", 1735689840, distinct_id="u2", product_id="p1"),
            # a shared device says nothing
            event("Product Viewed", 1735689900, distinct_id="$device:d3", S_device_id="d3", product_id="p1"),
            event("Product Viewed", 1735689960, distinct_id="u1", S_device_id="d3", S_user_id="u1", product_id="p2"),
            event("Product Viewed", 1735690020, distinct_id="u2", S_device_id="d3", S_user_id="u2", product_id="p2"),
        ),
        PLAIN,
    )
    assert rows(made) == [
        ("d3", "p1", "View", "2025-01-01 00:05"),
        ("u1", "p1", "View", "2025-01-01 00:00"),
        ("u1", "p1", "AddToCart", "2025-01-01 00:01"),
        *sorted(
            [("u1", f"p{one}", "Purchase", "2025-01-01 00:02") for one in (1, 2)], key=lambda one: place(made, one)
        ),
        ("u1", "p2", "View", "2025-01-01 00:06"),
        ("u2", "p2", "View", "2025-01-01 00:03"),
        ("u2", "p1", "View", "2025-01-01 00:04"),
        ("u2", "p2", "View", "2025-01-01 00:07"),
    ]
    assert made.summary.dropped_events == {"$identify, left out by data.event_names": 1}


def place(made: Dataset, row: tuple[str, str, str, str]) -> int:
    """Where a row stands: events of one moment have no order of their own."""
    return rows(made).index(row)


GA4 = [
    {
        "event_date": "20250101",
        "event_timestamp": "1735689600000000",
        "event_name": "view_item",
        "user_id": None,
        "user_pseudo_id": "77.1",
        "items": [
            {"item_id": "p1", "item_name": "خاتم", "item_brand": "لازوردي", "item_category": "مجوهرات", "price": 120.0}
        ],
    },
    {
        "event_timestamp": "1735689660000000",
        "event_name": "purchase",
        "user_id": "u1",
        "user_pseudo_id": "77.1",
        "items": [
            {"item_id": "p1", "item_name": "خاتم"},
            {"item_id": "p2", "item_name": "عود", "item_brand": "(not set)"},
        ],
    },
    {"event_timestamp": "1735689720000000", "event_name": "page_view", "user_pseudo_id": "77.2", "items": []},
]


@pytest.mark.parametrize("kind", ["lines", "parquet"])
def test_ga4_has_an_event_for_each_item_and_serves_as_the_products(tmp_path: Path, kind: str) -> None:
    events: str | Path = lines(*GA4)
    if kind == "parquet":
        events = tmp_path / "events.parquet"
        pl.DataFrame(GA4).write_parquet(events)
    made = read(tmp_path, "ga4", events, events)
    assert rows(made)[0] == ("u1", "p1", "View", "2025-01-01 00:00")
    assert sorted(rows(made)[1:]) == [("u1", f"p{one}", "Purchase", "2025-01-01 00:01") for one in (1, 2)]
    assert facts(made, "ids", "titles", "brands", "categories", "prices") == [
        ("p1", "خاتم", "لازوردي", "مجوهرات", 120.0),
        ("p2", "عود", "(not set)", "", None),
    ]
    assert made.summary.dropped_events == {"page_view, left out by data.event_names": 1}
    assert sum(made.summary.rejected_products.values()) == 0
    own = read(tmp_path, "ga4", events, PLAIN)
    assert own.products.titles == ["خاتم", "عود"] and len(own.events.buyer) == 3


def test_shopify_variants_have_what_their_product_has_and_line_items_what_their_order_has(tmp_path: Path) -> None:
    products = (
        "Handle,Title,Body (HTML),Vendor,Type,Tags,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Qty,"
        "Variant Price,Image Src,Status\n"
        'shirt,قميص,"<p>قطن</p>",نسيج,ملابس,"صيف, قطن",Size,S,S-1,3,50.00,https://x/1.jpg,active\n'
        "shirt,,,,,,,M,S-2,0,55.00,,\n"
        "shirt,,,,,,,,,,,https://x/2.jpg,\n"
        "mug,كوب,,دار,أدوات,,Title,Default Title,M-1,8,20.00,,draft\n"
    )
    orders = (
        "Name,Email,Financial Status,Paid at,Currency,Created at,Lineitem quantity,Lineitem name,Lineitem sku,Phone\n"
        "#1,a@x.sa,paid,2025-01-02 09:50:26 +0300,SAR,2025-01-02 09:50:26 +0300,1,قميص - S,S-1,\n"
        "#1,a@x.sa,,,,,2,قميص - M,S-2,\n"
        "#2,b@x.sa,refunded,2025-01-03 10:00:00 +0300,SAR,2025-01-03 10:00:00 +0300,1,قميص - M,S-2,\n"
        "#3,,pending,,SAR,2025-01-04 10:00:00 +0300,1,قميص - S,S-1,0500000000\n"
    )
    made = read(tmp_path, "shopify", orders, products)
    assert sorted(rows(made)) == [
        ("0500000000", "S-1", "Purchase", "2025-01-04 07:00"),
        ("a@x.sa", "S-1", "Purchase", "2025-01-02 06:50"),
        ("a@x.sa", "S-2", "Purchase", "2025-01-02 06:50"),
    ]
    assert facts(made, "ids", "titles", "brands", "categories", "prices", "in_stock") == [
        ("S-1", "قميص", "نسيج", "ملابس", 50.0, True),
        ("S-2", "قميص", "نسيج", "ملابس", 55.0, False),
    ]
    assert set(made.products.attributes[1]) == {"$.Tags=صيف", "$.Tags=قطن", "$.Option1 Value=M"}
    assert made.summary.dropped_products == {
        "row without product id, of a product's group": 1,
        "Status is draft, left out by data.product_filter": 1,
    }
    assert made.summary.dropped_events == {"Financial Status is refunded, left out by data.event_filter": 1}


def test_woocommerce_variations_and_guests(tmp_path: Path) -> None:
    products = (
        "ID,Type,SKU,Name,Published,Short description,Description,In stock?,Stock,Sale price,Regular price,Categories,"
        "Tags,Parent,Brands,Attribute 1 name,Attribute 1 value(s)\n"
        '10,variable,HOOD,هودي,1,,دافئ,1,,,,"ملابس > هوديات, جديد",,,نسيج,المقاس,"S, M"\n'
        "11,variation,HOOD-S,هودي - S,1,,,1,4,80,100,,,HOOD,,المقاس,S\n"
        "12,variation,,هودي - M,1,,,0,0,,100,,,id:10,,المقاس,M\n"
        "13,simple,CUP,كوب,-1,,,1,,,20,أدوات,,,,,\n"
    )
    orders = json.dumps(
        [
            {
                "id": 1,
                "status": "completed",
                "customer_id": 0,
                "date_created_gmt": "2025-01-02T06:50:26",
                "billing": {"email": "a@x.sa"},
                "line_items": [{"product_id": 10, "variation_id": 11}, {"product_id": 10, "variation_id": 0}],
            },
            {
                "id": 2,
                "status": "processing",
                "customer_id": 7,
                "date_created_gmt": "2025-01-03T06:50:26",
                "billing": {"email": "a@x.sa"},
                "line_items": [{"product_id": 10, "variation_id": 12}],
            },
            {
                "id": 3,
                "status": "failed",
                "customer_id": 8,
                "date_created_gmt": "2025-01-03T06:50:26",
                "line_items": [],
            },
        ]
    )
    made = read(tmp_path, "woocommerce", orders, products)
    assert sorted(rows(made)) == [
        ("7", "10", "Purchase", "2025-01-02 06:50"),
        ("7", "11", "Purchase", "2025-01-02 06:50"),
        ("7", "12", "Purchase", "2025-01-03 06:50"),
    ]
    assert facts(made, "ids", "descriptions", "brands", "categories", "prices", "in_stock") == [
        ("10", "دافئ", "نسيج", "ملابس > هوديات", None, True),
        ("11", "دافئ", "نسيج", "ملابس > هوديات", 80.0, True),
        ("12", "دافئ", "نسيج", "ملابس > هوديات", 100.0, False),
    ]
    assert made.products.attributes[1] == ("$.Attribute 1 value(s)=S",)


def test_salla_pages_of_the_merchant_api(tmp_path: Path) -> None:
    page = {
        "status": 200,
        "success": True,
        "data": [
            {
                "id": 101,
                "name": "فستان",
                "sku": "",
                "price": {"amount": 114, "currency": "SAR"},
                "description": "قطن",
                "quantity": 0,
                "status": "out",
                "is_available": False,
                "brand": {"id": 3, "name": "نسيج"},
                "categories": [{"id": 5, "name": "ملابس"}, {"id": 6, "name": "جديد"}],
                "tags": [{"id": 1, "name": "صيف"}],
            },
            {"id": 102, "name": "عطر", "status": "hidden", "price": {"amount": 9, "currency": "SAR"}},
        ],
        "pagination": {"count": 2, "total": 2},
    }
    order = {
        "id": 9,
        "date": {"date": "2025-01-02 22:03:27.000000", "timezone_type": 3, "timezone": "Asia/Riyadh"},
        "status": {"id": 1, "name": "تم التنفيذ", "slug": "completed"},
        "customer": {"id": 55},
        "items": [{"id": 1, "name": "فستان", "quantity": 1, "product": {"id": 101}}],
    }
    cancelled = {**order, "status": {"slug": "canceled"}, "customer": {"id": 56}}
    orders = json.dumps({"status": 200, "success": True, "data": [order, cancelled], "pagination": {"total": 2}})
    made = read(tmp_path, "salla", orders, json.dumps(page, ensure_ascii=False))
    assert rows(made) == [("55", "101", "Purchase", "2025-01-02 22:03")]
    assert facts(made, "ids", "titles", "brands", "categories", "prices", "currencies", "in_stock") == [
        ("101", "فستان", "نسيج", "ملابس", 114.0, "SAR", False)
    ]
    assert made.products.attributes == [("$.tags.name=صيف",)]
    details = read(tmp_path, "salla", json.dumps({"status": 200, "success": True, "data": order}), json.dumps(page))
    assert rows(details) == rows(made)


def test_zid_names_in_two_languages_and_variants(tmp_path: Path) -> None:
    parent = {
        "id": "u-1",
        "sku": "Z.1",
        "parent_id": None,
        "name": {"ar": "بخاخ", "en": "Spray"},
        "description": {"ar": "منظف", "en": ""},
        "price": 9.0,
        "sale_price": None,
        "currency": "SAR",
        "quantity": 5,
        "categories": [{"id": 1, "name": {"ar": "سيارات", "en": "Cars"}}],
        "attributes": [],
    }
    variant = {
        **dict.fromkeys(("description", "price", "quantity")),
        "id": "u-2",
        "parent_id": "u-1",
        "name": "بخاخ بارد",
        "sale_price": 8,
        "categories": [],
        "attributes": [{"name": "النوع", "value": {"ar": "بارد"}}],
    }
    page = json.dumps({"count": 2, "next": None, "previous": None, "results": [parent, variant]}, ensure_ascii=False)
    order = {
        "id": 60407024,
        "order_status": {"name": "جديد", "code": "new"},
        "customer": {"id": 1441, "name": "س"},
        "created_at": "2025-01-02 23:58:42",
        "products": [{"id": "u-2", "sku": "Z.2", "quantity": 1}],
    }
    cancelled = {**order, "order_status": {"code": "cancelled"}}
    orders = json.dumps({"status": "object", "orders": [order, cancelled], "total_order_count": 2})
    made = read(tmp_path, "zid", orders, page)
    assert rows(made) == [("1441", "u-2", "Purchase", "2025-01-02 23:58")]
    assert facts(made, "ids", "titles", "descriptions", "categories", "prices", "in_stock") == [
        ("u-1", "بخاخ", "منظف", "سيارات", 9.0, True),
        ("u-2", "بخاخ بارد", "منظف", "سيارات", 8.0, True),
    ]
    assert made.products.attributes[1] == ("$.attributes.value.ar=بارد",)


def test_magento_store_views_and_configurable_products(tmp_path: Path) -> None:
    products = (
        "sku,store_view_code,product_type,categories,name,description,short_description,product_online,price,"
        "special_price,additional_attributes,qty,is_in_stock,configurable_variations\n"
        'W-1,,configurable,"Default Category/ملابس,Default Category",سروال,مريح,,1,50.0000,,,0,1,'
        '"sku=W-1-S,size=S|sku=W-1-M,size=M"\n'
        'W-1-S,,simple,,سروال S,,,1,50.0000,40.0000,"color=أزرق,size=S",5,1,\n'
        "W-1,english,,,Pants,,,,,,,,,\n"
        "W-9,,simple,,قديم,,,2,5.0000,,,5,1,\n"
    )
    item = {"sku": "W-1-S", "product_type": "configurable"}
    page = {
        "items": [
            {
                "state": "complete",
                "created_at": "2025-01-02 06:50:26",
                "customer_id": 3,
                "customer_email": "a@x.sa",
                "items": [item, {**item, "product_type": "simple", "parent_item_id": 1}],
            },
            {"state": "canceled", "created_at": "2025-01-02 06:50:26", "customer_email": "b@x.sa", "items": [item]},
            {
                "state": "new",
                "created_at": "2025-01-03 06:50:26",
                "customer_email": "a@x.sa",
                "items": [{"sku": "W-1"}],
            },
        ],
        "search_criteria": {"filter_groups": []},
        "total_count": 3,
    }
    made = read(tmp_path, "magento", json.dumps(page), products)
    assert rows(made) == [
        ("3", "W-1-S", "Purchase", "2025-01-02 06:50"),
        ("3", "W-1", "Purchase", "2025-01-03 06:50"),
    ]
    assert facts(made, "ids", "titles", "descriptions", "categories", "prices") == [
        ("W-1", "سروال", "مريح", "Default Category/ملابس", 50.0),
        ("W-1-S", "سروال S", "مريح", "Default Category/ملابس", 40.0),
    ]
    assert made.products.attributes[1] == (
        "$.additional_attributes=color=أزرق",
        "$.additional_attributes=size=S",
    )


OWN_EVENTS = "distinct_id,product_id,event_name,created_at\nb1,g1,View,2025-01-01\nb1,g2,Purchase,2025-01-02\n"


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_google_merchant_feed(tmp_path: Path, delimiter: str) -> None:
    header = "id title description availability price sale_price brand product_type item_group_id color size"
    feed = [
        ["g1", "قميص أزرق", "قطن", "in_stock", "50.00 SAR", "", "نسيج", "ملابس > قمصان", "s", "أزرق", "M"],
        ["g2", "قميص أحمر", "", "out_of_stock", "60.00 SAR", "45.00 SAR", "", "", "s", "أحمر", ""],
    ]
    text = "\n".join(delimiter.join(row) for row in [header.split(), *feed]) + "\n"
    made = read(tmp_path, "google-merchant", OWN_EVENTS, text)
    assert [row[:3] for row in rows(made)] == [("b1", "g1", "View"), ("b1", "g2", "Purchase")]
    assert facts(made, "ids", "descriptions", "brands", "categories", "prices", "currencies", "in_stock") == [
        ("g1", "قطن", "نسيج", "ملابس > قمصان", 50.0, "SAR", True),
        ("g2", "قطن", "نسيج", "ملابس > قمصان", 45.0, "SAR", False),
    ]
    assert made.products.attributes[1] == ("$.color=أحمر", "$.size=M")


def test_rees46_log_is_both_tables(tmp_path: Path) -> None:
    log = (
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
        "2019-10-01 00:00:00 UTC,view,44,2103,electronics.smartphone,samsung,130.76,9,s1\n"
        "2019-10-01 00:01:00 UTC,cart,44,2103,electronics.smartphone,samsung,129.00,9,s1\n"
        "2019-10-01 00:02:00 UTC,remove_from_cart,44,2103,electronics.smartphone,samsung,129.00,9,s1\n"
        "2019-10-01 00:03:00 UTC,purchase,45,2104,,,5.10,9,s1\n"
    )
    made = read(tmp_path, "rees46", log, log)
    assert rows(made) == [
        ("9", "44", "View", "2019-10-01 00:00"),
        ("9", "44", "AddToCart", "2019-10-01 00:01"),
        ("9", "45", "Purchase", "2019-10-01 00:03"),
    ]
    assert facts(made, "ids", "titles", "brands", "categories", "prices") == [
        ("44", "electronics.smartphone", "samsung", "electronics.smartphone", 130.76),
        ("45", "", "", "2104", 5.10),
    ]
    assert made.summary.dropped_events == {"remove_from_cart, left out by data.event_names": 1}
    assert made.summary.rejected_products == {}


def test_retailrocket_properties_make_products_and_the_newest_value_counts(tmp_path: Path) -> None:
    events = (
        "timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,257597,view,355908,\n"
        "1433221392117,257597,addtocart,355908,\n"
        "1433221452117,257597,transaction,248676,4000\n"
    )
    part1 = (
        "timestamp,itemid,property,value\n"
        "1435460400000,355908,categoryid,1338\n"
        "1441508400000,355908,888,1116713 960601 n277.200\n"
        "1439089200000,355908,available,0\n"
    )
    part2 = (
        "timestamp,itemid,property,value\n"
        "1435460400000,248676,categoryid,1010\n"
        "1431226800000,355908,categoryid,7\n"
        "1431226800000,355908,available,1\n"
    )
    made = read(tmp_path, "retailrocket", events, [part1, part2])
    assert [row[:3] for row in rows(made)] == [
        ("257597", "355908", "View"),
        ("257597", "355908", "AddToCart"),
        ("257597", "248676", "Purchase"),
    ]
    assert facts(made, "ids", "categories", "in_stock") == [("355908", "1338", False), ("248676", "1010", True)]
    assert made.summary.product_rows == 6


def test_a_shops_own_file_is_a_preset_and_settings_lie_over_it(tmp_path: Path) -> None:
    own = tmp_path / "متجري [1].yaml"
    own.write_text("data: {event_columns: {buyer: who}, event_names: {seen: View}}\n", encoding="utf-8")
    events = "who,product_id,event_name,created_at\nb1,p1,seen,2025-01-01\nb2,p2,bought,2025-01-02\n"
    made = read(tmp_path, str(own), events, PLAIN, "data.event_names={seen: View, bought: Purchase}")
    assert [row[:3] for row in rows(made)] == [("b1", "p1", "View"), ("b2", "p2", "Purchase")]
