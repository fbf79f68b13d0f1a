"""What the gateway says in English, and how an Arabic page says it: warnings, and steps of understanding a query."""

from __future__ import annotations

import re

_STEPS = {
    "layout": "لوحة المفاتيح",
    "sound": "النطق والإملاء",
    "synonyms": "مرادف",
    "filler": "كلمة زائدة",
    "price": "السعر",
    "negation": "النفي",
}
# what the gateway warns of, in English, and how an Arabic page says it
_WARNINGS = (
    (r"diversity has no effect on popular products", "لا أثر للتنوّع في قائمة الأكثر رواجًا"),
    (r"diversity has no effect on products that are bought together", "لا أثر للتنوّع في قائمة ما يُشترى معًا"),
    (r"diversity has no effect on this list", "لا أثر للتنوّع في هذه القائمة"),
    (r"product (.*) is not known", "المنتج {} غير معروف"),
    (
        r"only (\d+) of these products are known to go with .*; popular products fill the list",
        "{} فقط من هذه المنتجات عُرف أنها تُختار معه؛ والأكثر رواجًا تكمل القائمة",
    ),
    (
        r"none of these products is known to go with .*; popular products fill the list",
        "لم يُعرف أن أيًّا من هذه المنتجات يُختار معه؛ هذه الأكثر رواجًا",
    ),
    (r"this version knows of no past to compare with", "لا يعرف هذا الإصدار ماضيًا يقارن به"),
    (
        r"this version knows of no repeat purchases: the training saw too few",
        "لا يعرف هذا الإصدار مشتريات متكررة: رأى التدريب منها القليل",
    ),
    (r"the buyer's stored history holds no purchase", "لا شراء في سجل المشتري"),
    (
        r"the buyer has bought nothing twice, and few buyers come back to the products that were bought once",
        "لم يشترِ المشتري شيئًا مرتين، وقليل من يعودون إلى ما اشتراه مرة",
    ),
    (
        r"counted by the training: the recorder has not counted the live log yet",
        "الأعداد من التدريب: لم يُعدّ السجل المباشر بعد",
    ),
    (
        r"counted by the training: the recorder counted last (.*) days ago",
        "الأعداد من التدريب: آخر عدّ للسجل المباشر قبل {} يوم",
    ),
    (
        r"counted by the training: the live log's counts cannot be read(?:: .*)?",
        "الأعداد من التدريب: تعذّرت قراءة أعداد السجل المباشر",
    ),
    (r"a part of the catalogue cannot be reached: shard (.*)", "جزء من المنتجات لا يمكن الوصول إليه الآن: {}"),
    (r"no product has category=(.*)", "لا منتج في الفئة «{}»"),
    (r"no product has brand=(.*)", "لا منتج من العلامة «{}»"),
    (r"no product has (.*)", "لا منتج له {}"),
    (
        r"no product matches ('.*'|\".*\"): these are no nearer than to words that no product has",
        "لا منتج يطابق {}: هذه ليست أقرب إليه مما لا يطابق شيئًا",
    ),
    (
        r"no product is left by (.*) of (.*); understand=false searches without such filters",
        "لا يبقى منتج بعد {} من {}؛ البحث دون فهم (understand=false) لا يصفّي بها",
    ),
    (r"the arm (.*) of (.*) cannot answer: (.*)", "الفرع {} من {} لا يجيب: {}"),
    (r"its condition is never true", "شرطها لا يتحقق أبدًا"),
    (r"no product matches(?:, or its condition is not true of it)?", "لا منتج تنطبق عليه"),
    (r"the product ('.*'|\".*\") is not known(?:, or its condition is not true of it)?", "المنتج {} غير معروف"),
    (
        r"contradicts ('.*'|\".*\"): both want place (\d+), and the first rule counts",
        "تعارض {}: كلتاهما تريد المكان {}، والأولى تسري",
    ),
    (
        r"contradicts ('.*'|\".*\"): the same product at place (\d+), and the first rule counts",
        "تعارض {}: المنتج نفسه في المكان {}، والأولى تسري",
    ),
    (r"contradicts ('.*'|\".*\"): it buries what the other boosts", "تعارض {}: إحداهما ترفع ما تؤخره الأخرى"),
    (r"contradicts ('.*'|\".*\"): (?:the product is|all products that match are) excluded", "تعارض {}: تخفي ما تعنيه"),
    (r"its window is past: it ended (.*)", "انتهى وقتها: {}"),
    (r"its window is empty: it ends (.*) and begins (.*)", "وقتها فارغ: تنتهي {} وتبدأ {}"),
    (r"conditions are not checked: (.*)", "لم تُفحص الشروط: {}"),
    (r"products may be shown again: (.*)", "قد تتكرر منتجات عُرضت: {}"),
    (r"the buyer's history cannot be (?:read|encoded): (.*)", "تعذّرت قراءة سجل المشتري: {}"),
    (r"product (.*) has no content and no events to compare", "المنتج {} بلا نص وبلا أحداث تُقارن"),
    (
        r"only (\d+) of these products are known to follow .*",
        "{} فقط من هذه المنتجات عُرف أنها تليه؛ والأقرب تكمل القائمة",
    ),
    (r"none of these products is known to follow .*", "لم يُعرف أن أيًّا من هذه المنتجات يليه؛ هذه أقرب المنتجات"),
)


def warning_in(language: str, warning: str) -> str:
    """A warning of the gateway in one of LANGUAGES; one that is not known stays as it is."""
    if language == "ar":
        for pattern, sentence in _WARNINGS:
            if found := re.fullmatch(pattern, warning):
                return sentence.format(*map(_in_arabic, found.groups()))
    return warning


def _in_arabic(name: str) -> str:
    """A name within an Arabic sentence; Latin letters are isolated, so that quotes and digits beside them stay."""
    return f"\u2068{name}\u2069" if re.search("[A-Za-z]", name) else name


def step_in(language: str, step: str) -> str:
    """A step of understanding a query in one of LANGUAGES."""
    return _STEPS.get(step, step) if language == "ar" else step
