"""The words of the pages in both languages."""

from __future__ import annotations

import re

LANGUAGES = ("ar", "en")
DIRECTION = {"ar": "rtl", "en": "ltr"}

_PAIRS = {
    "model": ("النموذج", "Model"),
    "brand": ("العلامة", "Brand"),
    "price_min": ("السعر من", "Price from"),
    "price_max": ("السعر إلى", "Price to"),
    "excluded": ("بلا", "Without"),
    "stay_tuned": (
        "اكتب ما تبحث عنه، بالعربية أو بالحروف اللاتينية: khatem dahab",
        "Type what you look for, in Arabic or in Latin letters: khatem dahab",
    ),
    "pick_buyer": (
        "اكتب رقم مشترٍ، مثل B00042، أو ابدأ سجل زائر",
        "Type a buyer id, such as B00042, or start a guest history",
    ),
    "pick_sides": (
        "اكتب مشتريًا أو بحثًا واختر طريقتين للإجابة لترى الفرق بينهما",
        "Type a buyer or a search, and choose two ways to answer it, to see how the lists differ",
    ),
    "versions": ("الإصدارات", "Versions"),
    "current": ("المنشور الآن", "Live now"),
    "previous": ("السابق", "Previous"),
    "created": ("أُنشئ", "Created"),
    "verdict": ("الحكم", "Verdict"),
    "passed": ("اجتاز البوابة", "Passed the gate"),
    "refused": ("رفضته البوابة", "Kept back by the gate"),
    "off": ("دون بوابة", "Gate off"),
    "products_count": ("المنتجات", "Products"),
    "buyers_count": ("المشترون", "Buyers"),
    "events_count": ("الأحداث", "Events"),
    "better": ("أفضل من الأكثر رواجًا", "Better than popularity"),
    "not_better": ("ليس أفضل من الأكثر رواجًا", "Not better than popularity"),
    "no_verdict": ("لا مقارنة بالأكثر رواجًا في هذا الإصدار", "This version has no comparison with popularity"),
    "compared": ("النموذج وخطوط الأساس", "The model and the baselines"),
    "method": ("الطريقة", "Method"),
    "interval": ("فترة 95 %", "95 % interval"),
    "publish": ("انشر", "Publish"),
    "roll_back": ("ارجع إلى هذا الإصدار", "Roll back to this version"),
    "admin_key": ("مفتاح المسؤول، إن طلبته البوابة", "Admin key, if the gateway asks for one"),
    "published": ("نُشر الإصدار، وتأخذه الخدمات خلال ثوانٍ", "Published; the services load it within seconds"),
    "no_publish": (
        "هذه الخدمة لا تنشر. شغّل هذا الأمر حيث تُكتب الإصدارات:",
        "This service does not publish. Run this command where versions are written:",
    ),
    "data": ("البيانات", "Data"),
    "rejected": ("صفوف مرفوضة", "Rejected rows"),
    "no_rejects": ("لم يُرفض أي صف", "No row was rejected"),
    "reason": ("السبب", "Reason"),
    "report": ("التقرير", "Report"),
    "open_report": ("افتح التقرير وحده", "Open the report alone"),
    "map": ("خريطة المنتجات", "Map of products"),
    "map_note": (
        "أكثر المنتجات رواجًا على أول محورين رئيسيين لمتجهاتها؛ نصيب المحورين من التباين",
        "The most popular products on the first two principal components of their vectors; share of variance kept",
    ),
    "ready": ("كل شيء يعمل", "Everything works"),
    "degraded": ("يعمل بعضه", "Degraded"),
    "unavailable": ("لا يعمل", "Unavailable"),
    "lost": ("ما لا يعمل الآن", "What does not work now"),
    "per_second": ("طلبات في الثانية", "Requests per second"),
    "latency": ("متوسط الزمن (ms)", "Mean time (ms)"),
    "now": ("آخر دقائق هذه الصفحة", "The last minutes of this page"),
    "no_requests": ("لا طلبات بعد", "No requests yet"),
    "figures_need_admin": ("الأرقام تحتاج مفتاحًا له نطاق admin", "The figures need a key of scope admin"),
    "not_found": ("غير موجود", "Not found"),
    "wrong_input": ("قيمة غير مقبولة", "A value is not accepted"),
    "title": ("مستكشف التوصيات", "Recommendation explorer"),
    "skip": ("انتقل إلى المحتوى", "Skip to the content"),
    "search": ("البحث", "Search"),
    "buyer": ("المشتري", "Buyer"),
    "product": ("المنتج", "Product"),
    "live": ("الحالة الآن", "Live"),
    "compare": ("المقارنة", "Compare"),
    "query": ("ابحث عن منتج", "Search for a product"),
    "go": ("اعرض", "Show"),
    "diversity": ("التنوّع", "Diversity"),
    "in_stock": ("المتوفر فقط", "In stock only"),
    "category": ("الفئة", "Category"),
    "sort": ("الترتيب", "Order"),
    "relevance": ("الأنسب", "Relevance"),
    "price_asc": ("السعر: من الأقل", "Price: lowest first"),
    "price_desc": ("السعر: من الأعلى", "Price: highest first"),
    "understood": ("كيف فُهم البحث", "What was understood"),
    "searched": ("الكلمات التي بُحث عنها", "Words searched"),
    "suggestions": ("اقتراحات", "Suggestions"),
    "results": ("النتائج", "Results"),
    "none": ("لا توجد نتائج", "No results"),
    "took": ("زمن الإجابة", "Time of the answer"),
    "available": ("متوفر", "In stock"),
    "sold_out": ("غير متوفر", "Out of stock"),
    "no_price": ("بلا سعر", "No price"),
    "score": ("الدرجة", "Score"),
    "buyer_id": ("رقم المشتري", "Buyer id"),
    "guest": ("ابدأ سجل زائر جديد", "Start a new guest history"),
    "history": ("السجل", "History"),
    "recommended": ("يوصى به", "Recommended"),
    "empty": ("لا يوجد سجل بعد", "No history yet"),
    "popular": ("لا سجل معروف: هذه الأكثر رواجًا", "No known history: these are the most popular"),
    "View": ("مشاهدة", "View"),
    "AddToCart": ("إضافة إلى السلة", "Add to cart"),
    "Purchase": ("شراء", "Purchase"),
    "add": ("أضف حدثًا", "Add an event"),
    "find": ("ابحث لتضيف منتجًا", "Find a product to add"),
    "new": ("جديد", "new"),
    "up": ("صعد", "up"),
    "down": ("نزل", "down"),
    "by_behaviour": ("ما يأخذه المشترون بعده", "What buyers take next"),
    "by_vector": ("أقرب المنتجات في النموذج", "Nearest in the model"),
    "by_text": ("أقرب المنتجات نصًّا", "Nearest by text"),
    "health": ("الخدمات", "Services"),
    "requests": ("الطلبات منذ بدء الخدمة", "Requests since the start"),
    "route": ("المسار", "Route"),
    "count": ("العدد", "Count"),
    "errors": ("الأخطاء", "Errors"),
    "mean": ("متوسط الزمن", "Mean time"),
    "version": ("إصدار النموذج", "Model version"),
    "problem": ("تعذّر الحصول على الإجابة", "There is no answer"),
    "other": ("English", "العربية"),
    "common": ("مشترك بينهما", "in common"),
    "only_here": ("هنا فقط", "only here"),
    "side_a": ("الجانب الأول", "First side"),
    "side_b": ("الجانب الثاني", "Second side"),
    "value": ("مشترٍ أو كلمات بحث", "Buyer or search words"),
    "why": ("لماذا", "Why"),
    "taste": ("ذوق المتسوقين عامة", "what the model adds for everyone"),
    "popularity": ("الرواج", "popularity"),
    "others": ("بقية السجل", "the rest of the history"),
    "carries": ("سبب توصيات", "recommendations because of it"),
    "slot": ("مكان العرض", "Slot"),
    "added": ("أُضيف الحدث إلى السجل، وهذه القائمة بعده", "The event was added; this is the list after it"),
    "all_filters": ("خيارات أخرى", "More options"),
    "way": ("من يجيب", "Answered by"),
    "way_live": ("ما يُقدَّم الآن", "what is served now"),
    "way_versions": ("إصدارات", "Versions"),
    "way_arms": ("فروع التجارب", "Arms of experiments"),
    "exclude_seen": ("دون ما في السجل", "Without the history's products"),
    "understand": ("فهم البحث", "Understand the search"),
    "yes": ("نعم", "yes"),
    "no": ("لا", "no"),
    "value_b": ("مشترٍ آخر أو كلمات أخرى للجانب الثاني", "Another buyer or other words for the second side"),
    "is_same": ("الجانبان يسألان السؤال نفسه: غيّر أحدهما", "Both sides ask the same: change one of them"),
    "identical": ("القائمتان متطابقتان", "The lists are identical"),
    "settings_alone": (
        "الإصدارات وفروع التجارب تحتاج مفتاحًا له نطاق admin؛ هذه مقارنة بين الإعدادات",
        "Versions and arms need a key of scope admin; settings can be compared",
    ),
    "not_held": (
        "لا تحمّل الخدمات هذا الإصدار. هي تحمّل المنشور والذي قبله وما تسمّيه التجارب؛ سمِّه في experiments.yaml ثم شغّل "
        "trainer experiment",
        "The services do not hold this version. They hold the live one, the one before it, and those of "
        "experiments: name it in experiments.yaml, then run trainer experiment",
    ),
    "experiments": ("التجارب", "Experiments"),
    "no_experiments": ("لا تجربة جارية", "No experiment runs"),
    "arm": ("الفرع", "Arm"),
    "lists": ("القوائم", "Lists"),
    "clicks": ("النقرات", "Clicks"),
    "click_through": ("نقرات لكل قائمة", "Clicks a list"),
    "difference": ("الفرق عن الأول", "Difference from the first"),
    "failures": ("الإخفاقات", "Failures"),
    "state": ("الحالة", "State"),
    "arm_on": ("يعمل", "on"),
    "arm_off": ("أوقفه حد الأمان", "switched off by a guardrail"),
    "split": ("تقسيم", "split"),
    "interleave": ("قائمة مشتركة", "interleaved"),
    "shadow": ("ظل", "shadow"),
    "interval_note": (
        "فترات 95 % تصح مهما تكرر النظر إليها؛ الحكم الكامل في تقرير trainer online",
        "95 % intervals that hold however often they are looked at; trainer online gives the full verdict",
    ),
    "top_searches": ("أكثر ما بُحث عنه", "Most frequent searches"),
    "lost_searches": ("بحث بلا نتيجة مطابقة", "Searches that nothing matches"),
    "seven_days": ("في سبعة أيام", "in seven days"),
    "no_searches": ("لا شيء بعد", "Nothing yet"),
    "kind": ("قارن", "Compare"),
    "kind_retrieve": ("توصيات مشترٍ", "a buyer's list"),
    "kind_search": ("نتائج بحث", "a search"),
}


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
    (r"no product has category=(.*)", "لا منتج في الفئة «{}»"),
    (r"no product has brand=(.*)", "لا منتج من العلامة «{}»"),
    (r"no product has (.*)", "لا منتج له {}"),
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
                return sentence.format(*found.groups())
    return warning


def step_in(language: str, step: str) -> str:
    """A step of understanding a query in one of LANGUAGES."""
    return _STEPS.get(step, step) if language == "ar" else step


def words_of(language: str) -> dict[str, str]:
    """Every word of the pages in one of LANGUAGES."""
    place = LANGUAGES.index(language)
    return {name: pair[place] for name, pair in _PAIRS.items()}
