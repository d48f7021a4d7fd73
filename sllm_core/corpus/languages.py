"""Which language a text is written in: by its script, and by the small words that every text has.

The small words of a language ("the", "of") make up a third of any text in it, and a tenth or less
of a text in another. Where too few of them are found, the answer is that it is not known.
"""

import re
from bisect import bisect_right
from collections import Counter

import numpy as np

_SAMPLE_CHARS = 3_000
_LEAST_LETTERS = 20
_LEAST_SHARE = 0.12  # of the words; gibberish reaches a few hundredths by accident
_CLEAR_SHARE = 0.04

# The commonest words of each language, from its grammar: articles, prepositions, pronouns,
# conjunctions, forms of "to be". Words of one or two letters that many languages have are left out
# or shared; what is shared counts less.
_WORDS = {
    "en": "the of and to in is that it was for on are as with his they at be this from have or by"
    " one had not but what all were when we there can an your which their if will how she you",
    "de": "der die und das den von zu ist des im nicht ein dem sich mit für auf eine als auch es an"
    " werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen ich oder",
    "fr": "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il"
    " sont avec ou son être cette aux ont mais comme nous elle vous leur sans ses était où même je",
    "es": "de la que el en y los del se las por un para con no una su al lo como más pero sus le ya"
    " o este sí porque esta entre cuando muy sin sobre también me hasta hay donde han es está son",
    "it": "di e il la che in un a per è una sono con non si da del le dei i alla nel della più come"
    " ma al anche gli ha lo questo delle nella dal se o dalla era suo loro sul essere perché ci mi",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao"
    " ele das tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso são",
    "nl": "de van het een en in is dat op te zijn voor met die niet aan er om ook als bij maar naar"
    " hij uit deze worden door dan zich wordt nog hebben over heeft geen ze wat dit kan was je of",
    "sv": "och att det i en som är av för på med den till inte har de ett om jag han men var sig"
    " från vi så kan när år under också efter eller nu sin där vid mot ska skulle kommer ut får man",
    "da": "og i det at en den til er som på de med han af for ikke der var mig sig men et har om vi"
    " min havde ham hun nu over da fra du ud sin dem os op man hans hvor eller hvad skal selv også"
    " efter blev bliver være kan ved mere meget noget jeg alle når ind aldrig altid så vil må hvis",
    "no": "og i det som en på er av til at for med de han ikke den der var meg seg men et har om vi"
    " min hadde ham hun nå over da fra du ut sin dem oss opp man hans hvor eller hva skal selv også"
    " etter ble blir være kan ved mer mye noe jeg alle når inn aldri alltid så vil må hvis",
    "fi": "ja on ei se että hän oli ovat mutta kun niin myös kuin joka sen tai mitä ole sitä hänen"
    " olla vain jos nyt ne sekä tämä minä voi siitä mukaan jo ollut vielä sitten kuitenkin jossa"
    " olisi siinä tämän jotka mukaan kanssa hyvin",
    "pl": "w i na z nie się do to że jest o jak od za po co przez ale dla czy są tym tego był jego"
    " ze tak już lub oraz być ich może jako które który która jej było tylko przy gdy można tej aby",
    "cs": "a v se na je že s z do o i to ve pro za by ale si po jako od jsem jsou byl podle která"
    " který které nebo byla tak už jeho při co není aby jen být také jak bylo než až však pouze tím",
    "hu": "a az és hogy nem is egy ez meg csak de volt van már mint el még vagy ha azt ki sem után"
    " kell lehet amely olyan ezt minden mert majd nagyon itt aki azonban ahol pedig lesz sok voltak"
    " között be fel",
    "tr": "ve bir bu da de için ile olarak çok olan daha gibi o ne kadar sonra en ama her ya değil"
    " olduğu var ise mi onun diye şey ben hem tarafından yok iki veya göre ki oldu zaman ancak bile"
    " bunu böyle şu",
    "ro": "de și în a la cu nu pe din este care o un să se mai ce că sunt fost pentru au ca fi al"
    " sau dar le prin era lui după îi fără această acest acum când ei cum despre foarte între"
    " doar într am ai",
    "vi": "và của là có không được cho các một những này trong người với đã khi để về như ra cũng"
    " từ đến tôi nhà năm lại làm theo hay nếu phải rất đó thì mà vào nhiều sự trên",
}
LATIN = frozenset(_WORDS)


def _owners() -> dict[str, tuple[tuple[str, float], ...]]:
    """Each word with its languages and its weight for them: less where several have it."""
    owners: dict[str, list[str]] = {}
    for language, words in _WORDS.items():
        for word in set(words.split()):
            owners.setdefault(word, []).append(language)
    # Letters alone say little: they are variables, list items and initials.
    return {
        word: tuple((name, (0.5 if len(word) == 1 else 1.0) / len(names)) for name in names)
        for word, names in owners.items()
    }


_OWNERS = _owners()
_LETTERS = re.compile(r"[^\W\d_]+")

# First code point of each range and the script it belongs to; '' is no letter, or any script.
_RANGES: tuple[tuple[int, str], ...] = (
    (0x0, ""), (0x41, "latin"), (0x5B, ""), (0x61, "latin"), (0x7B, ""), (0xC0, "latin"),
    (0x250, ""), (0x370, "greek"), (0x400, "cyrillic"), (0x530, "other"), (0x590, "hebrew"),
    (0x600, "arabic"), (0x700, "other"), (0x750, "arabic"), (0x780, "other"),
    (0x900, "devanagari"), (0x964, ""), (0x970, "devanagari"), (0x980, "other"), (0xE00, "thai"),
    (0xE80, "other"), (0x1100, "hangul"), (0x1200, "other"), (0x1E00, "latin"), (0x1F00, "greek"),
    (0x2000, ""), (0x3041, "kana"), (0x3100, "other"), (0x3400, "han"), (0x4DC0, ""),
    (0x4E00, "han"), (0xA000, "other"), (0xAC00, "hangul"), (0xD7B0, ""), (0xF900, "han"),
    (0xFB00, ""), (0xFB50, "arabic"), (0xFE00, ""), (0xFE70, "arabic"), (0xFF00, ""),
    (0xFF66, "kana"), (0xFFA0, ""), (0x20000, "han"), (0x32000, ""),
)  # fmt: skip
_STARTS = np.array([start for start, _ in _RANGES], np.uint32)
_BY_SCRIPT = {"greek": "el", "hebrew": "he", "devanagari": "hi", "thai": "th", "hangul": "ko"}
_HAN_WEIGHT = 3  # a sign of Chinese or Korean writes what takes Latin letters several


def detect(text: str) -> str:
    """The code of the language of a text, such as 'en', 'de', 'ru', 'zh'; '' when not sure.

    It looks at the beginning and the middle of a long text, and needs about a sentence.
    """
    sample = _sample(text)
    if sample.isascii():
        return _by_words(sample)
    scripts = _scripts(sample)
    for script in ("han", "kana", "hangul"):
        scripts[script] *= _HAN_WEIGHT
    total = sum(scripts.values())
    script, n = max(scripts.items(), key=lambda item: item[1], default=("", 0))
    east = scripts["han"] + scripts["kana"]
    if total < _LEAST_LETTERS or max(n, east) < 0.5 * total:
        return ""
    if script == "latin":
        return _by_words(sample)
    if script in {"han", "kana"}:
        return "ja" if scripts["kana"] > 0.05 * east else "zh"
    if script == "cyrillic":
        return _cyrillic(sample)
    if script == "arabic":
        return _arabic(sample)
    return _BY_SCRIPT.get(script, "")


def is_latin(language: str) -> bool:
    """Whether a language is written with Latin letters."""
    return language in LATIN


def script_of(character: str) -> str:
    """The script of one letter, '' where it has none or it is not among those told apart."""
    return _RANGES[bisect_right(_RANGES, (ord(character), "\U0010ffff")) - 1][1]


def _sample(text: str) -> str:
    if len(text) <= _SAMPLE_CHARS:
        return text
    half, middle = _SAMPLE_CHARS // 2, len(text) // 2
    return f"{text[:half]} {text[middle : middle + half]}"


def _scripts(sample: str) -> Counter[str]:
    """How many letters of each script."""
    points = np.frombuffer(sample.encode("utf-32-le", "surrogatepass"), np.uint32)
    ranges = np.bincount(np.searchsorted(_STARTS, points, side="right") - 1, minlength=len(_RANGES))
    found: Counter[str] = Counter()
    for (_, script), n in zip(_RANGES, ranges.tolist(), strict=True):
        if script and n:
            found[script] += n
    return found


def _by_words(sample: str) -> str:
    """The Latin language whose small words are found most; '' when few, or two are close."""
    words = _LETTERS.findall(sample.lower())
    if sum(map(len, words)) < _LEAST_LETTERS:
        return ""
    points = dict.fromkeys(_WORDS, 0.0)
    hits, different = dict.fromkeys(_WORDS, 0), dict.fromkeys(_WORDS, 0)
    for word, times in Counter(words).items():
        for language, weight in _OWNERS.get(word, ()):
            points[language] += weight * times
            hits[language] += times
            different[language] += len(word) > 1  # letters alone may be a list or variables
    (best, most), (_, second) = sorted(points.items(), key=lambda item: -item[1])[:2]
    share, n_different = hits[best] / len(words), different[best]
    is_usual = share >= _LEAST_SHARE and n_different >= 4 and most >= 1.15 * second
    # Text full of commands and names, or of long words that take endings, as Turkish.
    is_clear = share >= _CLEAR_SHARE and n_different >= 6 and most >= 2.5 * second
    return best if is_usual or is_clear else ""


def _cyrillic(sample: str) -> str:
    """Russian and Ukrainian have letters that the other lacks; Bulgarian and Serbian neither."""
    lowered = sample.lower()
    if any(letter in lowered for letter in "јљњћђџў"):
        return ""
    ukrainian, russian = (sum(map(lowered.count, letters)) for letters in ("іїєґ", "ыэё"))
    if ukrainian == russian:
        return ""
    return "uk" if ukrainian > russian else "ru"


def _arabic(sample: str) -> str:
    """Persian and Urdu have letters that Arabic lacks."""
    others = sum(map(sample.count, "پچژگکی"))
    return "" if others * 50 > len(sample) else "ar"
