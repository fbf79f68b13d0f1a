"""Event names, ids and times: training and serving accept the same interactions."""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.data.times import time_ms
from twotower.errors import InvalidInput
from twotower.events import AROUND_ID, DAY_MS, EventSchema, check_id, check_time, parse_time

SECOND_OF_MARCH = 1_709_337_600_000  # 2024-03-02T00:00:00Z


TIMES = [
    ("1970-01-01T00:00:00Z", 0),
    ("2024-03-02", SECOND_OF_MARCH),
    ("2024-03-02T00:00", SECOND_OF_MARCH),
    ("2024-03-02 00:00:00", SECOND_OF_MARCH),
    ("2024-03-02T00:00:00", SECOND_OF_MARCH),
    ("2024-03-02t00:00:00z", SECOND_OF_MARCH),
    ("2024-03-02 00:00:00 UTC", SECOND_OF_MARCH),
    ("2024-03-02T03:00:00+03:00", SECOND_OF_MARCH),
    ("2024-03-02T03:00:00+0300", SECOND_OF_MARCH),
    ("2024-03-02T03:00:00+03", SECOND_OF_MARCH),
    ("2024-03-01T19:30:00-04:30", SECOND_OF_MARCH),
    ("2024-03-02T05:45:00 +05:45", SECOND_OF_MARCH),
    ("2024-03-02T00:00:00.5Z", SECOND_OF_MARCH + 500),
    ("2024-03-02T00:00:00,25", SECOND_OF_MARCH + 250),
    ("2024-03-02T00:00:00.001999999Z", SECOND_OF_MARCH + 1),
    ("2024-02-29T00:00:00Z", SECOND_OF_MARCH - 2 * DAY_MS),
    ("1969-12-31T23:59:59.999Z", -1),
    ("0", 0),
    ("1709337600", SECOND_OF_MARCH),
    ("1709337600.25", SECOND_OF_MARCH + 250),
    ("1709337600000", SECOND_OF_MARCH),
    ("  1709337600  ", SECOND_OF_MARCH),
    ("99999999999", 99_999_999_999_000),
    ("100000000000", 100_000_000_000),
    ("-5", -5000),
    ("2024", 2_024_000),
    # seconds and milliseconds that read as no date: a year too early or too late, no such month, day, hour or minute
    ("19691231", 19_691_231_000),
    ("21000101", 21_000_101_000),
    ("20251301", 20_251_301_000),
    ("20250100", 20_250_100_000),
    ("20250132", 20_250_132_000),
    ("20250101.5", 20_250_101_500),
    ("202501012400", 202_501_012_400),
    ("202501011060", 202_501_011_060),
    ("20250101103060", 20_250_101_103_060),
    ("2025010110", 2_025_010_110_000),
    ("1735727400000", 1_735_727_400_000),
    ("9999-12-31T23:59:59-23:00", 253_402_383_599_000),
]


NO_TIMES = [
    "",
    " ",
    "now",
    "2024-03",
    "2024-3-2",
    "02/03/2024",
    "2023-02-29",
    "2024-13-01",
    "2024-00-10",
    "0000-01-01",
    "2024-03-02T24:00:00",
    "2024-03-02T00:60:00",
    "2024-03-02T00:00:60",
    "2024-03-02T00",
    "2024-03-02T00:00:00.Z",
    "2024-03-02T00:00:00+3",
    "2024-03-02T00:00:00+24:00",
    "2024-03-02T00:00:00-99:00",
    "2024-03-02T00:00:00 GMT",
    "2024-03-02T00:00:00+03:60",
    "2024-03-02T00:00:00+03:99",
    "1e9",
    "1_000",
    "+5",
    "5.",
    ".5",
    "0x10",
    "nan",
    "inf",
    "12345678901234567890",
    # A spreadsheet's day number, which would be in the first day of 1970.
    "45658",
    "45658.5",
    "٢٠٢٤-٠٣-٠٢",
    "١٧٠٩٣٣٧٦٠٠",
    "2024-03-02T00:00:00.1234567890Z",
    "2024-03-02T00:00:00Z\nx",
    "2024-03-02 Z junk",
    "0999-12-31",
    "2024-03-02T00:00:00\u00a0Z",
    "\u00a02024-03-02",
]


def online(text: str) -> int | None:
    try:
        return parse_time(text)
    except InvalidInput:
        return None


def offline(*texts: str) -> list[int | None]:
    frame = pl.DataFrame({"time": texts}, schema={"time": pl.String})
    return frame.select(time_ms(pl.col("time"))).to_series().to_list()


@pytest.mark.parametrize(("text", "wanted"), TIMES)
def test_a_time_is_read_as_worked_out_by_hand_online_and_offline(text: str, wanted: int) -> None:
    assert online(text) == wanted
    assert offline(text) == [wanted]


@pytest.mark.parametrize("text", NO_TIMES)
def test_a_text_that_is_not_a_time_is_refused_online_and_offline(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_time(text, "created_at")
    assert caught.value.field == "created_at"
    assert offline(text) == [None]


# Dates of digits only: as seconds or milliseconds they would be in August 1970, 1976 or the year 2611.
DATES_IN_DIGITS = [
    "20250101",
    "202501011030",
    "20250101103000",
    "19700101",
    "20991231235959",
    "20240229",
    " 20250101 ",
    "20250101.0",
]


@pytest.mark.parametrize("text", DATES_IN_DIGITS)
def test_a_date_of_digits_only_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InvalidInput, match="unreadable time: a date of digits only; write 2025-01-01"):
        parse_time(text)
    assert offline(text) == [None]


def part(low: int, high: int, width: int = 2) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(lambda number: f"{number:0{width}d}")


DATES = st.tuples(part(0, 9999, 4), part(0, 13), part(0, 32)).map("-".join)


CLOCKS = st.one_of(
    st.just(""),
    st.tuples(
        st.sampled_from("Tt _"),
        part(0, 24),
        st.just(":"),
        part(0, 60),
        st.one_of(
            st.just(""),
            st.tuples(
                st.just(":"), part(0, 61), st.one_of(st.just(""), st.from_regex(r"[.,][0-9]{1,10}", fullmatch=True))
            ).map("".join),
        ),
    ).map("".join),
)


ZONES = st.one_of(
    st.sampled_from(["", "Z", "z", "UTC", " Z", "+03", "GMT", "+"]),
    st.tuples(st.sampled_from("+-"), part(0, 25), st.sampled_from(["", ":"]), part(0, 61)).map("".join),
)


ISO = st.tuples(DATES, CLOCKS, ZONES).map("".join)


DIGITS = st.tuples(
    part(1968, 2101, 4),
    part(0, 13),
    part(0, 32),
    st.one_of(st.just(""), st.tuples(part(0, 24), part(0, 60), st.one_of(st.just(""), part(0, 60))).map("".join)),
    st.sampled_from(["", "", ".0", ".5"]),
).map("".join)


EPOCH = st.one_of(
    DIGITS,
    st.integers(-(10**15), 10**15).map(str),
    st.from_regex(r"-?[0-9]{1,15}(\.[0-9]{0,20})?", fullmatch=True),
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
)


@given(st.lists(st.one_of(ISO, EPOCH, st.text(max_size=12)), min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
@example(["0.0005", "0.0015", "0.0025", "-0.0005", "99999999999.9995", "100000000000.5", "100000000001.5"])
@example(["1709337600.0005", "-0", "-0.0", "00000000000000", "99999999999999"])
@example(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1582-10-10", "1970-01-01T00:00:00.0009-00:00"])
@example(["20250101", "-20250101", "20250101.00", "20250101.01", "020250101", "197001010000", "20991231235959"])
@example(["\u06f1\u06f2", "1\u0662", "2024-03-02T00:00:00\u2003Z", "2024-03-02\u000bZ", "2024-03-02\x1cZ"])
def test_serving_and_training_read_the_same_time_or_both_refuse(texts: list[str]) -> None:
    wanted = {text: online(text) for text in texts}
    assert dict(zip(texts, offline(*texts), strict=True)) == wanted


def test_times_before_1970_and_far_ahead_are_refused() -> None:
    assert check_time(0, now_ms=1000) == 0
    assert check_time(301_000, now_ms=1000) == 301_000
    with pytest.raises(InvalidInput, match="timestamp -1: is before 1970-01-01"):
        check_time(-1, now_ms=1000)
    with pytest.raises(InvalidInput, match="timestamp 301001: is more than five minutes ahead"):
        check_time(301_001, now_ms=1000)


@pytest.mark.parametrize("good", ["p1", "م-١", "a b", "x" * 128, "ذ" * 64])
def test_a_good_id_is_returned_unchanged(good: str) -> None:
    assert check_id(good, "product_id") == good


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("P1 ", "P1"), (" b1", "b1"), ("P2\u00a0", "P2"), ("\t a b\r\n", "a b"), (" " * 200 + "x" * 128, "x" * 128)],
)
def test_white_space_around_an_id_is_removed(given: str, wanted: str) -> None:
    assert check_id(given, "product_id") == wanted


def test_serving_and_training_strip_the_same_characters_of_all_of_unicode() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    frame = pl.DataFrame({"id": [f"{one}x{one}" for one in characters]})
    ident = pl.col("id")
    ours = frame.select(ident.str.strip_chars(AROUND_ID)).to_series()
    white = frame.select(ident.str.strip_chars()).to_series()
    unseen = [one for one, kept, rest in zip(characters, white, ours, strict=True) if kept != rest]
    # white space, and beside it marks of direction, characters of no width, fillers and variation selectors
    assert Counter(unicodedata.category(one) for one in unseen) == {"Cf": 29, "Mn": 2, "Lo": 1, "So": 1}
    assert [one for one, offline in zip(characters, ours, strict=True) if offline == "x"] == sorted(AROUND_ID)
    for character, offline in zip(characters, ours, strict=True):
        try:
            assert check_id(f"{character}x{character}", "id") == offline
        except InvalidInput as error:
            assert error.problem == "must not contain control characters"
            assert offline == f"{character}x{character}"


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("", "must not be empty"),
        (" \t", "must not be empty"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("x" * 129, "129 bytes long, the limit is 128"),
        ("ذ" * 65, "130 bytes long"),
        ("\ud800", "Unicode"),
    ],
)
def test_a_bad_id_names_field_and_problem(bad: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        check_id(bad, "product_id")
    assert caught.value.field == "product_id"


def test_event_codes_follow_the_order_of_the_configuration() -> None:
    schema = EventSchema({"View": 1.0, "Purchase": 10.0})
    assert schema.codes == {"View": 1, "Purchase": 2}
    assert schema.check("Purchase") == "Purchase"
    with pytest.raises(InvalidInput, match="event_type 'purchase': unknown event name; known: View, Purchase"):
        schema.check("purchase")
