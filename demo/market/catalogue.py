"""Arabic vocabulary of the synthetic demonstration catalogue.

Everything here is invented: the brands belong to no real company and the phrases describe no real goods.

Phrases use a small markup, resolved by `demo.market.titles`:

* ``؛`` separates alternatives, ``#`` separates the styles of a category (gold, silver, ...);
* ``{18/21/24}`` picks one option and ``{5-20}`` a whole number of the closed range;
* ``فاخر*`` agrees in gender with the product's noun and ``[يناسب/تناسب]`` is masculine/feminine;
* ``@tag `` at the start of a sentence keeps it for the types that carry the tag;
* ``%t`` noun, ``%d`` definite noun, ``%s`` specification, ``%f`` feature, ``%z`` size, ``%a`` adjective,
  ``%c`` colour, ``%b`` brand, ``%n`` model number, ``%e`` English name, ``%l`` lead-in.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BLESSED_SPELLINGS", "CATEGORIES", "COLOURLESS", "DELIVERY", "FEMININE", "Category", "Noun", "ProductType"]


@dataclass(frozen=True)
class Noun:
    """A product noun; `feminine` drives agreement, `definite` is the form with the article."""

    text: str
    definite: str
    feminine: bool


@dataclass(frozen=True)
class ProductType:
    """One kind of product.

    `price` is the typical price in riyals and `restock_days` is 0 for durable goods. `tag` says which sentences
    of the category fit (empty: only the untagged ones). `links` names the types a buyer tends to look at next,
    with relative weights.
    """

    key: str
    nouns: tuple[Noun, ...]
    english: str
    price: float
    weight: float
    specs: tuple[tuple[str, ...], ...]
    features: tuple[str, ...]
    sizes: tuple[str, ...]
    notes: tuple[str, ...]
    links: tuple[tuple[str, float], ...]
    restock_days: int
    tag: str


@dataclass(frozen=True)
class Category:
    """One department of the marketplace with its own brands, phrases and styles.

    `style_weights` and `style_prices` (multipliers) have one entry for each style; `near` names the keys of
    the categories that the same people tend to shop in.
    """

    key: str
    name: str
    weight: float
    brands: tuple[str, ...]
    style_weights: tuple[float, ...]
    style_prices: tuple[float, ...]
    adjectives: tuple[str, ...]
    colours: tuple[str, ...]
    leads: tuple[str, ...]
    models: tuple[str, ...]
    titles: tuple[str, ...]
    openers: tuple[str, ...]
    details: tuple[str, ...]
    near: tuple[str, ...]
    types: tuple[ProductType, ...]


# Feminine forms that adding a taa marbuta would get wrong; loan words that never change map to themselves.
FEMININE: dict[str, str] = {
    "أسود": "سوداء",
    "أبيض": "بيضاء",
    "أحمر": "حمراء",
    "أزرق": "زرقاء",
    "أخضر": "خضراء",
    "أصفر": "صفراء",
    "مصفى": "مصفاة",
    "خال": "خالية",
    "بيج": "بيج",
    "موف": "موف",
}


# Spellings with short vowels or a doubled letter, as careful sellers type them now and then.
BLESSED_SPELLINGS: dict[str, str] = {
    "ذهب": "ذَهَب",
    "عطر": "عِطر",
    "عود": "عُود",
    "زيت": "زَيت",
    "عقد": "عِقد",
    "قهوة": "قَهوة",
    "جوال": "جوّال",
    "عباية": "عَباية",
    "تمر": "تَمر",
    "هيل": "هَيل",
    "طقم": "طَقم",
    "محرك": "مُحرّك",
    "حلق": "حَلَق",
    "ثوب": "ثَوب",
    "دراجة": "درّاجة",
    "سرير": "سَرير",
    "كتاب": "كِتاب",
    "قدر": "قِدر",
    "كريم": "كْريم",
    "كنب": "كَنَب",
    "بذور": "بُذور",
    "لعبة": "لُعبة",
    "حقيبة": "حَقيبة",
    "شماغ": "شِماغ",
    "فلتر": "فِلتر",
    "عسل": "عَسَل",
    "كرة": "كُرة",
    "رواية": "رِواية",
}


DELIVERY: tuple[str, ...] = (
    "التوصيل خلال {3-6} أيام داخل {الرياض/جدة/الدمام/مكة/المدينة}.",
    "الشحن مجاني للطلبات فوق {150/199/250/300} ريالًا.",
    "الدفع عند الاستلام متاح في أغلب المدن.",
    "يمكن الإرجاع خلال {7 أيام/14 يومًا/15 يومًا} إذا لم يُستخدم المنتج.",
    "نشحن من مستودعنا في {الرياض/جدة/الخبر/بريدة/أبها}.",
)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("؛") if part.strip())


# Types for which a colour would be odd or would contradict the material.
COLOURLESS: frozenset[str] = frozenset(
    _split(
        "screen_guard؛drone؛knife؛spoon_set؛spatula؛containers؛puzzle؛board_game؛trampoline؛mattress؛wipes؛diapers؛"
        "bottle؛sterilizer؛breast_pump؛baby_wash؛pacifier؛dumbbell؛treadmill؛football؛shemagh؛ghutra؛igal؛misbaha؛"
        "play_kitchen"
    )
)


# Within a category some sentences suit only some types: nobody irons a pair of cufflinks.
_TAGS: dict[str, str] = {
    key: tag
    for tag, keys in {
        "food": "dates coffee maamoul date_syrup honey",
        "cloth": "thobe shemagh ghutra cap bisht undershirt abaya bisht_abaya tarha niqab jalabiya prayer_dress gloves",
        "scent": "perfume oud_oil body_mist perfume_set",
        "smoke": "oud_wood bakhoor mabkhara",
        "device": "phone charger earbuds power_bank smart_watch",
        "engine": "motor_oil oil_filter air_filter spark_plug coolant",
        "cooking": "rice_pot frying_pan",
        "table": "spoon_set plates serving_tray spatula containers",
        "powered": "blender air_fryer rc_car drone play_kitchen",
        "reading": "novel poetry self_help history_book kids_story cook_book",
        "face": "face_cream serum sunscreen cleanser toner face_mask",
        "frame": "sofa bed wardrobe nightstand coffee_table tv_unit",
        "gear": "dumbbell treadmill yoga_mat resistance_band bench shaker",
        "wear": "sport_shoes tracksuit socks gym_gloves goal_gloves",
        "soft": "baby_clothes baby_blanket cot",
        "feeding": "bottle pacifier sterilizer breast_pump",
        "plant": "seeds soil fertilizer house_plant pot",
        "outdoor": "garden_seat parasol bbq hose",
        "carried": "handbag abaya_bag clutch wallet travel_bag makeup_bag",
    }.items()
    for key in keys.split()
}


def _article(word: str) -> str:
    return word if word.startswith("ال") and len(word) > 5 else f"ال{word}"


def _noun(text: str, feminine: bool) -> Noun:
    """Read one noun: ``_`` joins an adjective, ``~`` a tail without the article, ``:f`` gender."""
    if text.endswith((":f", ":m")):
        text, feminine = text[:-2], text.endswith(":f")
    head, _, tail = text.partition("~")
    *construct, last = head.split(" ")
    definite = " ".join([*construct, " ".join(_article(word) for word in last.split("_"))])
    plain = text.replace("_", " ").replace("~", " ")
    return Noun(plain, f"{definite} {tail}".strip(), feminine)


def _type(
    key: str,
    nouns: str,
    gender: str,
    english: str,
    price: float,
    *,
    specs: str = "",
    features: str = "",
    sizes: str = "",
    notes: str = "",
    links: str = "",
    weight: float = 1.0,
    restock: int = 0,
) -> ProductType:
    pairs = [link.split(":") for link in links.split()]
    return ProductType(
        key=key,
        nouns=tuple(_noun(noun, gender == "f") for noun in _split(nouns)),
        english=english,
        price=price,
        weight=weight,
        specs=tuple(_split(group) for group in specs.split("#")),
        features=_split(features),
        sizes=_split(sizes),
        notes=_split(notes),
        links=tuple((name, float(share)) for name, share in pairs),
        restock_days=restock,
        tag=_TAGS.get(key, ""),
    )


# The formatter would give every argument below its own line, three screens a category.
# fmt: off
_GEMS = (
    "ذهب عيار 21؛ذهب عيار 18؛ذهب عيار 24؛ذهب أصفر عيار {18/21}؛"
    "ذهب أبيض عيار 18؛ذهب وردي عيار 18؛ذهب عيار {18/21} مرصع بالزركون"
    "؛ذهب سعودي عيار 21؛ذهب {18/21} قيراط #"
    "فضة 925؛فضة إيطالية 925؛فضة إسترليني 925؛"
    "فضة عيار 925 مطلية بالروديوم؛فضة 925 مع {عقيق/فيروز/زركون} #"
    "ألماس طبيعي {0.10/0.15/0.20/0.25/0.30/0.50} قيراط؛"
    "ألماس وذهب أبيض عيار 18؛مرصع* بالألماس الطبيعي؛"
    "ألماس سوليتير {0.20/0.30/0.40/0.50} قيراط #"
    "مطلي* بالذهب؛لؤلؤ طبيعي؛حجر {عقيق يماني/فيروز/زمرد/ياقوت أحمر}؛"
    "ستانلس ستيل لا يتغير لونه؛كريستال ملون"
)


_JEWELLERY = Category(
    key="jewellery",
    name="مجوهرات",
    weight=1.8,
    brands=_split(
        "درر نجوان؛لمعة سهيل؛صاغة الريمان؛ميسورا؛بريق العليان؛حِلى ديمان؛لؤلؤة ساجان؛نورسين؛تاج الفيحان؛"
        "Dorrana؛Lamsat Rayan؛جوهرة وادين؛غلا الصاغة؛Zumurda"
    ),
    style_weights=(0.6, 0.17, 0.11, 0.12),
    style_prices=(1.0, 0.16, 2.2, 0.12),
    adjectives=_split("ناعم؛فخم؛أنيق؛عصري؛كلاسيكي؛نسائي؛بناتي؛راقي"),
    colours=_split("ذهبي؛فضي؛روز جولد؛أبيض؛أخضر زمردي"),
    leads=_split("هدية العيد؛تشكيلة العروس؛للملكة والخطوبة؛كلاسيك؛موديل جديد؛شغل يدوي"),
    models=_split("كود {1000-9999}؛موديل {100-999}"),
    titles=("%t %s", "%t %s وزن {1-24}.{10-95} جرام", "%s - %t %b", "%l: %t %s وزن {2-30} جرام", "%t %s %f"),
    openers=(
        "%t %s من %b بتشطيب لامع وحواف ناعمة.",
        "من تشكيلة %b: %t %s [يضيف/تضيف] لمسة راقية على إطلالتك.",
        "%t %a مشغول* بعناية على أيدي صاغة مهرة.",
        "%t %s %f، اختيار جميل لهدية الخطوبة أو الملكة.",
        "لمحبات المجوهرات الهادئة: %t %s بتصميم %b.",
        "تصميم %b في %t %s يجمع بين ذوق الجدات واللمسة العصرية.",
    ),
    details=(
        "تأتي القطعة مع شهادة ضمان من الصائغ.",
        "تصل في علبة مخملية جاهزة للإهداء.",
        "احفظي المجوهرات بعيدًا عن العطور والكلور حتى لا يبهت بريقها.",
        "[ينظف/تنظف] بقطعة قماش ناعمة وماء فاتر.",
        "الوزن تقريبي وقد يختلف قليلًا من قطعة إلى أخرى.",
        "خفيف* على البشرة و[يناسب/تناسب] اللبس اليومي والأعراس.",
        "الفصوص مثبتة يدويًا ومفحوصة تحت العدسة.",
    ),
    near=("perfumes", "abayas", "bags", "skin_care"),
    types=(
        _type("ring", "خاتم", "m", "Ring", 1250, weight=4.0, specs=_GEMS,
            features="بفص دائري؛بفصوص زركون؛بتصميم وردة؛بنقش إسلامي؛بحجر وسط؛على شكل تاج؛بفتحة قابلة للتعديل",
            sizes="مقاس {5-20}",
            notes="يمكن تعديل مقاس الخاتم عند الصائغ خلال أسبوع.؛الخاتم مريح في الإصبع ولا يعلق بالملابس.",
            links="necklace:3 earring:3 wedding_band:1 bracelet:1.5"),
        _type("necklace", "سلسال؛سلسال؛سلسال؛سلسلة:f", "m", "Chain Necklace", 1700, weight=3.8, specs=_GEMS,
            features="مع تعليقة قلب؛باسم حسب الطلب؛بحرف {س/م/ن/ر/ع/ل/ه/ف}؛مع تعليقة هلال؛بحلقات متداخلة؛"
            "بطبقتين", sizes="طول {40/42/45/50/55/60} سم",
            notes="القفل متين وسهل الفتح بيد واحدة.؛[ينسدل/تنسدل] على الرقبة بنعومة فوق الفستان أو القميص.",
            links="ring:2 pendant:2 earring:2.5 bracelet:1.5"),
        _type("bracelet", "سوار؛إسوارة:f؛أسورة:f", "m", "Bracelet", 2100, weight=1.8, specs=_GEMS,
            features="بنقشة {لازوردية/بحرينية/هندية/نجدية}؛بقفل مخفي؛بكرات صغيرة؛مع تعليقات متحركة؛"
            "عريض* بنقش بارز", sizes="مقاس {16/17/18/19} سم",
            notes="[يلبس/تلبس] وحد[ه/ها] أو مع عدة أساور لمظهر خليجي غني.", links="ring:2 earring:1.5 anklet:1"),
        _type("earring", "حلق؛أقراط:f؛تراكي:f", "m", "Earrings", 950, weight=1.7, specs=_GEMS,
            features="على شكل نجمة؛بدلاية طويلة؛على شكل فراشة؛بحلقة دائرية؛بقفل فرنسي؛للأطفال",
            notes="الوزن خفيف فلا يرهق الأذن في السهرات الطويلة.؛القفل الخلفي ثابت ولا يسبب حساسية.",
            links="necklace:3 ring:2 jewel_set:1"),
        _type("pendant", "عقد", "m", "Necklace", 3200, specs=_GEMS,
            features="بتصميم شلال؛مع حجر وسط؛بنقشة تراثية؛للعروس؛بثلاث طبقات",
            notes="العقد قطعة رئيسية لسهرات الأعراس وليالي الحناء.", links="earring:3 ring:1.5 jewel_set:1"),
        _type("wedding_band", "دبلة؛دبلة زواج", "f", "Wedding Band", 1100, weight=0.9, specs=_GEMS,
            features="للعرسان؛مع حفر الاسم والتاريخ؛بحافة مزدوجة؛سادة بدون نقش", sizes="مقاس {8-26}",
            notes="نحفر الاسم وتاريخ الملكة من الداخل عند الطلب.", links="ring:3 jewel_set:1.5"),
        _type("anklet", "خلخال", "m", "Anklet", 800, weight=0.6, specs=_GEMS,
            features="بأجراس صغيرة؛بكرات ملونة؛بتعليقة قلب", sizes="طول {22/24/26} سم",
            notes="الخلخال قابل للتوسعة بحلقات إضافية في الطرف.", links="bracelet:2 ring:1"),
        _type("jewel_set", "طقم؛طقم مجوهرات؛نص طقم", "m", "Jewelry Set", 6500, weight=1.0, specs=_GEMS,
            features="من {3/4/5} قطع؛للعروس؛بتصميم هندي؛بتصميم تركي؛للسهرات",
            notes="الطقم يشمل العقد والحلق والخاتم في علبة واحدة.",
            links="ring:1.5 bracelet:1.5 oud_oil:0.7 clutch:0.7"),
    ),
)


_PERFUMES = Category(
    key="perfumes",
    name="عطور وعود",
    weight=1.4,
    brands=_split(
        "عود الرميثان؛شذى نفوان؛بيت الطيب النجدان؛عبق سهاد؛نفحة غيمار؛مسك الدانات؛طيب وارف؛دخون المزيان؛"
        "ريحانة الجوفان؛Oudara؛Bakhoor Sadim؛Nafhat Layan؛عنبر الصفوان؛ورد الهجير"
    ),
    style_weights=(0.4, 0.25, 0.2, 0.15),
    style_prices=(1.5, 0.9, 0.8, 1.0),
    adjectives=_split("شرقي؛فواح؛ثابت؛ملكي؛فاخر؛ناعم؛مركز؛رجالي؛نسائي"),
    colours=(),
    leads=_split("طيب المجالس؛عرض العيد؛إصدار خاص؛للجنسين؛هدية فاخرة؛ريحة تثبت"),
    models=_split("إصدار {2019-2026}؛No. {1-99}"),
    titles=("%t %s %z", "%b %t %s %z", "%t %b %z %f", "%l - %t %s %b", "%t %s %f"),
    openers=(
        "@scent %t %s من %b برائحة تدوم من الصباح إلى آخر السهرة.",
        "@scent تبدأ الرائحة بنفحات {البرغموت/الزعفران/الهيل/اللافندر} "
        "ثم تستقر على قاعدة {العنبر/المسك/خشب الصندل/العود}.",
        "@scent %t %a [يجمع/تجمع] {الورد الطائفي/الزعفران/الفانيليا} مع {العود/العنبر/الباتشولي}.",
        "@scent لعشاق الطيب الأصيل: %t %s بتوقيع %b.",
        "@smoke ريحة دافئة تملأ المجلس وتبقى في الشماغ والعباية، من %b.",
        "@scent %t %s %f بثبات عالٍ وفوحان جميل.",
        "من %b: %t %s لبيت يعرف الطيب ويكرم ضيفه.",
        "@smoke %t %s [يعطر/تعطر] المجلس قبل وصول الضيوف.",
    ),
    details=(
        "@scent يكفي القليل خلف الأذن وعلى المعصم لفوحان طويل.",
        "@scent يحفظ الطيب بعيدًا عن الشمس والحرارة ليحافظ على رائحته.",
        "@scent الزجاجة مصممة بنقوش عربية وغطاء معدني ثقيل.",
        "مناسب* للأعراس واستقبال الضيوف في المجلس.",
        "@scent الرائحة تزداد عمقًا بعد أول نصف ساعة.",
        "من أحب روائح {العنبر/المسك/الزعفران/الصندل} فسيجد هنا ما يرضيه.",
        "@scent جرّب رشّه على الملابس القطنية لثبات أطول.",
    ),
    near=("jewellery", "abayas", "thobes", "skin_care"),
    types=(
        _type("perfume", "عطر", "m", "Eau de Parfum", 260, weight=3,
            specs="عود وزعفران؛عود كمبودي وعنبر؛بالعود والجلد؛عود ملكي # ورد طائفي؛ياسمين وفل؛زهر البرتقال؛"
            "ورد وفانيليا # مسك أبيض؛مسك الطهارة؛مسك وبودرة # عنبر وتوابل؛خشب الصندل؛حمضيات منعشة؛جلد وتبغ",
            features="للرجال؛للنساء؛للجنسين؛برائحة ثابتة؛مع عينة مجانية؛بتركيز عالي",
            sizes="{30/50/75/80/100/125} مل؛حجم {50/75/100} ml",
            notes="البخاخ ناعم ويوزع العطر بالتساوي.؛عطر يناسب {الدوام/السهرات/الشتاء/الصيف} بلا مبالغة.",
            links="body_mist:2 oud_oil:2 bakhoor:1.5 perfume_set:1", restock=50),
        _type("oud_oil", "دهن_عود؛دهن عود", "m", "Oud Oil", 420, weight=2.2,
            specs="هندي معتق؛كمبودي فاخر؛هندي سيوفي؛كلمنتان قديم؛بورمي # مع ورد طائفي؛بالورد والزعفران #"
            "مع مسك أسود؛بالمسك الأبيض # لاوسي؛ماليزي؛مع عنبر",
            features="بدون كحول؛في زجاجة منقوشة؛معتق منذ {5/7/10} سنوات؛بخلطة خاصة",
            sizes="ربع تولة؛نصف تولة؛تولة كاملة؛{3/6/12} مل",
            notes="مسحة صغيرة من دهن العود تكفي يومًا كاملًا.؛دهن عود نقي لا يترك بقعًا على الثوب الأبيض.",
            links="oud_wood:2 mabkhara:2 perfume:1.5"),
        _type("oud_wood", "عود؛كسر عود؛خشب عود", "m", "Oud Wood", 520, weight=1.4,
            specs="هندي سوبر؛كمبودي دبل سوبر؛كلمنتان طبيعي؛ماليزي محسن؛فيتنامي # موروكي محسن؛سيلاني معطر #"
            "موروكي بالمسك # إندونيسي طبيعي؛تراثي للمناسبات", sizes="{30/50/100/125/250} جرام؛أوقية؛نصف أوقية",
            features="للبخور اليومي؛للمناسبات؛بدخان كثيف وريحة صافية",
            notes="العود يصدر فقاعات دهنية على الجمر وهي علامة جودته.", links="mabkhara:3 bakhoor:2 oud_oil:2",
            restock=45),
        _type("bakhoor", "بخور؛معمول", "m", "Bakhoor", 95, weight=1.5,
            specs="عود ملكي؛العود والعنبر؛دوسري # الورد والياسمين؛ورد طائفي # المسك والصندل؛مسك وعنبر #"
            "العنبر والتوابل؛صندل معتق", sizes="{40/70/100/200} جرام؛علبة {12/20/24} حبة",
            features="للمنزل؛للملابس والعبايات؛للمجالس", notes="البخور يعطّر البيت والستائر لساعات.",
            links="mabkhara:3 oud_wood:2 perfume:1", restock=35),
        _type("mabkhara", "مبخرة؛مدخنة", "f", "Incense Burner", 140, weight=1.0,
            specs="خشب ونحاس؛معدن منقوش؛نحاس تراثي # سيراميك مزخرفة؛كريستال # كهربائية؛إلكترونية قابلة للشحن #"
            "خشب زان؛رخام", features="مع ملقط وصحن؛بشعلة USB؛بمقبض خشبي؛بغطاء مفرغ",
            sizes="ارتفاع {12/18/25/35} سم", notes="المبخرة ثابتة القاعدة وسهلة التنظيف من الرماد.",
            links="bakhoor:3 oud_wood:2"),
        _type("body_mist", "معطر جسم؛بودي مست؛مخمرية:f", "m", "Body Mist", 70, weight=1.1,
            specs="بالعود والسكر؛عود وكراميل # بالورد؛زهور الربيع؛ورد وليتشي # بالمسك الأبيض؛مسك البودرة #"
            "فانيليا وعنبر؛جوز الهند", sizes="{100/150/200/250} مل",
            features="للشعر والجسم؛بلمعة خفيفة؛بتركيبة مرطبة",
            notes="[ينعش/تنعش] الجسم بعد الاستحمام دون أن [يثقل/تثقل] على العطر الأساسي.",
            links="perfume:3 lotion:1"),
        _type("perfume_set", "طقم عطور؛بوكس عطور", "m", "Perfume Gift Set", 390, weight=0.9,
            specs="شرقية بالعود؛عود وبخور # زهرية ناعمة؛نسائية # مسك ناعمة # خشبية رجالية؛منوعة",
            features="مع كيس هدية؛في صندوق خشبي؛مع مبخرة صغيرة", sizes="{3/4/5/6} قطع",
            notes="الطقم جاهز للإهداء في الأعياد والتخرج.", links="perfume:2 bakhoor:1"),
    ),
)


_ABAYAS = Category(
    key="abayas",
    name="عبايات",
    weight=1.3,
    brands=_split(
        "ستر الريفان؛خيوط دانة؛حرير العليان؛رداء سمارا؛وقار نجلان؛عباءات لمار؛نسيج وتين؛Abaya Rawnaq؛"
        "Sitara؛غيم الساحل؛ملفى الأناقة؛درب الحرير؛Layan Moda؛تطاريز هيا"
    ),
    style_weights=(0.45, 0.25, 0.2, 0.1),
    style_prices=(0.9, 1.3, 1.0, 1.6),
    adjectives=_split("عملي؛أنيق؛فخم؛واسع؛ناعم؛ساتر؛مودرن؛بسيط"),
    colours=_split("أسود؛كحلي؛رمادي؛بيج؛عنابي؛زيتي؛بني؛موف"),
    leads=_split("للدوام والجامعة؛جديد الموسم؛لرمضان والعيد؛لبس يومي؛للمناسبات؛تفصيل خاص"),
    models=_split("موديل {100-999}؛كود {1000-9999}"),
    titles=("%t %s %c", "%t %c %s %z", "%l: %t %s %f", "%t %b %s %f", "%b | %t %s لون %c"),
    openers=(
        "%t %s %f من %b، والقصة مريحة وساترة.",
        "@cloth قماش %d لا يكرمش ويناسب الدوام والمشاوير اليومية.",
        "%t %a من %b بخياطة نظيفة من الداخل والخارج.",
        "إطلالة محتشمة وأنيقة مع %t %s.",
        "صممت %b هذه القطعة لمن تحب الستر مع الأناقة.",
        "%t %s بلون %c ثابت لا يبهت مع الغسيل.",
    ),
    details=(
        "تغسل بماء بارد وتكوى على حرارة خفيفة.",
        "القماش بارد في الصيف ولا يشف.",
        "المقاس بالإنش حسب الطول من الكتف إلى القدم.",
        "نسجل لك مقاس الطول والكم عند الطلب.",
        "الأكمام واسعة بما يكفي للوضوء بسهولة.",
        "التطريز منفذ بخيوط لا تتنسل مع الاستعمال.",
        "ينصح بتعليق العباية بعد اللبس للمحافظة على انسدالها.",
    ),
    near=("jewellery", "bags", "perfumes", "skin_care"),
    types=(
        _type("abaya", "عباية؛عباية؛عباءة", "f", "Abaya", 260, weight=3.5,
            specs="كريب سعودي سادة؛كريب ملكي؛ندا ياباني؛جورجيت سادة # مطرزة بالخيوط؛كريب مع تطريز على الكم؛"
            "بتطريز فلورال # كتان ملون؛لينن صيفي؛جينز خفيف # مخمل مطرز؛تول وشك يدوي؛حرير طبيعي",
            features="بأكمام واسعة؛مفتوحة من الأمام؛بقصة فراشة؛بحزام؛بجيوب مخفية؛بأزرار كبس؛بقصة كلوش",
            sizes="مقاس {50-62}",
            notes="العباية مبطنة عند الصدر وتأتي مع طرحتها.؛عباية تلبس في العمل وفي الزيارات على حد سواء.",
            links="tarha:3 abaya_bag:2 niqab:1.5 perfume:0.8 heels:1"),
        _type("bisht_abaya", "عباية بشت", "f", "Bisht Abaya", 420, weight=1.2,
            specs="كريب ثقيل؛ندا فاخر # بتطريز ذهبي؛مطرزة بالزري # كتان خفيف؛شيفون ملون # مخمل للشتاء؛"
            "أورجانزا", features="بأطراف مشغولة؛بقصة واسعة؛للسهرات؛مع فستان داخلي", sizes="مقاس {52-62}",
            notes="قصة البشت تعطي حضورًا فخمًا في المناسبات.", links="tarha:2 clutch:2 necklace:1"),
        _type("tarha", "طرحة؛شيلة", "f", "Tarha Scarf", 55, weight=2.0,
            specs="شيفون سادة؛قطن ناعم؛كريب خفيف # بأطراف مطرزة؛مشغولة بالشك # مودال ملونة؛جيرسيه # حرير مغسول؛"
            "تول لامع", features="لا تنزلق؛خفيفة في الصيف؛بأطراف ليزر؛مع دبوس هدية",
            sizes="{180/190/200}×{70/75/80} سم", notes="الطرحة تثبت على الرأس من غير دبابيس كثيرة.",
            links="abaya:3 niqab:2"),
        _type("niqab", "نقاب؛برقع", "m", "Niqab", 35, weight=1.1,
            specs="كريب سادة؛جورجيت ناعم # بأطراف مطرزة # قطن مريح؛طبقة واحدة # شيفون ناعم؛ثلاث طبقات",
            features="بربطة خلفية؛بفتحة متوسطة؛بعيون واسعة؛بكبس",
            notes="القماش لا يضغط على الأنف ويسمح بالتنفس براحة.", links="tarha:3 abaya:2 gloves:1"),
        _type("gloves", "قفازات؛دسوس", "f", "Gloves", 22, weight=0.5,
            specs="قطن ناعم؛جيرسيه سادة # بدانتيل؛مطرزة # صيفية خفيفة # مخمل ناعم",
            features="طويلة للكوع؛قصيرة للمعصم؛بدون أصابع", notes="القفازات مطاطة وتناسب أغلب المقاسات.",
            links="niqab:3 tarha:2"),
        _type("jalabiya", "جلابية؛دراعة", "f", "Jalabiya", 310, weight=1.3,
            specs="قطن مريحة؛ساتان سادة # مطرزة بالزري؛بتطريز يدوي # مشجرة؛قطن هندي ملونة # مخمل مطرزة؛حرير",
            features="لرمضان؛للاستقبال؛بأكمام شيفون؛بحزام كريستال", sizes="مقاس {S/M/L/XL/XXL}",
            notes="جلابية مريحة لاستقبال الضيوف وليالي رمضان.", links="earring:1.5 bakhoor:1 abaya:1.5"),
        _type("prayer_dress", "جلال صلاة؛شرشف صلاة؛طقم صلاة", "m", "Prayer Dress", 85, weight=0.9,
            specs="قطن سادة؛قطن 100% # بأطراف دانتيل # قطن مشجر؛ملون # ساتان ناعم",
            features="مع سجادة وحقيبة؛للأطفال؛قطعتين؛بربطة خلفية",
            notes="القماش ساتر وخفيف فلا يسخن أثناء الصلاة.", links="tarha:2 abaya:1"),
    ),
)


_THOBES = Category(
    key="thobes",
    name="ثياب رجالية",
    weight=1.1,
    brands=_split(
        "أصالة العارضان؛خياط الديرتين؛ثوب الشهمان؛مقص نجدان؛وجيه الدار؛هيبة سلوان؛بيت الشماغ الأول؛"
        "Thobara؛Hayba؛أناقة الربعان؛قماش الوجبان؛غترة مساعد وبنيه"
    ),
    style_weights=(0.55, 0.25, 0.2),
    style_prices=(1.0, 1.5, 0.8),
    adjectives=_split("رسمي؛فاخر؛مريح؛مفصل؛أنيق؛خفيف؛كلاسيكي"),
    colours=_split("أبيض؛سكري؛كحلي؛رمادي؛بني؛أسود"),
    leads=_split("للعيد؛لبس الدوام؛موسم الشتاء؛كشخة المناسبات؛صيفي؛للعرسان"),
    models=_split("موديل {100-999}؛رقم القماش {10-99}"),
    titles=("%t %s %z", "%t %s %c %z", "%b %t %s", "%l - %t %s %f", "%t %s %f"),
    openers=(
        "@cloth %t %s من %b بخياطة متقنة وقَصّة مرتبة.",
        "كشخة العيد والمناسبات مع %t %s.",
        "@cloth %t %a لا [يحتاج/تحتاج] كيًّا كثيرًا و[يحافظ/تحافظ] على شكل[ه/ها] طوال اليوم.",
        "من %b: %t %s %f.",
        "%t %s [يكمل/تكمل] هيبة الثوب في الأعياد والأعراس.",
        "@cloth خامة %d تتحمل الغسيل المتكرر من دون أن تصفر.",
    ),
    details=(
        "@cloth القماش {ياباني/كوري/إندونيسي} بارد على الجسم في الصيف.",
        "@cloth [يغسل/تغسل] على حرارة متوسطة ويكوى بالبخار.",
        "@cloth تتوفر مقاسات للشباب وكبار القامة.",
        "@cloth الدرزات مزدوجة عند الأكتاف والجيوب.",
        "[يناسب/تناسب] الدوام الرسمي وصلاة الجمعة والأعراس.",
        "@cloth راجع جدول الطول والكتف قبل الطلب.",
    ),
    near=("perfumes", "dates_coffee", "phones", "cars"),
    types=(
        _type("thobe", "ثوب؛ثوب رجالي", "m", "Thobe", 190, weight=3,
            specs="سعودي سادة؛ياباني سادة؛قطن فاخر؛صيفي خفيف # شتوي صوف؛شتوي كشمير؛ثقيل للشتاء # شبابي ملون؛"
            "كويتي؛إماراتي",
            features="بياقة صينية؛بياقة قلاب؛بكبك؛بسحاب مخفي؛بجيب جانبي؛بدون ياقة؛"
            "باللون {الأبيض/السكري/الرمادي/الكحلي}", sizes="مقاس {52-64}؛طول {52-62}",
            notes="الثوب مفصل على المقاس السعودي بطول وكتف واضحين.؛ياقة الثوب مقواة ولا تنثني بعد الغسيل.",
            links="ghutra:2 shemagh:2.5 undershirt:1.5 cufflinks:1 sandals_men:1.2"),
        _type("shemagh", "شماغ", "m", "Shemagh", 130, weight=1.8,
            specs="أحمر إنجليزي؛أحمر قطن 100%؛أحمر كلاسيك # كشمير شتوي؛صوف شتوي # مطرز؛أبيض وأسود",
            features="بنقشة مربعات ناعمة؛بحاشية مقواة؛بتطريز الزاوية", sizes="مقاس {55/56/57/58/60}",
            notes="الشماغ يثبت على مرزام مرتب من أول كوية.", links="igal:3 thobe:2 cap:1.5"),
        _type("ghutra", "غترة", "f", "Ghutra", 95, weight=1.1,
            specs="بيضاء قطن؛بيضاء سويسرية؛بيضاء صيفية # صوف مطرزة؛كشمير # ملونة خفيفة؛سكرية",
            features="خفيفة الوزن؛بحاشية ناعمة؛لا تشف", sizes="مقاس {54/55/56/57/58}",
            notes="الغترة ناصعة البياض ولا تصفر مع الكي.", links="igal:3 thobe:2 cap:1.5"),
        _type("igal", "عقال", "m", "Igal", 70, weight=1.0,
            specs="أسود مرعز؛أسود صوف # صوف ثقيل؛مرعز ناعم # شبابي رفيع؛بكركوشة",
            features="بلفتين؛وسط؛رفيع؛بمقاس كبير", sizes="مقاس {46/48/50/52/54}",
            notes="العقال خفيف ولا يضغط على الرأس.", links="shemagh:2 ghutra:2 cap:1"),
        _type("cap", "طاقية؛كوفية", "f", "Cap", 25, weight=0.8,
            specs="قطن بيضاء؛مخرمة # صوف شتوية # مطرزة يدويًا؛عمانية",
            features="حبة واحدة؛{3/6/12} حبات؛بدون خياطة جانبية", notes="الطاقية تمتص العرق وتثبت الشماغ.",
            links="shemagh:2 ghutra:1"),
        _type("bisht", "بشت؛مشلح", "m", "Bisht", 950, weight=0.7,
            specs="حساوي أسود؛صيفي خفيف؛نجفي # شتوي وبر؛صوف ثقيل # زري ذهبي؛زري فضي",
            features="بزري ألماني؛شغل يدوي؛بدقة ملكية؛للعرسان",
            notes="البشت يرتدى في الأعراس والأعياد ومجالس الرسميات.", links="thobe:3 oud_oil:1 shemagh:1"),
        _type("undershirt", "فنيلة داخلية؛طقم داخلي:m؛سروال سنة:m", "f", "Underwear", 45, weight=1.2,
            specs="قطن 100%؛قطن مصري # حراري للشتاء # نصف كم؛مطاط مريح",
            features="{3/4/6} حبات؛ماص* للعرق؛بدون ملصق خلفي", sizes="مقاس {M/L/XL/XXL/3XL}",
            notes="القطن ناعم ولا يظهر تحت الثوب الأبيض.", links="thobe:3 cap:1"),
        _type("cufflinks", "كبك؛كبكات:f", "m", "Cufflinks", 85, weight=0.6,
            specs="ستانلس فضي؛كلاسيك أسود # عقيق؛حجر طبيعي # مع قلم وسبحة؛روديوم لامع",
            features="في علبة هدية؛بنقش الحرف؛بتصميم مربع", notes="الكبك يكمل أناقة الثوب الرسمي.",
            links="thobe:2 misbaha:2"),
        _type("misbaha", "سبحة؛مسبحة", "f", "Prayer Beads", 110, weight=0.6,
            specs="كهرمان؛كوك تركي؛عقيق # خشب عود؛زيتون # فيروز؛عين النمر",
            features="{33/45/99} حبة؛بكركوشة فضة؛منقوشة يدويًا", notes="حبات السبحة مصقولة ومرتبة بخيط متين.",
            links="cufflinks:1.5 oud_oil:1.5"),
        _type("sandals_men", "نعال؛نعال شرقية؛حذاء_شرقي:m", "f", "Men Sandals", 160, weight=1.0,
            specs="جلد طبيعي؛جلد بقري أسود # جلد نعام؛جلد مبطن # طبية مريحة؛زبيرية",
            features="بأصبع؛بنعل مرن؛خياطة يدوية", sizes="مقاس {39-46}", notes="النعل مرن ومريح للمشي الطويل.",
            links="thobe:2 shemagh:1"),
    ),
)


_PHONES = Category(
    key="phones",
    name="جوالات",
    weight=1.6,
    brands=_split(
        "نوفار موبايل؛سهم تك؛Rimal؛Sahmtel؛برقان؛Zajel One؛نجم سات؛Waheej؛ذبذبة؛Lumora؛Barqan Pro؛"
        "تيار بلس؛Nabd؛أفق ديجيتال"
    ),
    style_weights=(0.4, 0.35, 0.25),
    style_prices=(1.0, 1.1, 0.8),
    adjectives=_split("جديد؛أصلي؛سريع؛عملي؛ذكي؛قوي"),
    colours=_split("أسود؛أبيض؛أزرق؛فضي؛ذهبي؛بنفسجي؛أخضر"),
    leads=_split("عرض اليوم؛ضمان سنتين؛نسخة الشرق الأوسط؛الأكثر طلبًا؛جديد؛شريحتين"),
    models=_split("X{10-99}؛Pro {5-30}؛Note {7-40}؛A{10-95} Plus؛Smart {3-25}؛Max {2-20}"),
    titles=("%t %b %n %z", "%t %n %s", "%t %b %n %c", "%b %n - %t %s %z", "%l: %t %b %n %f", "%t %s %f"),
    openers=(
        "@device %t %b %n %s بأداء سريع واستخدام سلس.",
        "@device [مصمم/مصممة] لمن يقضي يومه بين المكالمات والتطبيقات: %t %s %f.",
        "%t %a من %b [يعمل/تعمل] مع أغلب الأجهزة الحديثة.",
        "%t %b %n لون %c، و%s.",
        "احصل على %d من %b %f.",
    ),
    details=(
        "@device ضمان سنتين من الوكيل داخل المملكة.",
        "استبدال فوري خلال أسبوع إذا ظهر عيب في القطعة.",
        "الكرتون مختوم ومع[ه/ها] دليل استخدام بالعربي.",
        "@device متوافق* مع شبكات الاتصال المحلية ومنفذ Type-C.",
        "@device جرّبنا[ه/ها] على مدى أسبوع وبقي الأداء ثابتًا.",
        "@device لا تعرض[ه/ها] للماء أو لحرارة السيارة في الصيف.",
        "@device التحديثات تصل عبر الإنترنت مجانًا.",
    ),
    near=("cars", "sports", "thobes", "toys"),
    types=(
        _type("phone", "جوال؛جوال؛هاتف_ذكي", "m", "Smartphone", 1500, weight=2.8,
            specs="شبكة 5G؛يدعم 5G وشريحتين؛شاشة AMOLED 120Hz # كاميرا {50/64/108/200} ميجابكسل؛"
            "كاميرا ليلية وتصوير 4K #بطارية {5000/5500/6000} مللي أمبير؛شحن سريع {33/45/67} واط",
            features="مع شاحن وكفر؛بشاشة {6.1/6.5/6.7/6.8} بوصة؛ببصمة تحت الشاشة؛بضمان سنتين",
            sizes="{64/128} جيجا رام {4/6/8}؛{256/512}GB؛{128/256} جيجابايت؛256GB رام 12",
            notes="الجوال يدعم العربية بالكامل ويقرأ الشريحتين في وقت واحد.؛"
            "تكفي البطارية يومًا كاملًا من التصوير والتصفح.",
            links="phone_case:3 charger:2.5 earbuds:2 screen_guard:2.5 power_bank:1"),
        _type("phone_case", "كفر جوال؛كفر حماية؛جراب", "m", "Phone Case", 45, weight=2,
            specs="سيليكون ناعم؛شفاف ضد الاصفرار # بحماية العدسة؛مغناطيسي # مضاد للصدمات؛جلد مع محفظة",
            features="بحلقة تثبيت؛مع استاند؛بحواف مرتفعة؛بملمس مطفي",
            notes="الكفر رفيع ولا يعيق الشحن اللاسلكي.", links="screen_guard:3 charger:1.5"),
        _type("screen_guard", "لاصق حماية؛حماية شاشة:f؛استكر حماية", "m", "Screen Protector", 30, weight=1.4,
            specs="زجاج 9H؛نانو سيراميك # ضد التجسس؛مطفي للألعاب # حماية كاملة للحواف؛زجاج مقوى",
            features="{2/3} حبات؛مع أداة تركيب؛بلا فقاعات",
            notes="[يركب/تركب] خلال دقيقة بأداة التثبيت المرفقة.", links="phone_case:3 charger:1"),
        _type("charger", "شاحن؛شاحن_سريع؛كيبل شحن", "m", "Charger", 65, weight=1.8,
            specs="{20/25/33} واط Type-C؛PD سريع {30/45} واط # لاسلكي {15/20} واط؛مغناطيسي 3 في 1 #"
            " GaN {65/100} واط؛للسيارة {36/48} واط", features="مع كيبل متر؛بمنفذين USB؛ضد الحرارة؛بشاشة رقمية",
            notes="دوائر الحماية تفصل التيار عند اكتمال الشحن.", links="power_bank:2.5 phone_case:1.5 earbuds:1"),
        _type("earbuds", "سماعات؛سماعة_لاسلكية؛سماعة بلوتوث", "f", "Wireless Earbuds", 160, weight=1.8,
            specs="بلوتوث 5.3؛بعزل ضوضاء ANC # للألعاب بتأخير منخفض؛بصوت محيطي # رياضية ضد العرق؛بتوصيل عظمي",
            features="بعمر بطارية {24/30/40} ساعة؛مع علبة شحن؛بميكروفون مزدوج",
            notes="الصوت واضح والباس عميق من دون تشويش.", links="phone_case:1.5 charger:1.5 smart_watch:2"),
        _type("power_bank", "باوربانك؛شاحن_متنقل", "m", "Power Bank", 110, weight=1.1,
            specs="{10000/20000} مللي أمبير # لاسلكي* 10000 mAh # بشحن سريع 22.5 واط؛30000 mAh للرحلات",
            features="بشاشة رقمية؛مع كيبل مدمج؛بحجم صغير",
            notes="[يشحن/تشحن] الجوال مرتين إلى ثلاث مرات في الرحلات.", links="charger:3 phone_case:1"),
        _type("smart_watch", "ساعة_ذكية", "f", "Smart Watch", 330, weight=1.3,
            specs="شاشة {1.4/1.8/2.0} بوصة # مع GPS ومكالمات؛لقياس نبض القلب # رياضية مقاومة للماء؛"
            "ببطارية {7/10} أيام", features="مع سوارين؛بتنبيهات عربية؛لتتبع النوم",
            notes="الساعة تعرض مواقيت الصلاة وتنبيهات الرسائل.", links="earbuds:2.5 charger:1"),
    ),
)


_CARS = Category(
    key="cars",
    name="قطع غيار وزيوت السيارات",
    weight=1.2,
    brands=_split(
        "محركات الهجان؛درب السلامة؛قطع الراعدة؛زيوت سيفان؛Torqan؛Madar Parts؛فارس الطريق؛صقر الديزل؛"
        "عتاد نجود؛Gulfrex؛بترونيل؛المحور الذكي"
    ),
    style_weights=(0.45, 0.35, 0.2),
    style_prices=(1.0, 1.2, 1.4),
    adjectives=_split("أصلي؛تجاري؛ياباني؛كوري؛ألماني؛متين؛اقتصادي"),
    colours=(),
    leads=_split("صيانة دورية؛قطع غيار؛للدفع الرباعي؛عرض الورشة؛للسيدان؛سفر آمن"),
    models=_split("رقم القطعة {10000-99999}؛كود {1000-9999}؛PN-{1000-9999}"),
    titles=("%t %s %z", "%t %b %s", "%b %t %s %z", "%l: %t %s %b", "%t %s %f", "%t %s %n"),
    openers=(
        "%t %s من %b [يناسب/تناسب] أجواء الخليج الحارة.",
        "%t %a بمواصفات الوكالة %f.",
        "@engine حافظ على محرك سيارتك مع %t %s من %b.",
        "اختيار الورش لموديلات {2012-2018} إلى {2020-2026}: %t %s.",
        "%t %s %f، مجرب* على الخطوط الطويلة.",
    ),
    details=(
        "تأكد من رقم الهيكل قبل الطلب لضمان التوافق.",
        "التركيب سهل في أي ورشة ولا يحتاج تعديلًا.",
        "ضمان {6 أشهر/12 شهرًا/18 شهرًا} ضد عيوب التصنيع.",
        "مجرب على الطرق الصحراوية ودرجات حرارة فوق 50 مئوية.",
        "@engine ينصح الفنيون بالفحص كل {5000/7000/10000} كيلومتر.",
        "@engine [يحافظ/تحافظ] على المحرك ويقلل استهلاك الوقود.",
    ),
    near=("phones", "sports", "thobes", "garden"),
    types=(
        _type("motor_oil", "زيت محرك؛زيت محرك؛زيت مكينة", "m", "Motor Oil", 110, weight=3.2,
            specs="تخليقي بالكامل 5W-30؛SAE 5W-30؛5W-20 بنزين؛0W-20 تخليقي # SAE 10W-40؛نصف تخليقي 10W-40؛"
            "5W-40 للدفع الرباعي #20W-50 معدني؛ديزل 15W-40؛SAE 20W-50",
            features="للمسافات الطويلة؛API SP؛بحماية من الترسبات؛للمكائن القديمة",
            sizes="{1/4/5} لتر؛4L؛عبوة {4/5} لتر؛كرتون {6/12} علبة",
            notes="يغيّر زيت المحرك كل {5000/7000/10000} كيلومتر مع الفلتر.؛"
            "اللزوجة ثابتة عند الحرارة العالية وبدء التشغيل.",
            links="oil_filter:4 air_filter:2 coolant:1.5 spark_plug:1", restock=60),
        _type("oil_filter", "فلتر زيت؛سيفون زيت", "m", "Oil Filter", 35, weight=1.8,
            specs="للسيدان؛4 سلندر # للدفع الرباعي؛6 سلندر # للديزل؛للشاحنات الخفيفة",
            features="مع وجه وجلدة؛بورق كثيف؛بصمام عدم رجوع", sizes="قطر {65/68/76} ملم؛{2/3/5} حبات",
            notes="يحجز الفلتر الشوائب الدقيقة قبل وصولها للمحرك.", links="motor_oil:3 air_filter:2.5"),
        _type("air_filter", "فلتر هواء؛فلتر مكيف", "m", "Air Filter", 45, weight=1.2,
            specs="للسيدان؛كربون نشط # للدفع الرباعي؛ضد الغبار # للبيك أب؛قابل للغسل",
            features="ضد الروائح؛بطبقتين؛سهل* التركيب", notes="ينصح بتبديله بعد موجات الغبار.",
            links="oil_filter:3 motor_oil:1.5"),
        _type("car_battery", "بطارية؛بطارية سيارة", "f", "Car Battery", 390, weight=1.2,
            specs="{45/55/60} أمبير جافة # {70/75/80} أمبير؛AGM {70/80} أمبير # {90/100} أمبير للديزل",
            features="بضمان {12/18/24} شهرًا؛بدون صيانة؛بمؤشر شحن",
            notes="البطارية مشحونة وجاهزة للتركيب الفوري.", links="jump_starter:2.5 wipers:1"),
        _type("wipers", "مساحات؛مساحات زجاج", "f", "Wiper Blades", 55, weight=1.0,
            specs="سيليكون # هجينة؛بدون إطار # مطاط طبيعي؛شتوية",
            features="يمين ويسار؛بدون صوت؛مع {3/5} محولات",
            sizes="مقاس {14-28} بوصة؛{20/22/24}+{16/18/20} بوصة", notes="تمسح الغبار والمطر من أول حركة.",
            links=" coolant:1"),
        _type("tyre", "إطار؛كفر سيارة؛كفر", "m", "Tyre", 340, weight=1.4,
            specs="{185/195/205}/65R15؛{205/215}/55R16 # {225/235/265}/65R17؛{265/275}/70R16 # 285/60R18؛"
            "{265/275}/65R18 للبر", features="صنع {2024/2025/2026}؛بنقشة صامتة؛للطرق الرملية",
            notes="الكفر ثابت على المبتل ويتحمل حرارة الأسفلت.", links="air_pump:3 brake_pads:2"),
        _type("brake_pads", "فحمات؛فحمات فرامل؛قماشات فرامل", "f", "Brake Pads", 130, weight=1.2,
            specs="أمامية سيراميك؛أمامية # خلفية؛سيراميك للدفع الرباعي # معدنية؛خلفية للبيك أب",
            features="بدون صفير؛مع حساس تآكل؛بضمان سنة", notes="الفحمات توقف السيارة بثبات من غير اهتزاز.",
            links="brake_fluid:3 tyre:1"),
        _type("brake_fluid", "زيت فرامل", "m", "Brake Fluid", 25, weight=0.6, specs="DOT 3 # DOT 4 # DOT 5.1",
            sizes="{250/500} مل؛1 لتر", features="بدرجة غليان عالية؛للأنظمة ABS",
            notes="يبدل زيت الفرامل كل سنتين.", links="brake_pads:3"),
        _type("coolant", "ماء رديتر؛سائل تبريد", "m", "Coolant", 38, weight=0.9,
            specs="أخضر جاهز؛أحمر مركز # وردي طويل العمر # أزرق", sizes="{1/4/5} لتر",
            features="ضد الصدأ؛للصيف؛بنسبة {33/50}%", notes="يحمي الرديتر من الترسبات والغليان.",
            links="motor_oil:2", restock=80),
        _type("spark_plug", "بواجي؛بوجيهات", "f", "Spark Plugs", 95, weight=0.8,
            specs="إريديوم # بلاتينيوم # نيكل عادية", features="طقم {4/6/8} حبات؛بعمر 100 ألف كم؛لتشغيل أسرع",
            notes="بواجي جديدة تعني عزمًا أفضل وصرفية أقل.", links="motor_oil:2 air_filter:2"),
        _type("air_pump", "منفاخ؛منفاخ كفرات؛كمبروسر", "m", "Air Compressor", 150, weight=0.8,
            specs="12 فولت؛محمول* # للدفع الرباعي؛دبل بستم # رقمي*؛قابل* للشحن",
            features="مع شنطة؛بشاشة ضغط؛بهواء {70/150} لتر", notes="ينفخ الكفر بعد التنسيم في البر خلال دقائق.",
            links="tyre:2 jump_starter:2"),
        _type("jump_starter", "شاحن بطارية؛اشتراك_بطارية", "m", "Jump Starter", 240, weight=0.5,
            specs="محمول* {1000/1500/2000} أمبير # ذكي* 12 فولت # كيبل نحاس {3/4/5} متر",
            features="مع كشاف؛بمنفذ USB؛بحقيبة", notes="ينقذك إذا فضت البطارية في الطريق.",
            links="car_battery:2 air_pump:2"),
    ),
)


_DATES = Category(
    key="dates_coffee",
    name="تمور وقهوة",
    weight=1.3,
    brands=_split(
        "نخيل الغويران؛مزرعة سكران؛محمصة دلال؛دلة الضيفان؛تمور المذنبان؛بن الجبلين؛سنام القهوة؛"
        "Qahwat Majd؛Nakhlan؛رطبة؛عذق؛محامص الفناجيل"
    ),
    style_weights=(0.4, 0.35, 0.25),
    style_prices=(1.0, 1.2, 1.5),
    adjectives=_split("فاخر؛طازج؛مختار؛بلدي؛ممتاز؛نظيف"),
    colours=(),
    leads=_split("ضيافة العيد؛محصول هذا العام؛للمجالس؛توصيل طازج؛هدية؛قهوة الصباح"),
    models=_split("محصول {2024-2026}؛خلطة رقم {1-30}"),
    titles=("%t %s %z", "%t %s %b %z", "%b - %t %s", "%l: %t %s %z", "%t %s %f"),
    openers=(
        "@food %t %s من %b، طعم أصيل على سفرة الضيافة.",
        "@food مختار* من أجود المزارع: %t %s %f.",
        "%t %s [يكمل/تكمل] جلسة القهوة مع الأهل والضيوف.",
        "@food %t %a [معبأ/معبأة] بعناية في عبوة محكمة من %b.",
        "من %b: %t %s %f، لمجلس لا تغيب عنه القهوة.",
        "@food نكهة غنية وقوام متماسك في %t %s.",
    ),
    details=(
        "هدية مناسبة لأهل البيت الجديد.",
        "@food [يحفظ/تحفظ] في مكان بارد وجاف بعيدًا عن الرطوبة.",
        "@food تاريخ التعبئة مكتوب على العبوة.",
        "@food تم الفرز والتنظيف يدويًا قبل التعبئة.",
        "مناسب* للضيافة والإفطار في رمضان.",
        "@food بدون مواد حافظة ولا سكر مضاف.",
        "@food [يقدم/تقدم] مع فنجال قهوة شقراء مهيلة.",
    ),
    near=("spices", "kitchen", "thobes", "garden"),
    types=(
        _type("dates", "تمر؛تمور:f؛رطب", "m", "Dates", 55, weight=3,
            specs="سكري مفتل؛سكري ملكي؛رطب مجمد # خلاص الأحساء؛خلاص القصيم؛صقعي؛برحي # عجوة المدينة؛"
            "مجدول جامبو؛عنبرة المدينة", features="درجة أولى؛محشو* باللوز؛مكنوز*؛بدون نوى؛للضيافة",
            sizes="{1/2/3/5} كيلو؛{500/800} جرام؛كرتون {3/5/10} كجم",
            notes="الحبة لينة وحلاوتها متوازنة.؛من محصول الموسم ومغسول* وجاهز* للأكل.",
            links="coffee:4 maamoul:2 dallah:1 date_syrup:1", restock=25),
        _type("coffee", "قهوة_عربية؛قهوة؛قهوة", "f", "Arabic Coffee", 60, weight=2.8,
            specs="هرري شقراء؛خولاني سعودي؛مهيلة جاهزة # لقمتي محمصة وسط؛برازيلي وسط؛كولومبي # يمني حرازي؛"
            "إثيوبي مختص؛سيدامو مختصة", features="مع هيل وزعفران؛مطحون* طازج؛حب كامل؛تحميص {فاتح/وسط/غامق}",
            sizes="{250/500} جرام؛1 كيلو؛{10/20/30} ظرف",
            notes="نحمص البن بكميات صغيرة كل أسبوع.؛رائحة القهوة تملأ المكان مع أول غلوة.",
            links="dates:3 dallah:2 coffee_cups:1.5 cardamom:2 coffee_grinder:1", restock=20),
        _type("dallah", "دلة؛ترمس:m؛دلة قهوة", "f", "Coffee Pot", 170, weight=1.2,
            specs="نحاس تراثي*؛رسلان # ستيل حافظ* للحرارة؛بورسلان # كهربائي*؛ذهبي* منقوش*",
            features="مع {6 فناجيل/12 فنجالًا}؛بمقبض خشبي؛بنقش نجدي",
            sizes="{0.7/1.0/1.3/1.6} لتر؛رقم {10/14/20/28}",
            notes="[يحافظ/تحافظ] على حرارة القهوة حتى {6 ساعات/8 ساعات/12 ساعة}.",
            links="coffee_cups:3 coffee:2"),
        _type("coffee_cups", "فناجيل؛طقم فناجيل:m؛بيالات شاي", "f", "Coffee Cups", 65, weight=0.9,
            specs="بورسلان أبيض؛بورسلان تراثي # زجاج مزدوج؛نقش عربي # ذهبية الحافة؛سيراميك يدوي",
            features="مع صحون؛بعلبة هدية؛ضد الحرارة", sizes="{6/12/18/24} حبة",
            notes="حجم الفنجال مناسب للقهوة السعودية.", links="dallah:3 coffee:1.5"),
        _type("maamoul", "معمول تمر؛كليجا:f؛غريبة:f", "m", "Maamoul", 35, weight=1.1,
            specs="بالسمسم؛قصيمي* # بالهيل والزعفران؛بالبر # بالفستق؛فاخر* مغلف",
            sizes="{12/24/40} حبة؛{400/750} جرام", features="بدون سكر؛مخبوز* طازج؛مغلف* حبة حبة",
            notes="هش* من الخارج و[حشوته/حشوتها] طرية.", links="coffee:3 dates:2", restock=22),
        _type("date_syrup", "دبس تمر؛معجون تمر", "m", "Date Syrup", 28, weight=0.7, specs="خلاص # سكري # عجوة",
            sizes="{250/400/750} جرام", features="للحلى؛بدون إضافات؛كثيف*",
            notes="يضاف إلى الحنيني والعصيدة والقشطة.", links="dates:3 maamoul:1", restock=45),
        _type("honey", "عسل", "m", "Honey", 190, weight=1.2,
            specs="سدر بلدي؛سدر جبلي # طلح نجدي؛سمر جنوبي # مجرى أبيض؛شوكة",
            sizes="{250/500} جرام؛نصف كيلو؛كيلو", features="مفحوص* مخبريًا؛مع الشمع؛خام*",
            notes="العسل يتبلور في البرد وهذا من طبيعته.", links="dates:2 date_syrup:1 black_seed:1.5",
            restock=50),
        _type("coffee_grinder", "مطحنة قهوة؛محماس قهوة:m؛نجر:m", "f", "Coffee Grinder", 160, weight=0.6,
            specs="كهربائي* # يدوي* ستيل # نحاس تراثي",
            features="بدرجات طحن متعددة؛سهل* التنظيف؛بسعة {60/100/250} جرام",
            notes="طحن البن قبل الإعداد بلحظات يحفظ زيوته العطرية.", links="coffee:4 dallah:1"),
    ),
)


_SPICES = Category(
    key="spices",
    name="بهارات",
    weight=0.9,
    brands=_split(
        "عطارة الرشودان؛بهارات الهيف؛سوق المباركان؛نكهة جداوية؛مطحنة الفرسان؛Bharat Noor؛Attarat Yamamah؛"
        "خلطات أم سهيل؛كيس العطار؛زعفرانة؛حبة وطحنة؛كشنة"
    ),
    style_weights=(0.5, 0.3, 0.2),
    style_prices=(1.0, 1.2, 1.6),
    adjectives=_split("طازج؛بلدي؛نقي؛مطحون؛حار؛منقى؛فاخر"),
    colours=(),
    leads=_split("من العطارة؛خلطة البيت؛مونة رمضان؛طحن اليوم؛نكهة أصلية"),
    models=_split("خلطة رقم {1-60}"),
    titles=("%t %s %z", "%t %b %z", "%t %s %b %z", "%l: %t %s %z", "%t %s %f"),
    openers=(
        "%t %s من %b بنكهة قوية ورائحة نفاذة.",
        "[يعطي/تعطي] %d طعمًا غنيًا {للكبسة/للمندي/للمرقوق/للجريش/للسليق/للمكبوس}.",
        "%t %a [مطحون/مطحونة] على دفعات صغيرة للحفاظ على الزيوت الطيارة.",
        "لا يخلو مطبخ خليجي من %t %s.",
        "%t %s %f بنكهة أهل {القصيم/الحجاز/الأحساء/حائل/نجران}.",
    ),
    details=(
        "[يحفظ/تحفظ] في برطمان محكم بعيدًا عن الضوء.",
        "ملعقة صغيرة تكفي قدرًا من الرز.",
        "منخول* ومنقى* من الشوائب.",
        "بلا ألوان صناعية ولا ملح مضاف.",
        "[يضاف/تضاف] في آخر الطبخ حتى لا تطير النكهة.",
    ),
    near=("dates_coffee", "kitchen", "garden"),
    types=(
        _type("cardamom", "هيل؛هيل؛حب هال", "m", "Cardamom", 65, weight=2,
            specs="أمريكي جامبو؛هندي أخضر؛حب كامل # مطحون* ناعم؛مطحون* للقهوة # قواتيمالي فاخر",
            sizes="{50/100/250/500} جرام؛كيلو", features="للقهوة العربية؛حبة كبيرة؛درجة أولى",
            notes="حب الهيل أخضر وممتلئ من الداخل.", links="coffee:3 saffron:2.5 clove:1.5", restock=40),
        _type("saffron", "زعفران", "m", "Saffron", 75, weight=1.4,
            specs="إيراني نقيل؛سوبر نقيل # بوشال؛أفغاني # إسباني؛كشميري",
            sizes="{1/2/3/5/10} جرام؛مثقال؛نصف مثقال", features="للقهوة والحلى؛في علبة زجاج؛شعيرات طويلة",
            notes="بضع شعيرات منقوعة تلون الدلة كلها.", links="cardamom:3 coffee:2", restock=55),
        _type("kabsa_mix", "بهارات كبسة؛بهارات مشكلة؛خلطة مندي", "f", "Kabsa Spices", 25, weight=2,
            specs="نجدية؛كويتية؛مطحونة # حجازية؛حساوية # يمنية بالحوائج؛برياني هندية",
            sizes="{100/200/250/500} جرام", features="للدجاج؛للحم؛بدون ملح؛متوسطة الحرارة",
            notes="تكفي ملعقة كبيرة لدجاجة كاملة مع رزها.",
            links="dried_lime:2.5 turmeric:2 black_pepper:2 rice_pot:0.8", restock=30),
        _type("black_pepper", "فلفل_أسود؛فلفل_أحمر؛شطة:f", "m", "Pepper", 22, weight=1.3,
            specs="حب؛مطحون* # خشن؛مجروش* # حار* كشميري؛مدخن*", sizes="{50/100/200/400} جرام",
            features="في مطحنة زجاجية؛درجة أولى؛للمشويات", notes="حرارت[ه/ها] متوازنة ولا تطغى على الطبخة.",
            links="cumin:3 turmeric:2 kabsa_mix:1.5", restock=45),
        _type("cumin", "كمون؛كزبرة ناشفة:f؛شمر", "m", "Cumin", 18, weight=1.2,
            specs="حب؛مطحون* # بلدي*؛قصيمي* # هندي*؛عضوي*", sizes="{100/200/250/500} جرام",
            features="منخول*؛للشوربات؛للسمبوسة", notes="حمصه دقيقة على النار قبل الطحن لرائحة أقوى.",
            links="black_pepper:2.5 turmeric:2 kabsa_mix:1.5", restock=45),
        _type("turmeric", "كركم؛زنجبيل؛قرفة:f", "m", "Turmeric", 20, weight=1.2,
            specs="مطحون* ناعم؛هندي* # عيدان؛حب # عضوي*؛سيلاني*", sizes="{100/200/250/500} جرام",
            features="للطبخ والمشروبات؛بلون غني؛للشتاء",
            notes="[يستخدم/تستخدم] في الطبخ وفي المشروبات الدافئة.", links="cumin:2.5 black_pepper:2",
            restock=50),
        _type("dried_lime", "لومي؛ليمون_أسود", "m", "Dried Lime", 19, weight=0.9,
            specs="حب؛عماني* # مطحون*؛أبيض # عراقي*؛بدون بذر", sizes="{150/250/500} جرام",
            features="للكبسة؛للمرق؛منظف*", notes="يثقب اللومي قبل وضعه في المرق.", links="kabsa_mix:3 cumin:1",
            restock=50),
        _type("clove", "قرنفل؛مسمار؛نجمة يانسون:f", "m", "Clove", 24, weight=0.7,
            specs="حب زنجباري؛حب # مطحون* # فاخر* مختار", sizes="{50/100/250} جرام",
            features="للقهوة؛للرز؛للمخلل", notes="حبتان أو ثلاث تكفي الدلة.", links="cardamom:3 turmeric:1",
            restock=60),
        _type("black_seed", "حبة_سوداء؛حبة البركة؛حلبة", "f", "Black Seed", 26, weight=0.8,
            specs="قصيمية؛بلدية # مطحونة؛حبشية # زيت معصور؛عضوية", sizes="{100/250/500} جرام",
            features="منقاة يدويًا؛للمعجنات؛مع عسل", notes="ترش على الفتوت والمعجنات قبل الخبز.",
            links="honey:2.5 cumin:1", restock=55),
    ),
)


_KITCHEN = Category(
    key="kitchen",
    name="أدوات المطبخ",
    weight=1.1,
    brands=_split(
        "بيت السفرة؛طهاة الديرة؛مطبخ ساره؛Tabkhat؛Sufrati Home؛قدور النشمي؛صحن وملعقة؛ركن أمينة؛"
        "Matbakhi Pro؛سنع؛لذة البيت؛جمرة"
    ),
    style_weights=(0.45, 0.35, 0.2),
    style_prices=(1.0, 0.9, 1.4),
    adjectives=_split("متين؛عملي؛صحي؛سهل التنظيف؛حديث؛عائلي؛ثقيل"),
    colours=_split("أسود؛رمادي؛أحمر؛أبيض؛بيج؛أخضر"),
    leads=_split("جهاز العروس؛للعزايم؛تجهيز رمضان؛لمطبخ مرتب؛عرض التوفير"),
    models=_split("موديل {100-999}؛K-{100-999}"),
    titles=("%t %s %z", "%t %s %b", "%t %s %c %z", "%b %t %s %z", "%l: %t %s %f", "%t %a %s %z"),
    openers=(
        "@cooking %t %s من %b [يوزع/توزع] الحرارة ويسهل الطبخ اليومي.",
        "%t %a [يكفي/تكفي] العائلة والعزايم.",
        "وفّر وقتك في المطبخ مع %t %s %f.",
        "%t %s لون %c [يعطي/تعطي] المطبخ مظهرًا مرتبًا.",
        "من %b: %t %s بخامة تتحمل الاستخدام اليومي.",
    ),
    details=(
        "@table آمن* في غسالة الصحون.",
        "@table الخامة خالية من المواد الضارة بالطعام.",
        "@cooking لا تستخدم السلك الخشن عند الغسيل.",
        "@cooking المقابض لا تسخن أثناء الطبخ.",
        "@cooking [يعمل/تعمل] على الغاز والسيراميك.",
        "ضمان {سنة/سنتين} من المورد.",
        "التخزين سهل ولا يأخذ مكانًا كبيرًا في الدولاب.",
    ),
    near=("spices", "dates_coffee", "furniture", "garden"),
    types=(
        _type("rice_pot", "قدر؛قدر ضغط؛طقم قدور", "m", "Cooking Pot", 190, weight=2,
            specs="ستيل 304؛ألمنيوم ثقيل # جرانيت؛تيفال # نحاس مبيض؛حديد زهر",
            sizes="{3/5/6/8/10/12} لتر؛{20/24/28/32} سم؛{5/7/9/12} قطعة",
            features="مع غطاء زجاج؛بقاعدة ثلاثية؛للمندي", notes="يكفي القدر لطبخ {2/3/4} كيلو رز.",
            links="frying_pan:2.5 spoon_set:2 kabsa_mix:0.8 serving_tray:1.5"),
        _type("frying_pan", "مقلاة؛طاوة؛مقلاية", "f", "Frying Pan", 75, weight=1.5,
            specs="ستيل # جرانيت غير لاصقة؛سيراميك # حديد زهر", sizes="{18/20/24/26/28/30} سم",
            features="بمقبض خشبي؛بغطاء؛عميقة", notes="البيض ينزلق منها بدون زيت تقريبًا.",
            links="rice_pot:2 spatula:3"),
        _type("spatula", "طقم ملاعق طبخ؛ملعقة تقليب:f؛طقم سيليكون", "m", "Utensil Set", 48, weight=1,
            specs="ستيل # سيليكون؛نايلون # خشب زان؛خيزران", sizes="{3/5/8/12} قطع",
            features="مع حامل؛ضد الحرارة؛بعلاقة", notes="لا تخدش القدور غير اللاصقة.",
            links="frying_pan:2 rice_pot:2"),
        _type("spoon_set", "طقم ملاعق؛طقم شوك وسكاكين", "m", "Cutlery Set", 120, weight=1,
            specs="ستيل لامع؛ستيل مطفي # بمقبض ملون # ذهبي فاخر", sizes="{16/24/36/72/86} قطعة",
            features="في شنطة؛ضد الصدأ؛للضيوف", notes="الطقم يكفي {6 أشخاص/12 شخصًا}.",
            links="plates:3 serving_tray:1"),
        _type("plates", "طقم صحون؛طقم سفرة؛صحون تقديم:f", "m", "Dinner Set", 220, weight=1.2,
            specs="بورسلان؛زجاج مقوى # سيراميك ملون؛ميلامين # عظم فاخر؛حواف ذهبية", sizes="{18/24/32/48} قطعة",
            features="للمايكرويف؛بنقشة ورد؛لـ{6 أشخاص/12 شخصًا}", notes="الصحون متراصة ولا تتخدش بسهولة.",
            links="spoon_set:3 coffee_cups:0.8 serving_tray:1.5"),
        _type("serving_tray", "صينية؛صينية تقديم؛سفرة", "f", "Serving Tray", 60, weight=1,
            specs="ستيل؛ألمنيوم # ميلامين؛أكريليك # خشب منقوش؛نحاس", sizes="{30/40/50/60/80} سم؛{2/3} قطع",
            features="للمفطح؛بمقابض؛للقهوة والشاي", notes="تتسع لعزيمة كاملة من الرز واللحم.",
            links="plates:2 dallah:1 rice_pot:1"),
        _type("blender", "خلاط؛خلاط_كهربائي؛عجانة:f", "m", "Blender", 230, weight=1.3,
            specs="{400/600} واط # {800/1000} واط زجاجي # {1200/1500} واط", sizes="{1.5/2/5/6} لتر",
            features="مع مطحنة؛ب{3/5/6} سرعات؛بشفرات ستيل",
            notes="[يطحن/تطحن] الثلج والمكسرات و[يعجن/تعجن] السمبوسة.", links="air_fryer:2 knife:1"),
        _type("air_fryer", "قلاية_هوائية؛قلاية بدون زيت", "f", "Air Fryer", 320, weight=1.2,
            specs="رقمية {1500/1700} واط # ميكانيكية # بدرجين؛بشاشة لمس", sizes="{3.5/5/6/8/9} لتر",
            features="مع كتاب وصفات؛بسلة غير لاصقة؛بنافذة", notes="تقرمش البطاطس والسمبوسة بملعقة زيت واحدة.",
            links="blender:2 spatula:1"),
        _type("knife", "سكين؛طقم سكاكين:m؛ساطور:m", "f", "Knife", 70, weight=0.9,
            specs="ستيل ألماني # سيراميك # ياباني*؛دمشقي*", sizes="{5/6/8/10} بوصة؛{5/6/8} قطع",
            features="مع مسن؛بقاعدة خشبية؛للذبائح", notes="الشفرة تحافظ على حدتها مدة طويلة.",
            links="spatula:1.5 plates:1"),
        _type("containers", "علب حفظ؛برطمانات بهارات", "f", "Storage Jars", 52, weight=1,
            specs="زجاج بغطاء خيزران # بلاستيك شفاف # سيراميك", sizes="{4/6/10/12/24} قطعة؛{0.5/1/2} لتر",
            features="مع ملصقات عربية؛محكمة الإغلاق؛للفريزر", notes="تحفظ الهيل والبهارات من الرطوبة.",
            links="kabsa_mix:1.5 cardamom:1 plates:1"),
    ),
)


_TOYS = Category(
    key="toys",
    name="ألعاب أطفال",
    weight=0.9,
    brands=_split(
        "مرح ولين؛دنيا الصغار؛فرفور؛Kidzana Land؛Lolo Play؛حكايا سعود؛بالونة؛قوس المرح؛ذكاء الصغير؛نطنط؛"
        "Toyaan؛سكر وبسكوت"
    ),
    style_weights=(0.4, 0.35, 0.25),
    style_prices=(1.0, 1.1, 1.2),
    adjectives=_split("تعليمي؛آمن؛ملون؛ممتع؛كبير؛تفاعلي"),
    colours=_split("أحمر؛أزرق؛وردي؛أصفر؛أخضر"),
    leads=_split("هدية نجاح؛للعيد؛تنمية المهارات؛لعب جماعي؛للأولاد؛للبنات"),
    models=_split("موديل {100-999}"),
    titles=("%t %s %z", "%t %s %f", "%t %b %s %z", "%l: %t %s", "%b %t %s %c"),
    openers=(
        "%t %s من %b [يفرح/تفرح] الصغار ساعات طويلة.",
        "%t %a [ينمي/تنمي] الخيال والتركيز عند الطفل.",
        "هدية حلوة للعيد أو النجاح: %t %s %f.",
        "%t %s بألوان مبهجة وحواف آمنة.",
        "يتعلم طفلك وهو يلعب مع %t %s.",
    ),
    details=(
        "الخامة خالية من المواد الضارة ولا تحتوي قطعًا حادة.",
        "@powered [يحتاج/تحتاج] بطاريات AA غير مرفقة.",
        "مناسب* للأطفال من عمر {3/4/5/6} سنوات.",
        "يفضل اللعب تحت إشراف الوالدين.",
        "@powered الصوت قابل للخفض حتى لا يزعج البيت.",
    ),
    near=("baby", "books", "sports"),
    types=(
        _type("blocks", "مكعبات؛مكعبات تركيب؛ليقو_تركيب:m", "f", "Building Blocks", 85, weight=1.8,
            specs="مدينة # قلعة؛أميرات # فضاء؛سيارات", sizes="{60/120/250/500/1000} قطعة",
            features="مع صندوق؛مغناطيسية؛للمبتدئين", notes="القطع تركب بسهولة وتثبت جيدًا.",
            links="puzzle:3 rc_car:1"),
        _type("doll", "دمية؛عروسة؛دبدوب:m", "f", "Doll", 70, weight=1.5,
            specs="ناطق* بالعربي # مع فستان وإكسسوارات؛أميرة # قطن ناعم؛كبير*", sizes="{25/30/45/60/90} سم",
            features="بشعر طويل؛مع عربة؛قابل* للغسل", notes="الحشوة ناعمة ومخيطة بإحكام.",
            links="play_kitchen:3"),
        _type("rc_car", "سيارة ريموت؛سيارة_كهربائية؛سيارة لعبة", "f", "RC Car", 140, weight=1.6,
            specs="دفع رباعي؛للبر # درفت سريعة # شرطة؛شاحنة", sizes="مقياس 1:{10/12/16/18/24}",
            features="مع شاحن؛بسرعة {15/25/40} كم/س؛بإضاءة LED", notes="تمشي على الرمل والسيراميك بلا مشكلة.",
            links="drone:2 blocks:1"),
        _type("drone", "طيارة_درون؛طائرة ريموت", "f", "Drone", 190, weight=0.7,
            specs="بكاميرا # للمبتدئين # قابلة للطي", sizes="{12/15/20/25} دقيقة طيران",
            features="ب{2/3} بطاريات؛مع حقيبة؛بهبوط آمن", notes="تقلع وتهبط بزر واحد.", links="rc_car:3"),
        _type("puzzle", "بازل؛بزل خشبي؛لعبة ذاكرة:f", "m", "Puzzle", 38, weight=1.3,
            specs="حروف عربية؛أرقام # خريطة الوطن العربي؛حيوانات # كعبة ومساجد؛مناظر",
            sizes="{24/48/100/200/500/1000} قطعة", features="خشب طبيعي؛مع صورة مرجعية؛للعائلة",
            notes="ينشط الذاكرة ويعلم الصبر.", links="blocks:2 board_game:2.5 kids_story:1"),
        _type("board_game", "لعبة_جماعية؛كيرم:m؛لعبة ورق", "f", "Board Game", 75, weight=1.1,
            specs="أسئلة وتحدي # خشب؛كلاسيك # ثقافية؛سعودية", sizes="{2-4} إلى {5-10} لاعبين",
            features="للجمعات؛للسفر؛بالعربي", notes="تجمع العائلة في الاستراحة والشاليه.", links="puzzle:3"),
        _type("play_kitchen", "مطبخ أطفال؛طقم طبيب؛طقم تسوق", "m", "Play Set", 160, weight=0.9,
            specs="بلاستيك # خشب # بصوت وإضاءة", sizes="{20/35/50/80} قطعة؛ارتفاع {60/80/100} سم",
            features="مع كرسي؛بماء جاري؛في شنطة", notes="يقلد الصغار به أدوار الكبار.", links="doll:3"),
        _type("trampoline", "نطيطة؛زحليقة؛مرجيحة أطفال", "f", "Slide and Swing", 480, weight=0.7,
            specs="داخلية # للحديقة؛بشبكة حماية # هوائية", sizes="قطر {120/140/180/240} سم",
            features="تتحمل {50/80/120} كيلو؛سهلة التركيب؛مع سلة كرة", notes="ثابتة على الأرض ومبطنة الحواف.",
            links="kids_bike:2.5"),
        _type("kids_bike", "دراجة أطفال؛سيكل أطفال:m؛سكوتر:m", "f", "Kids Bike", 330, weight=1,
            specs="بعجلات مساعدة # جبلي* # بناتي* مع سلة", sizes="مقاس {12/14/16/18/20} بوصة",
            features="مع خوذة؛بفرامل يدوية؛بجرس", notes="المقعد يتعدل مع نمو الطفل.", links="trampoline:1.5"),
    ),
)


_BOOKS = Category(
    key="books",
    name="كتب",
    weight=0.8,
    brands=_split(
        "دار سنام؛دار المرافئ الأولى؛دار رواء الحبر؛منشورات غيمة؛دار وراقان؛Hibr House؛دار الدفتين؛"
        "مكتبة سراة؛دار مهاد النشر؛منشورات القافية؛دار نقش وحرف؛Waraq"
    ),
    style_weights=(0.45, 0.3, 0.25),
    style_prices=(1.0, 1.1, 1.2),
    adjectives=_split("جديد؛مصور؛مجلد؛مختصر؛محقق؛مترجم"),
    colours=(),
    leads=_split("الأكثر قراءة؛طبعة جديدة؛ننصح به؛مكتبة البيت؛إصدار {2022-2026}"),
    models=_split("الطبعة {الأولى/الثانية/الثالثة/الرابعة/الخامسة}؛الجزء {الأول/الثاني/الثالث/الرابع}"),
    titles=("%t %s", "%s - %t", "%t %s %n", "%t %s من %b", "%s | %t", "%l: %t %s", "%t %s %f"),
    openers=(
        "@reading %t %s [صادر/صادرة] عن %b في {120-600} صفحة.",
        "@reading في %t %s يأخذك الكاتب إلى {حارات جدة القديمة/قرى الجنوب/أسواق البصرة/صحراء الدهناء/أزقة القاهرة}.",
        "@reading %t %a بلغة سلسة وسرد مشوق.",
        "@reading صدر حديثًا عن %b: %t %s.",
        "%t %s من %b لرف القراءة في البيت.",
        "رفيق لطيف لعشاق القراءة: %t %s %f.",
        "@reading كتابة صادقة عن {الأسرة/الغربة/الحب/الذاكرة/العمل/النجاح} بين دفتي %t %s.",
    ),
    details=(
        "الطباعة واضحة على ورق كريمي مريح للعين.",
        "@reading الغلاف {ورقي/كرتوني مقوى} بحجم {متوسط/كبير/جيب}.",
        "التغليف محكم فلا تنثني الأطراف في الشحن.",
        "[يصلح/تصلح] هدية لمحبي القراءة.",
        "@reading يتضمن الفهرس شرحًا للكلمات الصعبة.",
        "@reading وصلت الطبعة السابقة إلى قراء في أكثر من بلد عربي.",
    ),
    near=("toys", "baby", "skin_care", "furniture"),
    types=(
        _type("novel", "رواية؛رواية؛مجموعة_قصصية", "f", "Novel", 45, weight=2.4,
            specs="«{ظل/حكاية/ليالي/أبواب/رائحة/صمت} {النخلة/الطين/البحر/الوادي/الحارة/الغربة}» #"
            " «{مفتاح/قضية/سر/جريمة} {البيت القديم/الغرفة السابعة/القطار الأخير/المنارة}» #"
            " «{مدينة/سفينة/أطفال/حراس} {الرماد/الغيم/النجوم/الرمال}»",
            features="بغلاف مقوى؛مع توقيع الكاتب؛بحجم الجيب", notes="الشخصيات قريبة من القارئ والنهاية مفتوحة.",
            links="poetry:2 self_help:1.5 bookmark:1.5"),
        _type("poetry", "ديوان شعر؛ديوان نبطي", "m", "Poetry", 38, weight=1,
            specs="«{قصائد/أغاني/مواويل/هواجس} {الليل/المطر/الشوق/الفجر/الرمل}» #"
            " «{مقامات/رسائل} {عاشق/مسافر/بدوي/غريب}» # «{نبض/همس/صوت} {القافية/الدلة/الربابة}»",
            features="مع تسجيل صوتي؛بخط الرقعة؛مجلد*", notes="قصائد قصيرة تقرأ في جلسة واحدة.",
            links="novel:2.5 bookmark:1"),
        _type("self_help", "كتاب تطوير ذات؛كتاب إدارة؛كتاب مالي", "m", "Self Development", 49, weight=1.4,
            specs="«{عادات/قوة/فن/أسرار} {التركيز/البساطة/الصباح/الادخار/الحوار}» #"
            " «{كيف/لماذا} {تبدأ/تنجح/ننسى/نؤجل}؟» #"
            " «{خطوة/ثلاثون يومًا/رحلة} نحو {الاتزان/الثقة/الحرية المالية}»",
            features="مع تمارين؛بخلاصات الفصول؛بملف عمل", notes="فصول قصيرة مع تمارين تطبيقية في نهايتها.",
            links="novel:1.5 planner:3"),
        _type("history_book", "كتاب تاريخ؛كتاب رحلات", "m", "History", 65, weight=0.9,
            specs="«تاريخ {القوافل/الموانئ/الأسواق/البادية} في {الجزيرة العربية/الخليج/الحجاز/نجد}» #"
            " «رحلة إلى {الربع الخالي/الأندلس/سمرقند/زنجبار}» # «{أعلام/حكايات} {الأندلس/بغداد/دمشق/الحجاز}»",
            features="مع خرائط؛محقق*؛بصور نادرة", notes="المؤلف يعتمد الوثائق وشهادات الرواة.",
            links="novel:1.5 poetry:1.5"),
        _type("kids_story", "قصة أطفال؛قصص أطفال؛سلسلة قصص", "f", "Kids Story", 25, weight=1.5,
            specs="«{أرنوب/سلحوف/ريما/فهد الصغير} و{القمر/الجمل/البئر/النجمة}» #"
            " «{جحا/الجدة/الثعلب} و{السوق/الخروف/العنب}» # «أتعلم {الحروف/الصلاة/الأرقام/الألوان}»",
            features="مع ملصقات؛بصفحات مقواة؛مع تلوين؛مشكولة بالكامل", notes="النص مشكول والرسوم كبيرة وملونة.",
            links="coloring:3 puzzle:1.5 doll:0.6"),
        _type("coloring", "دفتر تلوين؛كراسة خط:f", "m", "Coloring Book", 18, weight=0.8,
            specs="«حروف عربية» # «حيوانات الغابة» # «زخارف إسلامية»", sizes="{24/48/64/96} صفحة",
            features="مع {12/24} لونًا؛قابل* للمسح؛بورق سميك", notes="الورق لا ينفذ منه لون الفلوماستر.",
            links="kids_story:3"),
        _type("cook_book", "كتاب طبخ؛كتاب حلويات", "m", "Cook Book", 59, weight=0.8,
            specs="«{مائدة/سفرة/مطبخ} {نجد/الحجاز/الشرقية/أمي}» #"
            " «{حلويات/معجنات/أطباق} {العيد/رمضان/الشتاء}» # «وصفات {سريعة/صحية/المقهى}»",
            features="بصور خطوات؛مع جدول سعرات؛{60/90/120} وصفة", notes="كل وصفة في صفحتين مع المقادير بالكوب.",
            links="kabsa_mix:1.5 rice_pot:1 novel:1"),
        _type("planner", "دفتر؛أجندة:f؛مفكرة:f", "m", "Planner", 42, weight=0.9,
            specs="هجري وميلادي # جلد؛سلك # أهداف يومية", sizes="A5 {120/160/200} ورقة؛سنة {2026/2027}",
            features="مع قلم؛بفواصل ملونة؛بصفحات منقطة", notes="فيه مساحة للمهام والمواعيد والملاحظات.",
            links="self_help:2.5 bookmark:1.5"),
        _type("bookmark", "فاصل كتاب؛حامل كتاب؛إضاءة قراءة:f", "m", "Bookmark", 22, weight=0.5,
            specs="معدني* # خشبي* # مغناطيسي*", sizes="{2/4/6} حبات", features="بخط عربي؛بعبارة مقتبسة؛مع علبة",
            notes="لا [يثني/تثني] أطراف الصفحات.", links="novel:3 planner:1"),
    ),
)


_SKIN_CARE = Category(
    key="skin_care",
    name="العناية بالبشرة",
    weight=1.2,
    brands=_split(
        "نضارة ليان؛ورد الطيف؛Derma Rayhan؛صفاء لاب؛غصن البان؛Nadara؛لمسة سدر؛بشرة ياقوت؛Lubana Skin؛"
        "طينة البحر؛رواء؛زهر اللبان"
    ),
    style_weights=(0.4, 0.35, 0.25),
    style_prices=(1.0, 1.1, 0.9),
    adjectives=_split("لطيف؛مرطب؛طبيعي؛فعال؛خفيف؛مغذي"),
    colours=(),
    leads=_split("روتين الصباح؛روتين المساء؛للبشرة الحساسة؛مجرب؛عناية يومية"),
    models=_split("تركيبة {2-9}؛No. {1-40}"),
    titles=("%t %s %z", "%b %t %s %z", "%t %s %f", "%l: %t %s %z", "%t %b %s"),
    openers=(
        "@face %t %s من %b [يمنح/تمنح] الوجه نضارة يلاحظها من حولك.",
        "%t %a [تمتصه/تمتصها] البشرة بسرعة دون ملمس دهني.",
        "روتين بسيط مع %t %s %f.",
        "تركيبة %d من %b غنية ب{الألوفيرا/فيتامين E/زيت الأرغان/ماء الورد/النياسيناميد}.",
        "@face للبشرة {الدهنية/الجافة/المختلطة/الحساسة}: %t %s.",
    ),
    details=(
        "@face [يستعمل/تستعمل] صباحًا ومساءً على بشرة نظيفة.",
        "خال* من البارابين والعطور القوية.",
        "جرّبي كمية صغيرة على الذراع قبل الاستعمال الأول.",
        "النتيجة تظهر مع الاستمرار من {3/4/6} أسابيع.",
        "@face لا تنسي واقي الشمس نهارًا.",
        "مختبر* لدى أطباء الجلدية.",
    ),
    near=("perfumes", "abayas", "baby", "bags"),
    types=(
        _type("face_cream", "كريم؛كريم ترطيب؛مرطب~للوجه", "m", "Face Cream", 75, weight=1.8,
            specs="بحمض الهيالورونيك؛بالسيراميد # للتفتيح؛بفيتامين C # مضاد للتجاعيد؛بالريتينول",
            sizes="{30/50/75/100} مل", features="للبشرة الجافة؛لليل؛بدون عطر",
            notes="الكريم يخفف الخطوط الرفيعة والجفاف.", links="serum:3 cleanser:2 sunscreen:2.5", restock=45),
        _type("serum", "سيروم", "m", "Serum", 95, weight=1.8,
            specs="هيالورونيك {2/5}%؛ببتايد # فيتامين C {10/15/20}%؛نياسيناميد 10% # ريتينول 0.5%؛أحماض AHA",
            sizes="{15/30/50} مل", features="للتصبغات؛للمسام؛بقطارة زجاج",
            notes="قطرتان من السيروم تكفيان الوجه والرقبة.", links="face_cream:3 sunscreen:2 cleanser:1.5",
            restock=50),
        _type("sunscreen", "واقي شمس؛صن بلوك", "m", "Sunscreen", 80, weight=1.5,
            specs="SPF {30/50} مرطب # SPF 50+ ملون # SPF 100؛للأطفال SPF 50", sizes="{40/50/75/100} مل",
            features="بدون أثر أبيض؛مقاوم* للماء؛غير دهني", notes="يعاد وضعه كل ساعتين تحت الشمس.",
            links="face_cream:2 serum:1.5", restock=40),
        _type("cleanser", "غسول؛غسول وجه؛صابونة:f", "m", "Cleanser", 48, weight=1.5,
            specs="رغوي؛بالألوفيرا # بحمض الساليسيليك؛للحبوب # بالنيلة المغربية؛بالغار",
            sizes="{100/150/200/250} مل", features="للبشرة الدهنية؛لطيف*؛بلا كبريتات",
            notes="[ينظف/تنظف] من غير أن [يشد/تشد] الجلد.", links="toner:2.5 face_cream:2.5 face_mask:1",
            restock=45),
        _type("toner", "تونر؛ماء ورد", "m", "Toner", 42, weight=0.9,
            specs="طائفي # بحمض الجليكوليك # بالشاي الأخضر؛بالخيار", sizes="{120/150/200/250} مل",
            features="بخاخ؛لشد المسام؛بدون كحول", notes="يوازن البشرة بعد الغسول.",
            links="serum:3 face_cream:1", restock=55),
        _type("face_mask", "ماسك؛ماسك طين؛قناع وجه", "m", "Face Mask", 38, weight=1,
            specs="مرطب # تفتيح بالكركم # بالفحم؛بالطين المغربي", sizes="{75/100/150} جرام؛{5/10/12} حبات",
            features="للمناسبات؛أسبوعي*؛للرؤوس السوداء",
            notes="[يترك/تترك] من عشر إلى خمس عشرة دقيقة ثم [يغسل/تغسل].", links="cleanser:2 serum:1.5"),
        _type("lotion", "لوشن؛لوشن جسم؛زبدة جسم:f", "m", "Body Lotion", 52, weight=1.1,
            specs="بالشيا؛بالكاكاو # بالأرجان والورد # بالمسك؛باللافندر", sizes="{200/250/300/400} مل",
            features="للبشرة الجافة؛بمضخة؛برائحة هادئة", notes="[يرطب/ترطب] المرفقين والكعبين بعد الاستحمام.",
            links="scrub:3 body_mist:1.5", restock=45),
        _type("scrub", "سكراب؛مقشر جسم؛ليفة مغربية:f", "m", "Body Scrub", 44, weight=0.8,
            specs="بالقهوة؛بالسكر # بالملح البحري # بجوز الهند؛مغربي*", sizes="{200/250/300/500} جرام",
            features="للحمام المغربي؛ناعم* الحبيبات؛مع ليفة",
            notes="[يزيل/تزيل] الجلد الميت و[يوحد/توحد] اللون.", links="lotion:3 face_mask:1"),
        _type("lip_balm", "مرطب شفاه؛بلسم شفاه", "m", "Lip Balm", 22, weight=0.9,
            specs="بالعسل # وردي؛بالرمان # بالنعناع؛SPF 20", sizes="{4/8/10/15} جرام",
            features="بلمعة خفيفة؛بدون لون؛{2/3} حبات", notes="يحمي الشفاه من تشقق الشتاء.",
            links="face_cream:1.5 lotion:1", restock=50),
        _type("hair_oil", "زيت شعر؛حمام زيت", "m", "Hair Oil", 58, weight=1,
            specs="أرغان مغربي؛لوز # حشيش أصلي؛سدر # بالثوم؛جرجير وصبار", sizes="{60/100/125/200} مل",
            features="للتساقط؛للتطويل؛للشعر الجاف", notes="تدلك به الفروة قبل الغسيل بساعة.",
            links="lotion:1 cleanser:1", restock=50),
    ),
)


_FURNITURE = Category(
    key="furniture",
    name="أثاث",
    weight=0.9,
    brands=_split(
        "مفارش الديار؛ركن الجلسات؛بيت الصنوبران؛خشب وقماش؛Majlisna؛Dar Living؛ديوانية الأصالة؛"
        "أثاث روز نجد؛سكون هوم؛ليوان؛Rukn Home؛كنبات الفخامة الأولى"
    ),
    style_weights=(0.4, 0.35, 0.25),
    style_prices=(1.0, 1.1, 1.5),
    adjectives=_split("مودرن؛مريح؛فخم؛عملي؛متين؛كلاسيكي"),
    colours=_split("بيج؛رمادي؛بني؛أبيض؛كحلي؛زيتي"),
    leads=_split("لغرفة المعيشة؛للمجلس؛للشقق الصغيرة؛تجهيز بيت الزوجية؛مع التركيب"),
    models=_split("موديل {100-999}"),
    titles=("%t %s %c", "%t %s %z", "%t %b %s %z", "%l: %t %s %c", "%b %t %s %f", "%t %c %f"),
    openers=(
        "%t %s من %b [يعطي/تعطي] الغرفة دفئًا وترتيبًا.",
        "%t %a بلون %c [يتناسق/تتناسق] مع أغلب الديكورات.",
        "جهز بيتك مع %t %s %f.",
        "@frame صنعت %b %d من خامات تتحمل الاستعمال العائلي.",
        "%t %s، أناقة بسيطة للمجلس وغرفة المعيشة.",
    ),
    details=(
        "القياسات موضحة في الصور، وقد يزيد أو ينقص سنتيمتران.",
        "@frame التركيب مجاني داخل {الرياض/جدة/الدمام}.",
        "@frame الهيكل من خشب {الزان/السويدي/الصنوبر} المعالج.",
        "[يمسح/تمسح] بقطعة قماش رطبة فقط.",
        "@frame ضمان {سنة/سنتين/خمس سنوات} على الهيكل.",
        "التنفيذ خلال {7 أيام/10 أيام/14 يومًا} حسب اللون.",
    ),
    near=("kitchen", "garden", "baby", "books"),
    types=(
        _type("sofa", "كنب؛كنبة:f؛كنب زاوية", "m", "Sofa", 1500, weight=1.8,
            specs="مخمل؛قماش بوكليه # كتان؛قماش تركي # جلد؛خشب زان",
            sizes="{2/3/4} مقاعد؛{180/200/220/280} سم؛حرف L",
            features="سرير قابل للفتح؛بمساند عريضة؛مع خداديات", notes="الإسفنج كثافته {28/30/35} ولا يهبط.",
            links="coffee_table:3 rug:2.5 cushions:2 tv_unit:1.5"),
        _type("majlis", "جلسة_عربية؛مجلس_عربي:m؛جلسة_أرضية", "f", "Majlis Seating", 1100, weight=1.1,
            specs="قماش سدو؛تراثية # شمواه؛مخمل مطرز # كلاسيك؛خشب محفور",
            sizes="{5/6/8/10/12} متر؛{6/8/12} قطعة", features="مع مراكي؛قابل* للغسل؛حسب المقاس",
            notes="مراكي ومساند بحشوة قطن متماسكة.", links="rug:3 coffee_table:2 dallah:0.7"),
        _type("bed", "سرير؛غرفة نوم:f", "m", "Bed", 1700, weight=1.2,
            specs="منجد؛مخمل # خشب MDF؛بقاعدة تخزين # زان؛جلد",
            sizes="{120×200/150×200/160×200/180×200} سم؛{5/6} قطع",
            features="مع كومودينو؛بإضاءة LED؛بدون مرتبة", notes="القاعدة قوية ولا تصدر صوتًا.",
            links="mattress:4 wardrobe:2.5 nightstand:1.5"),
        _type("mattress", "مرتبة؛مرتبة سرير", "f", "Mattress", 800, weight=1,
            specs="سوست منفصلة # ميموري فوم؛طبية # لاتكس؛فندقية", sizes="{90/100/120/160/180/200}×{190/200} سم",
            features="بارتفاع {20/25/30} سم؛بوجهين؛بضمان {5/10} سنوات", notes="تدعم أسفل الظهر وتوزع الوزن.",
            links="bed:3 nightstand:1"),
        _type("wardrobe", "دولاب؛خزانة ملابس:f", "m", "Wardrobe", 950, weight=1,
            specs="خشب MDF؛أبيض لامع # جرار؛مع مرايا # زان؛زجاج مدخن",
            sizes="{بابين/3 أبواب/4 أبواب/6 أبواب}؛{120/160/180/240} سم", features="مع أدراج؛بعلاقات ثياب؛بقفل",
            notes="مقسوم من الداخل للثياب والعبايات والمفارش.", links="bed:2 nightstand:2"),
        _type("nightstand", "كومودينو؛تسريحة:f", "m", "Nightstand", 260, weight=0.7,
            specs="خشب MDF # مودرن* # زان", sizes="{2/3} أدراج؛{40/45/50} سم",
            features="مع شاحن؛بإضاءة؛بمقابض ذهبية",
            notes="[يكمل/تكمل] غرفة النوم و[يحفظ/تحفظ] الأغراض الصغيرة.", links="bed:3 wardrobe:1.5"),
        _type("coffee_table", "طاولة؛طاولة وسط؛طقم طاولات:m", "f", "Coffee Table", 340, weight=1.3,
            specs="خشب # رخام صناعي؛زجاج # زان؛حديد وخشب", sizes="{60/80/90/100/120} سم؛{3/4/5} قطع",
            features="متداخلة؛مع درج؛بأرجل معدنية", notes="السطح لا يترك عليه الفنجال أثرًا.",
            links="sofa:2 rug:2 tv_unit:2"),
        _type("tv_unit", "طاولة تلفزيون؛بلازما", "f", "TV Unit", 520, weight=0.9,
            specs="خشب MDF # معلقة؛بإضاءة LED # رخام وخشب", sizes="{140/160/180/200/240} سم",
            features="مع أرفف؛بأدراج مخفية؛بفتحات أسلاك", notes="تتسع لشاشة حتى {65/75/85} بوصة.",
            links="coffee_table:2 sofa:1.5"),
        _type("rug", "سجاد؛سجادة:f؛زولية:f؛موكيت", "m", "Rug", 380, weight=1.4,
            specs="تركي*؛صوف صناعي # مودرن*؛شاقي # إيراني*؛حرير صناعي",
            sizes="{120×170/160×230/200×300/240×340/300×400} سم",
            features="مانع* للانزلاق؛سهل* الغسيل؛بنقشة تراثية", notes="الوبر ناعم ولا يتطاير مع المكنسة.",
            links="sofa:2 cushions:2 coffee_table:1.5"),
        _type("cushions", "خداديات؛مفرش سرير:m؛ستائر", "f", "Home Textile", 130, weight=1.2,
            specs="قطن # مخمل؛كتان # جاكار", sizes="{2/4/6/8} قطع؛{45×45/50×50/220×240} سم",
            features="مع الحشوة؛بسحاب مخفي؛بلونين", notes="تغسل في الغسالة بماء بارد.",
            links="sofa:2 rug:2 bed:1"),
    ),
)


_SPORTS = Category(
    key="sports",
    name="رياضة",
    weight=1.0,
    brands=_split(
        "عزم؛Hadaf Sport؛لياقة الفهدان؛صولة؛Sarea؛Quwwa Gear؛مضمار؛قفزة؛هايل فت؛Wathba؛درع الرياضي؛"
        "نبض الملاعب"
    ),
    style_weights=(0.45, 0.35, 0.2),
    style_prices=(1.0, 0.9, 1.5),
    adjectives=_split("خفيف؛احترافي؛متين؛مريح؛قابل للطي؛منزلي"),
    colours=_split("أسود؛أزرق؛أحمر؛رمادي؛أخضر"),
    leads=_split("للنادي؛تمارين البيت؛للمبتدئين؛تحدي اللياقة؛عرض الموسم"),
    models=_split("موديل {100-999}؛Fit {10-99}"),
    titles=("%t %s %z", "%t %b %s %c", "%t %s %c %z", "%l: %t %s %z", "%b %t %s %f"),
    openers=(
        "%t %s من %b [يساعدك/تساعدك] على الالتزام بتمارينك.",
        "@gear %t %a [يتحمل/تتحمل] التدريب اليومي في النادي والبيت.",
        "ابدأ رحلة اللياقة مع %t %s %f.",
        "من %b: %t %s للمبتدئ والمحترف.",
        "%t %s %f، ثبات وراحة في كل تمرين.",
    ),
    details=(
        "@gear [يمسح/تمسح] بعد التمرين بقطعة مبللة.",
        "@gear ابدأ بوزن أو شدة خفيفة ثم زد تدريجيًا.",
        "@wear الخياطات والوصلات مقواة ضد الاحتكاك.",
        "@gear لا تترك المعدات تحت الشمس المباشرة.",
        "مناسب* للرجال والنساء.",
        "@wear تغسل القطعة بماء بارد وتجفف في الظل.",
    ),
    near=("phones", "cars", "toys", "skin_care"),
    types=(
        _type("dumbbell", "دمبل؛طقم دمبلز؛كيتل بل", "m", "Dumbbell", 150, weight=1.5,
            specs="مطاطي؛حديد # فينيل ملون؛للبيت # قابل للتعديل؛كروم", sizes="{2/3/5/7.5/10/15/20/24} كجم",
            features="قطعتين؛بقبضة مانعة للانزلاق؛مع حامل", notes="الوزن دقيق والقبضة لا تجرح اليد.",
            links="bench:2.5 yoga_mat:1.5 gym_gloves:2 shaker:1"),
        _type("treadmill", "سير_كهربائي؛دراجة_ثابتة:f؛جهاز مشي", "m", "Treadmill", 1500, weight=0.9,
            specs="{2/2.5/3} حصان # للمشي تحت المكتب؛مغناطيسي* # {4/5} حصان للأوزان الثقيلة",
            sizes="يتحمل {100/120/140/160} كجم", features="قابل* للطي؛بشاشة ومقياس نبض؛مع زيت صيانة",
            notes="الصوت هادئ فلا يزعج أهل البيت.", links="sport_shoes:2.5 yoga_mat:1.5 shaker:1"),
        _type("sport_shoes", "حذاء_رياضي؛جزمة_رياضية:f؛شوز رياضي", "m", "Running Shoes", 230, weight=2,
            specs="للجري؛للمشي الطويل # للنادي؛طبي* # كرة قدم نجيل", sizes="مقاس {37-46}",
            features="بنعل مرن؛بدون رباط؛مسامي*؛ضد الانزلاق", notes="النعل يمتص الصدمة ويريح الركبة.",
            links="tracksuit:2.5 socks:2"),
        _type("tracksuit", "ترنق؛طقم رياضي؛تيشيرت_رياضي", "m", "Tracksuit", 140, weight=1.3,
            specs="سريع الجفاف؛قطن # حراري؛ضيق* # مبطن للشتاء", sizes="مقاس {S/M/L/XL/XXL/3XL}",
            features="بجيوب سحاب؛بقبعة؛ماص* للعرق", notes="لا يقيد الحركة ولا يلتصق بالجسم.",
            links="sport_shoes:2.5 socks:1.5"),
        _type("socks", "شرابات_رياضية؛جوارب", "f", "Socks", 35, weight=0.8,
            specs="قطن # قصيرة؛ضاغطة # سميكة للهايكنق", sizes="{3/5/6/10} أزواج",
            features="ضد الروائح؛بدعم القوس؛بدون خياطة", notes="تبقى القدم جافة وقت الجري.",
            links="sport_shoes:3 tracksuit:1"),
        _type("yoga_mat", "بساط يوغا؛سجادة تمارين:f", "m", "Yoga Mat", 70, weight=1.1,
            specs="NBR # TPE؛مطاط طبيعي # فلين", sizes="سماكة {6/8/10/15} ملم",
            features="مع حزام حمل؛ضد الانزلاق؛بخطوط توجيه",
            notes="[يحمي/تحمي] الركب والظهر في التمارين الأرضية.", links="resistance_band:3 dumbbell:1.5"),
        _type("resistance_band", "حبل مقاومة؛أشرطة مقاومة:f؛نط حبل", "m", "Resistance Band", 45, weight=1,
            specs="لاتكس # قماش # مع مقابض؛فولاذي*", sizes="{3/5/11} قطع؛{10/20/30/50} باوند",
            features="مع شنطة؛بثلاث درجات؛مع دليل تمارين", notes="[يكفي/تكفي] لتمرين الجسم كاملًا في السفر.",
            links="yoga_mat:2.5 dumbbell:1"),
        _type("football", "كرة قدم؛كرة؛كرة_طائرة", "f", "Football", 75, weight=1.2,
            specs="جلد صناعي # للشاطئ؛للصالات # احترافية مخيطة حراريًا", sizes="مقاس {3/4/5}",
            features="مع منفاخ؛ضد الماء؛للمدارس", notes="وزنها ثابت وارتدادها متوازن.",
            links="goal_gloves:2.5 sport_shoes:2"),
        _type("goal_gloves", "قفازات حارس؛واقي ساق:m", "f", "Goalkeeper Gloves", 65, weight=0.5,
            specs="لاتكس # للناشئين # احترافية", sizes="مقاس {5-11}", features="بعظام حماية؛بشريط تثبيت؛مبطنة",
            notes="[يمسك/تمسك] الكرة جيدًا حتى في الرطوبة.", links="football:3"),
        _type("bench", "كرسي بنش؛عقلة باب:f؛بار حديد", "m", "Bench", 390, weight=0.7,
            specs="حديد # قابل* للطي # متعدد* الاستخدام", sizes="يتحمل {150/200/250/300} كجم",
            features="بسبع وضعيات؛مع حبال؛بإسفنج كثيف", notes="[يثبت/تثبت] على الأرض بلا اهتزاز.",
            links="dumbbell:3 gym_gloves:1.5"),
        _type("gym_gloves", "قفازات نادي؛حزام ظهر:m؛رباط معصم:m", "f", "Gym Gloves", 55, weight=0.7,
            specs="جلد # نيوبرين # مبطنة", sizes="مقاس {S/M/L/XL}", features="بدعم المعصم؛مسامية؛بلاصق قوي",
            notes="[يحمي/تحمي] الكف من خشونة الحديد.", links="dumbbell:2.5 shaker:1.5"),
        _type("shaker", "شيكر؛مطارة_رياضية:f", "m", "Shaker Bottle", 38, weight=0.7,
            specs="بلاستيك # ستيل # كهربائي*", sizes="{500/600/700/1000} مل",
            features="بكرة خلط؛بعلبة مكملات؛ضد التسريب", notes="[يخلط/تخلط] المكملات من دون تكتل.",
            links="gym_gloves:1.5 dumbbell:1"),
    ),
)


_BABY = Category(
    key="baby",
    name="مستلزمات الأطفال",
    weight=1.0,
    brands=_split(
        "نونو الحلو؛مهد وحنان؛Baby Rima؛غيمة قطن؛Tofoola؛أول خطوة؛دفا البيبي؛حليب وعسل بيبي؛صغيرون؛"
        "Mama Hala؛ننّوس؛بيت الرضيع"
    ),
    style_weights=(0.4, 0.35, 0.25),
    style_prices=(1.0, 0.95, 1.3),
    adjectives=_split("ناعم؛آمن؛مريح؛خفيف؛قطني؛عملي"),
    colours=_split("أبيض؛وردي؛سماوي؛بيج؛رمادي"),
    leads=_split("لحديثي الولادة؛تجهيز المولود؛شنطة الولادة؛للأم والطفل؛توفير"),
    models=_split("موديل {100-999}"),
    titles=("%t %s %z", "%t %b %s %z", "%t %s %c", "%l: %t %s %f", "%b %t %s"),
    openers=(
        "%t %s من %b [يريح/تريح] الطفل والأم معًا.",
        "@soft %t %a [مصمم/مصممة] لبشرة الرضيع الحساسة.",
        "من أهم تجهيزات المولود: %t %s %f.",
        "%t %s بخامات لطيفة تختارها الأمهات.",
        "@feeding لأيام الرضاعة الأولى وما بعدها: %t من %b %f.",
    ),
    details=(
        "مناسب* من عمر {يوم/شهر/3 أشهر/6 أشهر}.",
        "@soft [يغسل/تغسل] على حدة بصابون لطيف قبل أول استعمال.",
        "@feeding القطع خالية من BPA.",
        "لا تترك الرضيع دون مراقبة.",
        "@soft الخياطة من الداخل ناعمة لا تخدش الجلد.",
    ),
    near=("toys", "skin_care", "furniture", "books"),
    types=(
        _type("diapers", "حفاضات؛حفائض", "f", "Diapers", 62, weight=2,
            specs="مقاس {1/2/3} # مقاس {4/5} # سروال مقاس {4/5/6}",
            sizes="{36/44/58/64/80/120/144} حبة؛عبوتين {60/80} حبة",
            features="فائقة الامتصاص؛بمؤشر بلل؛للنوم الطويل", notes="تبقى جافة حتى {8 ساعات/10 ساعات/12 ساعة}.",
            links="wipes:4 baby_wash:1.5 bottle:1", restock=20),
        _type("wipes", "مناديل_مبللة؛مناديل أطفال", "f", "Baby Wipes", 28, weight=1.3,
            specs="بالماء النقي # بالألوفيرا # بدون عطر", sizes="{64/72/80}×{3/6/9/12} حبة",
            features="بغطاء محكم؛سميكة؛للبشرة الحساسة", notes="المنديل متماسك ولا يترك وبرًا.",
            links="diapers:4 baby_wash:1", restock=25),
        _type("bottle", "رضاعة؛مرضعة؛كوب تدريب:m", "f", "Feeding Bottle", 42, weight=1.3,
            specs="ضد المغص # زجاج؛بلاستيك آمن # سيليكون", sizes="{120/150/240/260/330} مل",
            features="مع حلمة بطيئة؛بمقابض؛{2/3} حبات", notes="الحلمة مرنة وقريبة من الرضاعة الطبيعية.",
            links="sterilizer:2.5 pacifier:2 breast_pump:1.5"),
        _type("sterilizer", "معقم؛معقم رضاعات؛مسخن حليب", "m", "Sterilizer", 190, weight=0.6,
            specs="بالبخار # بالأشعة UV # مع تجفيف", sizes="{4/6/8} رضاعات",
            features="مع شاشة؛بفصل تلقائي؛للسيارة", notes="يعقم الرضاعات في أقل من عشر دقائق.",
            links="bottle:3 breast_pump:1.5"),
        _type("breast_pump", "شفاط حليب؛مضخة حليب:f", "m", "Breast Pump", 260, weight=0.6,
            specs="كهربائي* # يدوي* # محمول* بدون أسلاك", features="مع أكياس حفظ؛هادئ*؛مزدوج*",
            sizes="{3/5/9/12} مستويات", notes="الشفط لطيف ويمكن حمله إلى العمل.",
            links="bottle:3 sterilizer:1.5"),
        _type("pacifier", "لهاية؛عضاضة", "f", "Pacifier", 24, weight=0.8,
            specs="سيليكون # تضيء ليلًا # مطاط طبيعي", sizes="{0-3/3-6/6-18} أشهر",
            features="مع علاقة؛{2/3} حبات؛مع علبة", notes="تهدئ الطفل وقت التسنين.",
            links="bottle:2.5 baby_clothes:1"),
        _type("cot", "سرير أطفال؛سرير رضع؛مهد", "m", "Baby Cot", 620, weight=1,
            specs="خشب # محمول*؛هزاز* # خشب زان مع درج", sizes="{60×120/70×140/50×90} سم",
            features="مع ناموسية؛مع مرتبة؛بعجلات", notes="حواجز السرير تتعدل على ثلاثة مستويات.",
            links="stroller:3.5 baby_blanket:2 car_seat:2"),
        _type("stroller", "عربة أطفال؛عربية أطفال", "f", "Stroller", 650, weight=1.3,
            specs="قابلة للطي # خفيفة للسفر # 3 في 1؛بوجهين", sizes="حتى {15/18/22} كجم",
            features="مع حقيبة أم؛بمظلة واسعة؛بعجلات مطاط", notes="تنطوي بيد واحدة وتدخل شنطة السيارة.",
            links="car_seat:3 mom_bag:2.5 cot:1"),
        _type("car_seat", "كرسي سيارة؛مقعد سيارة", "m", "Car Seat", 450, weight=1,
            specs="ISOFIX # من الولادة # دوار 360", sizes="{0-13/0-18/9-36/15-36} كجم",
            features="بحماية جانبية؛قابل* للغسل؛مع حامل كوب", notes="حزام خماسي يثبت الطفل براحة.",
            links="stroller:2.5 cot:1"),
        _type("mom_bag", "حقيبة أم؛شنطة ولادة", "f", "Diaper Bag", 130, weight=0.7, specs="ظهر # كتف # جلد",
            sizes="{12/14/18/25} جيبًا", features="مع مفرش تغيير؛بمنفذ USB؛مقاومة للماء",
            notes="جيوب حافظة للحرارة لرضاعتين أو ثلاث.", links="stroller:2 diapers:2"),
        _type("baby_clothes", "طقم بيبي؛أفرول؛بربتوز", "m", "Baby Clothes", 68, weight=1.5,
            specs="قطن # شتوي*؛مبطن* # مطرز*؛قطن عضوي", sizes="{0-3/3-6/6-9/9-12/12-18} شهر",
            features="{3/5/7} قطع؛للمواليد؛بكبس سفلي؛بناتي*؛ولادي*", notes="القطن ناعم ويبقى بلونه بعد الغسيل.",
            links="baby_blanket:2.5 pacifier:1 baby_wash:1"),
        _type("baby_blanket", "بطانية أطفال؛مهاد:m؛لفة مواليد", "f", "Baby Blanket", 75, weight=0.9,
            specs="قطن موسلين # شتوية # فرو ناعم", sizes="{80×80/100×120/110×140} سم",
            features="{2/3/4} حبات؛بقبعة؛باسم المولود",
            notes="[يدفئ/تدفئ] الرضيع من غير أن [يحبس/تحبس] الحرارة.", links="baby_clothes:2 cot:1.5"),
        _type("baby_wash", "شامبو أطفال؛لوشن أطفال؛كريم حفاض", "m", "Baby Wash", 34, weight=1.1,
            specs="بالبابونج # بدون دموع # بالشوفان", sizes="{100/200/300/500} مل",
            features="للبشرة الحساسة؛بدون صابون؛برائحة البودرة", notes="لا يحرق عين الطفل ولا يجفف جلده.",
            links="diapers:2 wipes:2", restock=40),
    ),
)


_GARDEN = Category(
    key="garden",
    name="حدائق",
    weight=0.8,
    brands=_split(
        "مشتل الواحتين؛خضرة الدار؛Bustana؛ساقية؛غرس؛مزارع الروضان؛Nabta؛ظل السدر؛ورقة وجذر؛ريّان الحديقة؛"
        "فسيلة"
    ),
    style_weights=(0.45, 0.35, 0.2),
    style_prices=(1.0, 1.0, 1.4),
    adjectives=_split("متين؛عملي؛طبيعي؛مقاوم للشمس؛خفيف؛سريع النمو"),
    colours=_split("أخضر؛أبيض؛بني؛أسود؛فخاري"),
    leads=_split("لحديقة البيت؛للاستراحة؛موسم الزراعة؛للبلكونة؛للمزارع"),
    models=_split("كود {1000-9999}؛موديل {100-999}"),
    titles=("%t %s %z", "%t %b %s %z", "%t %s %f", "%l: %t %s %z", "%b | %t %s"),
    openers=(
        "@plant %t %s من %b [يعيد/تعيد] الحياة إلى حوش البيت.",
        "%t %a [يناسب/تناسب] أجواء الخليج وتربته الرملية.",
        "للحديقة والبلكونة: %t %s %f.",
        "@plant مع %t %s تصبح الزراعة المنزلية أسهل.",
        "اختار مهندسو %b %d {للحدائق الصغيرة/للسطوح/للمزارع/للاستراحات}.",
    ),
    details=(
        "@plant السقي صباحًا أو بعد المغرب يعطي نتيجة أفضل.",
        "@plant ابدأ بالزراعة بعد انكسار الحر في أكتوبر.",
        "@outdoor الخامة معالجة ضد أشعة الشمس.",
        "[يصل/تصل] مع دليل مختصر بالصور.",
        "طريقة الاستعمال مكتوبة بالعربية على العبوة.",
        "@plant لا [يضر/تضر] النباتات المنزلية ولا الطيور.",
        "@plant مجرب* في مشاتل {القصيم/الخرج/الطائف/تبوك}.",
    ),
    near=("furniture", "kitchen", "dates_coffee", "cars"),
    types=(
        _type("seeds", "بذور؛بذور؛تقاوي", "f", "Seeds", 15, weight=2,
            specs="طماطم؛جرجير؛خيار؛نعناع؛باذنجان # ورد جوري؛فل؛بيتونيا؛دوار الشمس # سدر؛ليمون؛نخيل خلاص",
            sizes="{5/10/20/50/100} جرام؛{50/100/300/500} بذرة",
            features="نسبة إنبات عالية؛للزراعة المنزلية؛هجين F1؛عضوية",
            notes="تنبت خلال {5 أيام/7 أيام/10 أيام/14 يومًا} عند الري المنتظم.",
            links="soil:3 pot:2.5 fertilizer:2"),
        _type("soil", "تربة؛بتموس:m؛تربة زراعية", "f", "Soil", 35, weight=1.2,
            specs="خفيفة للشتلات # كوكوبيت؛للورود # بركانية؛صبارية", sizes="{5/10/20/50/70} لتر",
            features="مع سماد؛معقمة؛حافظة للماء", notes="تحتفظ بالرطوبة وتمنع تعفن الجذور.",
            links="seeds:2 pot:2.5 fertilizer:2"),
        _type("fertilizer", "سماد؛سماد عضوي؛مغذي نبات", "m", "Fertilizer", 32, weight=1.2,
            specs="NPK 20-20-20 # للورود؛بطيء التحلل # دبال الدود؛حيواني معالج",
            sizes="{500/750} جرام؛{1/2/5/10/25} كجم", features="للنخيل؛لتقوية الجذور؛سائل*",
            notes="يخضر الورق خلال أسبوعين.", links="soil:2.5 seeds:2 pesticide:1.5", restock=50),
        _type("pot", "مركن؛أصيص؛حوض زراعة", "m", "Plant Pot", 48, weight=1.5,
            specs="بلاستيك # فخار؛سيراميك # ألياف زجاجية؛أسمنتي*",
            sizes="{12/16/20/25/30/40/60} سم؛{3/5/10} حبات", features="مع صحن؛بفتحات تصريف؛معلق*؛ذاتي* الري",
            notes="الفتحات السفلية تصرف الماء الزائد.", links="soil:3 seeds:2 house_plant:2"),
        _type("house_plant", "نبتة_داخلية؛نبات ظل:m؛شجرة_صناعية", "f", "House Plant", 85, weight=1.1,
            specs="بوتس؛جلد النمر # زاميا؛مونستيرا # أريكا؛فيكس", sizes="ارتفاع {20/30/50/80/120/150} سم",
            features="مع مركن؛سهلة العناية؛منقية للهواء", notes="تكتفي بسقيا واحدة في الأسبوع.",
            links="pot:3 fertilizer:1.5 sprayer:1"),
        _type("hose", "لي؛لي ماء؛خرطوم", "m", "Garden Hose", 75, weight=1.2,
            specs="قابل* للتمدد # مقوى ثلاث طبقات # ملفوف* على بكرة",
            sizes="{10/15/20/25/30/50} متر؛{1/2/3/4} بوصة", features="مع مسدس رش؛ضد الالتواء؛مع وصلات نحاس",
            notes="لا ينثني ولا يتشقق تحت الشمس.", links="drip_kit:2.5 sprayer:2"),
        _type("drip_kit", "شبكة تنقيط؛مؤقت ري:m؛رشاش حديقة:m", "f", "Drip Irrigation", 110, weight=0.9,
            specs="منزلي* # ذكي* بالتطبيق # للمزارع", sizes="{15/25/30/50/100} نقطة؛{15/30/50} متر",
            features="بشاشة رقمية؛مع كامل الوصلات؛موفر* للماء",
            notes="[يوفر/توفر] الماء و[يسقي/تسقي] في غيابك.", links="hose:2.5 seeds:1 pot:1"),
        _type("sprayer", "بخاخ؛مضخة رش:f؛مرش", "m", "Sprayer", 42, weight=0.8,
            specs="يدوي* # كهربائي* قابل للشحن # ظهر", sizes="{1/2/5/8/16/20} لتر",
            features="بفوهة نحاس؛بحزام كتف؛بضغط هواء", notes="الرذاذ ناعم ومنتظم على الأوراق.",
            links="pesticide:3 hose:1"),
        _type("pesticide", "مبيد؛مبيد حشرات؛صابون زراعي", "m", "Pesticide", 30, weight=0.8,
            specs="عضوي* # فطري*؛للمن والذباب الأبيض # زيت نيم", sizes="{100/250/500} مل؛1 لتر",
            features="للورود؛للخضار؛آمن* على الأطفال بعد الجفاف",
            notes="يعالج المن والعنكبوت الأحمر من أول أسبوع.", links="sprayer:3 fertilizer:2"),
        _type("garden_tools", "مقص زراعي؛طقم أدوات زراعة؛مسحاة:f", "m", "Garden Tools", 65, weight=0.9,
            specs="ستيل # بمقابض خشب # ياباني*", sizes="{3/5/7/10} قطع؛{8/20/24} بوصة",
            features="مع قفازات؛في حقيبة؛للتقليم", notes="الشفرة حادة والقبضة لا تتعب اليد.",
            links="soil:2 pot:1.5"),
        _type("garden_seat", "كرسي حديقة؛جلسة_خارجية:f؛مرجيحة حديقة:f", "m", "Garden Seat", 520, weight=0.9,
            specs="راتان # ألمنيوم؛حبال # خشب تيك", sizes="{3/4/5/6} أشخاص",
            features="مع طاولة؛مع مظلة؛بوسائد مقاومة للماء", notes="[يتحمل/تتحمل] الشمس والغبار والمطر.",
            links="parasol:3 bbq:2"),
        _type("parasol", "مظلة؛مظلة شمسية؛خيمة", "f", "Parasol", 260, weight=0.7,
            specs="جانبية # مستقيمة؛بقاعدة # شد إنشائي", sizes="{2/2.5/3/3×3/3×4} متر",
            features="بإضاءة شمسية؛ضد الهواء؛قابلة للطي", notes="القماش كثيف ويحجب أغلب أشعة الشمس.",
            links="garden_seat:3 bbq:1"),
        _type("bbq", "شواية؛منقل:m؛شبة نار", "f", "BBQ Grill", 190, weight=0.9, specs="فحم # غاز # ستيل ثقيل",
            sizes="{40/50/60/80/100} سم", features="قابلة للطي؛مع أسياخ؛بعجلات",
            notes="[يكفي/تكفي] شواء {4/6/10} أشخاص في البر أو الحوش.", links="garden_seat:2 spatula:1 parasol:1"),
    ),
)


_BAGS = Category(
    key="bags",
    name="حقائب وأحذية نسائية",
    weight=1.0,
    brands=_split(
        "جلود الميسان؛شنطة ومشوار؛Noura Bags؛خطوة دلال؛Maysal؛كعب ولمعة؛حقائب سيوار؛Layali Step؛رهاف؛"
        "غصن الجلد؛Tuwa؛مشوارها"
    ),
    style_weights=(0.45, 0.3, 0.25),
    style_prices=(1.0, 1.5, 1.1),
    adjectives=_split("أنيق؛عملي؛فخم؛كلاسيكي؛خفيف؛ناعم"),
    colours=_split("أسود؛بني؛بيج؛عنابي؛أبيض؛كحلي؛وردي"),
    leads=_split("للدوام؛للسهرات؛جديد الموسم؛مشاوير العيد؛إطلالة كاملة"),
    models=_split("موديل {100-999}؛كود {1000-9999}"),
    titles=("%t %s %c", "%t %b %s %c", "%t %s %z", "%l: %t %s %c", "%b | %t %s %f", "%t %c %f"),
    openers=(
        "%t %s من %b [يكمل/تكمل] إطلالتك مع العباية.",
        "%t %a بلون %c وتفاصيل معدنية هادئة.",
        "للجامعة والدوام والزيارات: %t %s %f.",
        "@carried اختارت %b في %d خياطة مرتبة وبطانة متينة.",
        "%t %s %f بسعر مناسب وجودة واضحة.",
    ),
    details=(
        "[يمسح/تمسح] بقطعة جافة و[يحفظ/تحفظ] في كيس قماش.",
        "@carried السحابات معدنية ناعمة الحركة.",
        "اللون الحقيقي قريب جدًا من الصور.",
        "@carried البطانة من الداخل قماش قابل للتنظيف.",
        "مناسب* هدية للأم والأخت والصديقة.",
    ),
    near=("abayas", "jewellery", "perfumes", "skin_care"),
    types=(
        _type("handbag", "حقيبة يد؛شنطة؛شنطة يد", "f", "Handbag", 190, weight=2,
            specs="جلد صناعي؛سادة # جلد طبيعي؛نقشة تمساح # قماش؛كانفاس",
            sizes="حجم {صغير/وسط/كبير}؛{22/25/28/32/36} سم", features="مع حزام كتف؛بجيوب داخلية؛بقفل مغناطيسي",
            notes="تتسع للجوال والمحفظة ومستلزمات اليوم.", links="wallet:3 heels:1.5 abaya:1"),
        _type("abaya_bag", "حقيبة كتف؛شنطة كروس؛شنطة ظهر", "f", "Crossbody Bag", 140, weight=1.5,
            specs="جلد صناعي # جلد طبيعي # قماش؛مطرزة", sizes="{18/20/22/26/30} سم",
            features="بسلسلة معدنية؛بحزام قابل للتعديل؛بسحابين", notes="خفيفة على الكتف ولا تسحب العباية.",
            links="wallet:2.5 abaya:1.5 flats:1.5"),
        _type("clutch", "كلتش؛شنطة سهرة:f", "m", "Clutch", 160, weight=0.9,
            specs="ساتان؛سادة # مطرز* بالكريستال؛مخمل # معدني*؛أكريليك", sizes="{16/18/20/22} سم",
            features="مع سلسلة؛للأعراس؛بقفل حجر", notes="حجم صغير يكفي الجوال وأحمر الشفاه.",
            links="heels:3 earring:1 jewel_set:0.7"),
        _type("wallet", "محفظة؛بوك:m؛محفظة بطاقات", "f", "Wallet", 75, weight=1.2,
            specs="جلد صناعي # جلد طبيعي # قماش", sizes="{6/8/10} بطاقات",
            features="بحماية RFID؛بسحاب دائري؛مع علبة هدية", notes="[فيه/فيها] مكان للعملات والبطاقات والصور.",
            links="handbag:3 abaya_bag:1.5"),
        _type("heels", "كعب؛حذاء كعب؛صندل_نسائي", "m", "Heels", 170, weight=1.3,
            specs="مخمل؛شمواه # جلد طبيعي؛مرصع* # ساتان؛شفاف*", sizes="مقاس {35-42}",
            features="بارتفاع {5/7/9} سم؛بحزام خلفي؛للأعراس", notes="النعل الداخلي مبطن فلا يؤلم في السهرات.",
            links="clutch:3 handbag:1.5 necklace:0.6"),
        _type("flats", "فلات؛حذاء فلات؛شبشب_نسائي", "m", "Flats", 95, weight=1.2,
            specs="جلد صناعي؛سادة # جلد طبيعي # قماش؛قش", sizes="مقاس {35-42}",
            features="بفيونكة؛بنعل طبي؛للمشي الطويل", notes="مريح في الجامعة والدوام.",
            links="abaya_bag:2.5 handbag:1.5"),
        _type("travel_bag", "شنطة سفر؛حقيبة سفر؛طقم شنط:m", "f", "Travel Bag", 320, weight=0.9,
            specs="ABS صلبة # جلد؛كلاسيك # قماش خفيفة", sizes="{20/24/28} بوصة؛{2/3/4} قطع",
            features="بعجلات 360؛بقفل أرقام؛قابلة للتوسعة", notes="العجلات هادئة والمقبض يثبت على عدة مستويات.",
            links="makeup_bag:3 abaya_bag:1"),
        _type("makeup_bag", "شنطة مكياج؛منظم مكياج:m", "f", "Makeup Bag", 60, weight=0.7,
            specs="جلد صناعي # مخمل؛مبطنة # شفافة", sizes="{2/3/4} طبقات؛{20/24/30} سم",
            features="بمرآة وإضاءة؛مقاومة للماء؛مع فرش", notes="[يحفظ/تحفظ] السيروم والكريمات مرتبة في السفر.",
            links="travel_bag:2 serum:1 perfume:0.7"),
    ),
)


CATEGORIES: tuple[Category, ...] = (
    _JEWELLERY,
    _PERFUMES,
    _ABAYAS,
    _THOBES,
    _PHONES,
    _CARS,
    _DATES,
    _SPICES,
    _KITCHEN,
    _TOYS,
    _BOOKS,
    _SKIN_CARE,
    _FURNITURE,
    _SPORTS,
    _BABY,
    _GARDEN,
    _BAGS,
)
