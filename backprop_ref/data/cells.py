"""What cells of text say: numbers in any country's way of writing, yes and no, dates, nothing."""

import functools
import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

NOTHING = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "?", "<NA>", "#N/A", "NaT"})
"""What stands for a missing value in any column."""
NO_NUMBER = frozenset(
    {
        *("na", "n.a.", "n/a", "nan", "none", "nil", "null", "(null)", "<null>", "\\n", "missing", "k.a.", "tbd"),
        *("-", "--", "---", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212", "\uff0d"),
        *(".", "..", "...", "\u2026", "??"),
        *("#n/a", "#value!", "#div/0!", "#num!", "#ref!", "#name?", "#null!"),
    }
)
"""What stands for one among numbers, in small letters; among texts these may be values."""
PAIRS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"))
"""Words for 0 and 1."""
ABROAD = tuple(
    (words[0], words[1])
    for pair in (
        *("falsch wahr", "nein ja", "faux vrai", "non oui", "falso verdadero", "no sí", "no si", "falso vero", "no sì"),
        *("falso verdadeiro", "não sim", "nee ja", "onwaar waar", "nej ja", "nei ja", "nie tak", "ne ano", "нет да"),
        *("ложь истина", "いいえ はい", "否 是", "아니요 예", "hayır evet"),
    )
    if (words := pair.split())
)
"""The same in other languages."""
FAMILIES = ((PAIRS[0], PAIRS[3]), (PAIRS[1], PAIRS[2]), (PAIRS[4],), *((words,) for words in ABROAD))
"""Those that may stand in one column, beside 0 and 1."""

PLAIN = re.compile(r"[+-]?(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
COMMA_DECIMAL = re.compile(r"[+-]?(\d+(?:,\d*)?|,\d+)([eE][+-]?\d+)?", re.ASCII)
# groups of three digits; in India the ones further left are of two
DOT_GROUPS = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d*)?", re.ASCII)
COMMA_GROUPS = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(,\d{2,3})*,\d{3})(\.\d*)?", re.ASCII)
SPACED = re.compile(r"[+-]?[1-9]\d{0,2}([ \u00a0\u202f'\u2019]\d{3})+([.,]\d*)?", re.ASCII)
SPACES = re.compile("[ \u00a0\u202f'\u2019]")
_SIGNS = "$€£¥￥₹₩₽₺₴₫฿₪\\\\"
"""Of currencies; the last is how old Japanese files have ¥."""
_CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|AUD|CAD|BRL"
_SIGNED = rf"([+-]?)\s*([{_SIGNS}]?|(?:{_CODES})(?= ))\s*([+-]?[\d.,\u00a0\u202f'\u2019 ]*\d[.,]?(?:[eE][+-]?\d+)?)\s*"
UNIT = re.compile(_SIGNED + r"([^\W\d_]{1,6}[²³]?|[%°$€£¥￥₹₩₽₺₴₫฿₪‰][CF]?|[^\W\d_]+/[^\W\d_]+)?")


MOST_MEASURE = 200
"""A longer text is no number with a unit."""


class Writing(NamedTuple):
    """How numbers are written: the decimal mark, what separates groups of digits, and a unit that all of them have."""

    decimal: str = "."
    groups: str = ""
    prefix: str = ""
    suffix: str = ""


_ASCII = str.maketrans(
    "".join(chr(first + digit) for first in (0xFF10, 0x660, 0x6F0) for digit in range(10))
    + "\u2212\uff0d．，％（）＋٫٬٪",
    3 * "0123456789" + "--.,%()+.,%",
    "\u200b\u200e\u200f\u2060\ufeff",
)
"""Digits and marks of East Asia and of Arabic as those of ASCII; what has no width, as none."""
ACCOUNTED = re.compile(r"\((?=.*\d)(.*)\)|(.*\d)\s*-")


def _signed(text: str) -> str:
    """With its minus in front, where it is another character, after the number, or parentheses; digits are 0 to 9."""
    text = text if text.isascii() else text.translate(_ASCII)
    if text[:1] == "'" and text.strip("'")[-1:].isdecimal():  # how Excel marks a number as text
        text = text.strip("'")
    found = ACCOUNTED.fullmatch(text)
    return text if found is None or text[0] == "-" else f"-{(found[1] or found[2]).strip()}"


def number(text: str, writing: Writing) -> float | None:
    """The number that a cell says, or None; it may be infinite, where it is too large."""
    text = _signed(text)
    if writing.prefix or writing.suffix:
        split = _without_unit(text)
        if split is None or split[:2] != (writing.prefix, writing.suffix):
            return None
        text = split[2]
    if SPACED.fullmatch(text):
        text = SPACES.sub("", text)
    if not _shape(writing).fullmatch(text):
        return None
    if writing.groups:
        text = text.replace(writing.groups, "")
    return float(text.replace(",", ".") if writing.decimal == "," else text)


def _shape(writing: Writing) -> re.Pattern[str]:
    return {(".", ""): PLAIN, (",", ""): COMMA_DECIMAL, (",", "."): DOT_GROUPS, (".", ","): COMMA_GROUPS}[writing[:2]]


def _without_unit(text: str) -> tuple[str, str, str] | None:
    """Currency sign before, unit after, and the number between, if there is a unit."""
    found = UNIT.fullmatch(text) if len(text) <= MOST_MEASURE else None
    if found is None or not (found[2] or found[4]):
        return None
    return found[2] or "", found[4] or "", found[1] + found[3].strip()


_ADDRESS = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}", re.ASCII)
"""Such as 10.123.45.67, of which each part is at most 255."""
_CODE = re.compile(r"'?(\d{3,})|\+\d{8,}", re.ASCII)


def are_codes(texts: Sequence[str]) -> bool:
    """Whether cells are codes in digits: post codes with zeros in front, all as long, or numbers of telephones."""
    digits = [found[1] or "" for text in texts if (found := _CODE.fullmatch(text))]
    if not digits or len(digits) < len(texts):
        return False
    zeros = [text.startswith("0") for text in digits]
    return not any(digits) or all(zeros) or (any(zeros) and len(set(map(len, digits))) == 1)


class Readings(NamedTuple):
    """Which ways of writing numbers fit cells: all that fit the most of them, and what they leave over."""

    writings: tuple[Writing, ...]
    others: tuple[str, ...]
    marked: bool
    """Whether a cell has a point or comma, so that it matters which."""


def readings(texts: Sequence[str]) -> Readings:
    """How the numbers among distinct cells, none of them missing, are written; addresses of the internet are none."""
    if texts and all(map(_ADDRESS.fullmatch, texts)):
        return Readings((Writing(),), tuple(texts), False)
    signed = list(map(_signed, texts))
    prefix, suffix, bare = _common_unit(signed)
    stripped = [SPACES.sub("", text) if text and SPACED.fullmatch(text) else text for text in bare]
    tried = [
        Writing(decimal, groups, prefix, suffix) for decimal, groups in ((".", ""), (",", ""), (".", ","), (",", "."))
    ]
    left = {
        writing: tuple(text for text, cell in zip(texts, stripped, strict=True) if not _shape(writing).fullmatch(cell))
        for writing in tried
    }
    fewest = min(map(len, left.values()))
    fitting = tuple(writing for writing in tried if len(left[writing]) == fewest)
    marked = any("." in cell or "," in cell for cell in stripped)
    return Readings(fitting, left[fitting[0]], marked)


def _common_unit(texts: Sequence[str]) -> tuple[str, str, list[str]]:
    """The unit that all cells have, and the cells without it; ("", "", cells) if they have none or several."""
    split = [_without_unit(text) for text in texts]
    units = {part[:2] if part else None for part in split}
    if len(units) != 1 or None in units:
        return "", "", list(texts)
    prefix, suffix = next(iter(units))  # type: ignore[misc]
    return prefix, suffix, [part[2] for part in split if part]


def units(texts: Sequence[str]) -> tuple[str, ...]:
    """The units of measures that have several, or some none; no units for texts that look like codes, such as 3A."""
    split = [_without_unit(text) for text in texts]
    found = {part[0] or part[1] for part in split if part}
    measures = [text for text, part in zip(texts, split, strict=True) if part]
    bare = [text for text, part in zip(texts, split, strict=True) if not part]
    measured = any(mark in text for text in measures for mark in " .,") or not any(map(str.isalpha, "".join(found)))
    if not measures or not measured or not all(readings([text]).others == () for text in bare):
        return ()
    several = (*sorted(found), *(["none"] if bare else []))
    return several if len(several) > 1 else ()


def pair(texts: Iterable[str]) -> tuple[str, str] | None:
    """The two words for 0 and 1 that the cells are, if they are nothing else but others for the same."""
    small = {text.lower() for text in texts}
    if small & set(PAIRS[0]) and small & {"0", "1"} and small <= {*PAIRS[0], "0", "1"}:
        return PAIRS[0]
    for family in FAMILIES:
        whole = [words for words in family if small >= set(words)]
        words = next((words for words in family if small and small <= set(words)), whole[0] if whole else None)
        known = {word for each in family for word in each} | ({"0", "1"} if family[0] in whole else set())
        if words is not None and small <= known:
            return words
    return None


def truth(text: str, words: tuple[str, ...]) -> int | None:
    """0 or 1, where a cell is one of two words, or another for the same."""
    small = text.lower()
    family = next((family for family in FAMILIES if words in family), ())
    return next((each.index(small) for each in (words, *family, PAIRS[0], ("0", "1")) if small in each), None)


def label(text: str) -> str:
    """A class's name: 1.0 and 1e0 are 1; what is no number, or has zeros in front, or too many digits, stays."""
    if not PLAIN.fullmatch(text) or re.fullmatch(r"[+-]?(0\d+|\d{16,})", text):
        return text
    value = float(text)
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


# --- dates ---

DAY_FIRST, MONTH_FIRST, YEAR_FIRST, ISO, TIME = "day-first", "month-first", "year-first", "iso", "time"
_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?:,?[ T]+(\S.*))?", re.ASCII)
_YEAR = re.compile(r"(\d{4}|\d{2})([./-])(\d{1,2})\2(\d{1,2})(?:[ T]+(\S.*))?", re.ASCII)
_ISO = re.compile(r"\d{4}-\d{2}(-\d{2})?([ T]\S.*)?", re.ASCII)
PIVOT = 69
"""Years of two digits are 1969 to 2068, as POSIX has it."""
COMPACT = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII)
"""A date in digits alone."""
IN_DIGITS = {DAY_FIRST: "%d%m%Y", MONTH_FIRST: "%m%d%Y"}
_DAY, _MONTH_OF, _YEAR_OF = r"(0[1-9]|[12]\d|3[01])", r"(0[1-9]|1[0-2])", r"(19|20)\d\d"
_SHAPES = {
    "%d%m%Y": re.compile(_DAY + _MONTH_OF + _YEAR_OF, re.ASCII),
    "%m%d%Y": re.compile(_MONTH_OF + _DAY + _YEAR_OF, re.ASCII),
}
"""Dates in digits alone with the year last, by their order."""
MONTH = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])", re.ASCII)
"""A month in digits alone."""
_TIME = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d(?:[.,]\d+)?))?(?:\s*([AaPp])\.?[Mm]\.?)?", re.ASCII)
WITH_NAMES: tuple[str, ...] = (
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d%b%Y",
    "%b-%Y",
    "%b %Y",
    "%B %Y",
)
WITH_NAMES += tuple(f"{form} %H:%M{seconds}" for form in WITH_NAMES[:7] for seconds in ("", ":%S"))
WITH_NAMES += ("%d%b%Y:%H:%M:%S", "%a, %d %b %Y %H:%M:%S %z")
_EPOCH = datetime(1970, 1, 1)
_MONTHS = {
    name: english
    for english, names in {
        "Jan": "januar jänner janvier janv enero ene gennaio gen janeiro januari",
        "Feb": "februar février fevrier févr fév fev febrero febbraio fevereiro februari",
        "Mar": "märz maerz mär mrz mars marzo março maart mrt",
        "Apr": "avril avr abril abr aprile",
        "May": "mai mayo maggio mag maio mei",
        "Jun": "juni juin junio giugno giu junho",
        "Jul": "juli juillet juil julio luglio lug julho",
        "Aug": "août aout agosto ago augustus",
        "Sep": "septembre sept septiembre settembre set setembro",
        "Oct": "oktober okt octobre octubre ottobre ott outubro out",
        "Nov": "novembre noviembre novembro",
        "Dec": "dezember dez décembre decembre déc diciembre dic dicembre dezembro",
    }.items()
    for name in names.split()
}
_WORD = re.compile(r"[^\W\d_]+\.?")
_EAST = re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]")


def date(text: str, form: str) -> float | None:
    """Days since 1970 (or, of a time of the day, hours) that a cell says in a form; None if it is not of that form."""
    text = text if form in {ISO, TIME} else _as_in_english(text)
    try:
        if form == TIME:
            return _hours(text)
        if form in {DAY_FIRST, MONTH_FIRST, YEAR_FIRST}:
            return _by_numbers(text, form)
        if form != ISO:
            return _days(datetime.strptime(text, form))
        whole = f"{text}-01" if len(text) == 7 else text.replace(",", ".")
        return _days(datetime.fromisoformat(whole)) if _ISO.fullmatch(text) else None
    except (ValueError, OverflowError):
        return None


@functools.lru_cache(1 << 12)
def _as_in_english(text: str) -> str:
    """A date whose month has its name in another language of Europe, or that is written as in East Asia."""
    words = [word.rstrip(".").lower() for word in _WORD.findall(text)]
    if any(word in _MONTHS for word in words):
        text = re.sub(r"\bde\s+|(?<=\d)\.(?=\s)", "", text)
        return _WORD.sub(lambda found: _MONTHS.get(found[0].rstrip(".").lower(), found[0]), text)
    return text if text.isascii() else _EAST.sub(r"\1/\2/\3", text)


_ZONE = re.compile(r"\s*(?:GMT|UTC)(?:([+-]\d{1,2})(?::?([0-5]\d))?)?$")
"""As forms that were filled in online have it."""


def _by_numbers(text: str, form: str) -> float | None:
    """A date in numbers, by their order."""
    found = (_YEAR if form == YEAR_FIRST else _DATE).fullmatch(text)
    if found is None:
        return None
    first, second, third, rest = found[1], found[3], found[4], found[5]
    year, month, day = {
        YEAR_FIRST: (first, second, third),
        MONTH_FIRST: (third, first, second),
        DAY_FIRST: (third, second, first),
    }[form]
    zone = _ZONE.search(rest or "")
    hours = 0.0 if rest is None else _hours(rest[: zone.start()] if zone else rest)
    if zone and zone[1] and hours is not None:
        hours -= float(zone[1]) + float(f"{zone[1][0]}{zone[2] or 0}") / 60.0
    century = 0 if len(year) == 4 else 2000 if int(year) < PIVOT else 1900
    return None if hours is None else _days(datetime(century + int(year), int(month), int(day))) + hours / 24.0


def _hours(text: str) -> float | None:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    hour = int(found[1])
    if found[4]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found[4].lower() == "p" else 0)
    return hour + int(found[2]) / 60.0 + float((found[3] or "0").replace(",", ".")) / 3600.0


def _days(moment: datetime) -> float:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - _EPOCH).total_seconds() / 86400.0


def date_forms(texts: Sequence[str]) -> tuple[str, ...]:
    """The forms of dates that fit all of some distinct cells, none of them missing."""
    first = texts[0] if texts else ""
    if not 4 <= len(first) <= 40 or not any(character.isdigit() for character in first):
        return ()
    fitting: list[str] = []
    for form in (ISO, YEAR_FIRST, DAY_FIRST, MONTH_FIRST, TIME, *WITH_NAMES):
        if all(date(text, form) is not None for text in texts):
            fitting.append(form)
            if form in {ISO, TIME} or (form == YEAR_FIRST and not short_year(first)):
                break
    if YEAR_FIRST in fitting and short_year(first):
        parts = list(zip(*(re.findall(r"\d+", text)[:3] for text in texts), strict=True))
        if len(set(parts[0])) >= len(set(parts[2])):  # days change more often than years
            fitting.remove(YEAR_FIRST)
    if fitting == [DAY_FIRST, MONTH_FIRST]:
        marks = {found[2] for text in texts if (found := _DATE.fullmatch(text))}
        same = all(date(text, DAY_FIRST) == date(text, MONTH_FIRST) for text in texts)
        if marks == {"."} or same:  # who writes points writes the day first
            fitting = [DAY_FIRST]
    zones = {_has_zone(text) for text in texts} if fitting == [ISO] else set()
    return () if len(zones) > 1 else tuple(fitting)


def compact_forms(texts: Sequence[str]) -> tuple[str, ...]:
    """The forms with the year last of dates in digits alone that fit all of some cells."""
    return tuple(
        form
        for form, shape in _SHAPES.items()
        if all(map(shape.fullmatch, texts)) and all(date(text, form) is not None for text in texts)
    )


def short_year(text: str) -> bool:
    """Whether a date in numbers has a year of two digits."""
    return re.match(r"\d{1,2}([./-])\d{1,2}\1\d{1,2}(?!\d)", text) is not None


def nearly_dates(texts: Sequence[str]) -> list[str]:
    """The cells that are no dates, where at least half of the others are, of one form; or those of another form."""
    some = texts[:200]
    forms = (ISO, YEAR_FIRST, DAY_FIRST, MONTH_FIRST, *WITH_NAMES)
    fits = [
        [date(text, form) is not None for text in some] for form in forms if any(map(str.isdigit, "".join(some[:1])))
    ]
    most = max(fits, key=sum, default=[])
    of_any = bool(most) and all(map(any, zip(*fits, strict=True)))
    if most and not all(most) and (of_any or (len(some) > 2 and 2 * sum(most) >= len(most))):
        return [text for text, fits_most in zip(some, most, strict=True) if not fits_most]
    return []


def _has_zone(text: str) -> bool:
    return re.search(r"([Zz]|[+-]\d{2}:?\d{2})$", text[10:]) is not None


def is_missing(text: str, also: frozenset[str], among_numbers: bool) -> bool:
    """Whether a cell stands for no value."""
    return text in NOTHING or text in also or (among_numbers and text.lower() in NO_NUMBER)


def finite(value: float) -> bool:
    """Whether a number is one to compute with."""
    return math.isfinite(value)
