"""Answers in sentences, in the reader's language: which phrases of `pipeline.report.phrasebook` hold, and filled in."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

from pipeline.caveats import VALUES, Caveat, CaveatCode, free_text
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import ModelIdentity, Outcome
from pipeline.report import phrasebook
from pipeline.report.answer import Answer, Region
from pipeline.report.phrasebook import phrase

MILLILITRE_MM3 = 1000


class Language(StrEnum):
    """The languages that `pipeline.report.phrasebook` has phrases in (BCP 47 tags)."""

    ENGLISH = "en"
    GERMAN = "de"
    SPANISH = "es"
    FRENCH = "fr"


def headline(answer: Answer, language: Language = Language.ENGLISH) -> str:
    """The answer in a few words."""
    return _capital(phrase("headline", answer.outcome, language, name=within(_name(answer, language), language)))


def statement(answer: Answer, language: Language = Language.ENGLISH) -> str:
    """The answer in a sentence or two that neither overstates nor hides."""
    values: dict[str, Any] = {"name": within(_name(answer, language), language), "count": len(answer.regions)}
    if answer.refusal is not None:
        values |= {"reason": _reason(answer.refusal.code, language), "code": answer.refusal.code}
    else:
        values["share"] = number(answer.share, language, digits=2)
    return phrase("answer", _situation(answer), language, **values)


def additions(answer: Answer, language: Language = Language.ENGLISH) -> tuple[str, ...]:
    """What else is to be said of it: how large it is, and what it replaces."""
    holds = {
        "one_region": len(answer.regions) == 1,
        "several_regions": len(answer.regions) > 1,
        "later_revision": answer.revision > 1 and Caveat(CaveatCode.REPLACES_EARLIER_RESULT) not in answer.caveats,
    }
    size = {}
    if answer.regions:
        size = {"axes": axes(answer.regions[0], language, digits=0), "volume": volume(answer.regions[0], language)}
    return tuple(phrase("added", key, language, **size) for key, is_so in holds.items() if is_so)


def disclaimer(language: Language = Language.ENGLISH) -> str:
    """What every result says of itself, without a full stop."""
    return phrase("always", "disclaimer", language)


def unread(language: Language = Language.ENGLISH) -> str:
    """That no human has read it."""
    return phrase("always", "unread", language)


def conclusion(answer: Answer, language: Language = Language.ENGLISH) -> str:
    """Everything in one paragraph: the answer, its additions and caveats, and what it is."""
    limits = (stopped(caveat(item, language)) for item in answer.caveats)
    parts = (
        statement(answer, language),
        *additions(answer, language),
        *limits,
        f"{disclaimer(language)}.",
        unread(language),
    )
    return " ".join(parts)


def caveat(item: Caveat, language: Language = Language.ENGLISH) -> str:
    """The sentence of a caveat; a model's own words, which have no translation, are marked as English."""
    if item.code is CaveatCode.FREE_TEXT and language is not Language.ENGLISH:
        return phrase("caveat", item.code, language, text=str(item.values["text"]).rstrip("."))
    return phrase("caveat", item.code, language, **item.values)


def caveat_of(sentence: str) -> Caveat:
    """The caveat that an earlier version stored as an English ``sentence``.

    A sentence with figures in it stays as it was written: it is shown in English in every language.
    """
    phrases = phrasebook.phrases(Language.ENGLISH)["caveat"]
    code = next((code for code in CaveatCode if code not in VALUES and phrases[code] == sentence), None)
    return free_text(sentence) if code is None else Caveat(code)


def stopped(sentence: str) -> str:
    """``sentence`` with one full stop: a model's own words may lack it."""
    return sentence.rstrip(".") + "."


def title(model: ModelIdentity, class_name: str, language: Language = Language.ENGLISH) -> str:
    """What a class is called; a bundle's own class without a phrase keeps the bundle's title."""
    term = model.term(class_name)
    return _term(term.code, language) or term.title


def target(model: ModelIdentity, language: Language = Language.ENGLISH) -> str:
    """What the model looks for, as it stands within a sentence."""
    return within(_term(model.target, language) or model.target.meaning, language)


def _term(code: Code, language: Language) -> str | None:
    """What ``code`` is called in ``language``; None in English, where it is what the model's bundle calls it."""
    name = codes.TERM_NAMES.get(code.value)
    return None if name is None or language is Language.ENGLISH else phrase("term", name, language)


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
    return f"{number(region.volume_mm3 / MILLILITRE_MM3, language, digits=1)} {phrase('form', 'millilitre', language)}"


def number(value: float, language: Language = Language.ENGLISH, *, digits: int) -> str:
    return phrasebook.decimal(f"{value:.{digits}f}", language)


def day(value: date, language: Language = Language.ENGLISH) -> str:
    return value.strftime(phrase("form", "day", language))


def label(name: str, language: Language = Language.ENGLISH, /, **values: str) -> str:
    """A phrase of the section ``label``; KeyError where there is none."""
    return phrase("label", name, language, **values)


def _situation(answer: Answer) -> str:
    """Which phrase of the section ``answer`` holds."""
    if answer.outcome is Outcome.FINDING:
        count = len(answer.regions)
        return f"finding_{('no_region', 'one_region', 'several_regions')[min(count, 2)]}"
    if answer.outcome is Outcome.INDETERMINATE and answer.share < max(
        item.probability for item in answer.probabilities
    ):
        return "indeterminate_not_most_probable"
    return str(answer.outcome)


def _name(answer: Answer, language: Language) -> str:
    """The class that the sentences speak of: the predicted one, or the one that says that there is nothing."""
    if answer.outcome is Outcome.REFUSED:
        return ""
    name = answer.probabilities[-1].name if answer.outcome is Outcome.NO_FINDING else answer.predicted_class
    return title(answer.model, name, language)


def _reason(code: str, language: Language) -> str:
    return phrase("refusal", code if phrasebook.has("refusal", code, language) else "REFUSED", language)


def within(name: str, language: Language = Language.ENGLISH) -> str:
    """``name`` within a sentence: small, but for German nouns and for abbreviations."""
    if (language is Language.GERMAN and not name.startswith("Kein")) or name[1:2].isupper():
        return name
    return name[:1].lower() + name[1:]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
