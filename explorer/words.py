"""The words of the pages in both languages."""

from __future__ import annotations

LANGUAGES = ("ar", "en")
DIRECTION = {"ar": "rtl", "en": "ltr"}

_PAIRS = {
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
    "kind": ("قارن", "Compare"),
    "kind_retrieve": ("مشتريين", "buyers"),
    "kind_search": ("بحثين", "searches"),
}


def words_of(language: str) -> dict[str, str]:
    """Every word of the pages in one of LANGUAGES."""
    place = LANGUAGES.index(language)
    return {name: pair[place] for name, pair in _PAIRS.items()}
