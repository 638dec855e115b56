"""Answers in sentences: the rows of `pipeline.report.phrases` that hold, filled in, in the reader's language."""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from functools import cache

from pipeline.findings.model import ModelIdentity, Outcome
from pipeline.report import phrases as phrasebook
from pipeline.report.answer import Answer, Region
from pipeline.report.phrases import Row

MILLILITRE_MM3 = 1000


class Language(StrEnum):
    """The languages of the phrasebook, in the order of its columns (BCP 47 tags)."""

    ENGLISH = "en"
    GERMAN = "de"
    SPANISH = "es"
    FRENCH = "fr"


COLUMNS = {language: column for column, language in enumerate(Language)}


def headline(answer: Answer, language: Language = Language.ENGLISH) -> str:
    """The answer in a few words."""
    row = phrasebook.HEADLINES[_situation(answer).partition(",")[0]]
    return _capital(_fill(row, language, name=within(_name(answer, language), language)))


def statement(answer: Answer, language: Language = Language.ENGLISH) -> str:
    """The answer in a sentence or two that neither overstates nor hides."""
    values = {"name": within(_name(answer, language), language), "count": str(len(answer.regions))}
    if answer.refusal is not None:
        values |= {"reason": _reason(answer.refusal.code, language), "code": answer.refusal.code}
    else:
        values["share"] = number(answer.share, language, digits=2)
    return _fill(phrasebook.ANSWER[_situation(answer)], language, **values)


def additions(answer: Answer, language: Language = Language.ENGLISH) -> tuple[str, ...]:
    """What else is to be said of it: how large it is, and what it replaces."""
    holds = {
        "one region": len(answer.regions) == 1,
        "several regions": len(answer.regions) > 1,
        "later revision": answer.revision > 1 and phrasebook.CAVEATS[0][0] not in answer.caveats,
    }
    size = {}
    if answer.regions:
        size = {"axes": axes(answer.regions[0], language, digits=0), "volume": volume(answer.regions[0], language)}
    return tuple(_fill(row, language, **size) for name, row in phrasebook.ADDED.items() if holds[name])


def disclaimer(language: Language = Language.ENGLISH) -> str:
    """What every result says of itself, without a full stop."""
    return _fill(phrasebook.ALWAYS["disclaimer"], language)


def unread(language: Language = Language.ENGLISH) -> str:
    """That no human has read it."""
    return _fill(phrasebook.ALWAYS["unread"], language)


def conclusion(answer: Answer, language: Language = Language.ENGLISH) -> str:
    """Everything in one paragraph: the answer, its additions and caveats, and what it is."""
    limits = (caveat(text, language).rstrip(".") + "." for text in answer.caveats)
    parts = (
        statement(answer, language),
        *additions(answer, language),
        *limits,
        f"{disclaimer(language)}.",
        unread(language),
    )
    return " ".join(parts)


def caveat(text: str, language: Language) -> str:
    """A caveat of `pipeline` or a model, translated where the phrasebook has it, else as it is, marked as English."""
    if language is Language.ENGLISH:
        return text
    for row in phrasebook.CAVEATS:
        found = _pattern(row[0]).fullmatch(text)
        if found:
            return _fill(row, language, **found.groupdict())
    return label("english", language, text=text.rstrip("."))


def title(model: ModelIdentity, class_name: str, language: Language = Language.ENGLISH) -> str:
    """What a class is called; a bundle's own class without a row keeps the bundle's title."""
    term = model.term(class_name)
    row = phrasebook.TERMS.get(term.code.value)
    return term.title if row is None or language is Language.ENGLISH else _fill(row, language)


def target(model: ModelIdentity, language: Language = Language.ENGLISH) -> str:
    """What the model looks for, as it stands within a sentence."""
    row = phrasebook.TERMS.get(model.target.value)
    name = model.target.meaning if row is None or language is Language.ENGLISH else _fill(row, language)
    return within(name, language)


def region_name(number_from_1: int, language: Language = Language.ENGLISH) -> str:
    return label("lesion", language, number=str(number_from_1))


def axes(region: Region, language: Language = Language.ENGLISH, *, digits: int = 1) -> str:
    """``23.4 × 17.0 mm``."""
    long, short = (number(value, language, digits=digits) for value in (region.long_axis_mm, region.short_axis_mm))
    return f"{long} × {short} mm"


def volume(region: Region, language: Language = Language.ENGLISH) -> str:
    """In millilitres, which readers use, or in mm³ where that would round to nothing."""
    if region.volume_mm3 < MILLILITRE_MM3:
        return f"{region.volume_mm3:.0f} mm³"
    unit = _fill(phrasebook.FORMS["millilitre"], language)
    return f"{number(region.volume_mm3 / MILLILITRE_MM3, language, digits=1)} {unit}"


def number(value: float, language: Language = Language.ENGLISH, *, digits: int) -> str:
    return f"{value:.{digits}f}".replace(".", _fill(phrasebook.FORMS["decimal mark"], language))


def day(value: date, language: Language = Language.ENGLISH) -> str:
    return value.strftime(phrasebook.FORMS["day"][COLUMNS[language]])


def label(name: str, language: Language = Language.ENGLISH, /, **values: str) -> str:
    """A row of `phrasebook.LABELS`; KeyError where there is none."""
    return _fill(phrasebook.LABELS[name], language, **values)


def _situation(answer: Answer) -> str:
    """Which row of `phrasebook.ANSWER` holds."""
    if answer.outcome is Outcome.FINDING:
        count = len(answer.regions)
        return f"finding, {('no region', 'one region', 'several regions')[min(count, 2)]} outlined"
    if answer.outcome is Outcome.INDETERMINATE and answer.share < max(
        item.probability for item in answer.probabilities
    ):
        return "indeterminate, and it is not the most probable class"
    return str(answer.outcome).replace("_", " ")


def _name(answer: Answer, language: Language) -> str:
    """The class that the sentences speak of: the predicted one, or the one that says that there is nothing."""
    if answer.outcome is Outcome.REFUSED:
        return ""
    name = answer.probabilities[-1].name if answer.outcome is Outcome.NO_FINDING else answer.predicted_class
    return title(answer.model, name, language)


def _reason(code: str, language: Language) -> str:
    return _fill(phrasebook.REFUSALS.get(code) or phrasebook.REFUSALS["REFUSED"], language)


def within(name: str, language: Language = Language.ENGLISH) -> str:
    """``name`` within a sentence: small, but for German nouns and for abbreviations."""
    if (language is Language.GERMAN and not name.startswith("Kein")) or name[1:2].isupper():
        return name
    return name[:1].lower() + name[1:]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _fill(row: Row, language: Language, /, **values: str) -> str:
    """The row's text in ``language``. Values are put in as they are: braces within them mean nothing."""
    return row[COLUMNS[language]].format_map(values)


@cache
def _pattern(english: str) -> re.Pattern[str]:
    """What a caveat looks like that was written from ``english``."""
    parts = re.split(r"\{(\w+)\}", english)
    return re.compile(
        "".join(f"(?P<{part}>.+?)" if index % 2 else re.escape(part) for index, part in enumerate(parts)), re.DOTALL
    )
