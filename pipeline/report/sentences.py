"""Findings in sentences, in the reader's language: which phrases of `pipeline.report.phrasebook` hold, filled in."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

from pipeline.caveats import VALUES, Caveat, CaveatCode, free_text
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import ModelIdentity, Outcome
from pipeline.report import phrasebook
from pipeline.report.findings import ReportedFindings, ReportedLesion
from pipeline.report.phrasebook import phrase

MILLILITRE_MM3 = 1000


class Language(StrEnum):
    """The languages that `pipeline.report.phrasebook` has phrases in (BCP 47 tags)."""

    ENGLISH = "en"
    GERMAN = "de"
    SPANISH = "es"
    FRENCH = "fr"


def headline(findings: ReportedFindings, language: Language = Language.ENGLISH) -> str:
    """The findings in a few words."""
    return _capital(phrase("headline", findings.outcome, language, name=within(_name(findings, language), language)))


def statement(findings: ReportedFindings, language: Language = Language.ENGLISH) -> str:
    """The findings in one or two sentences, neither overstated nor hidden."""
    values: dict[str, Any] = {"name": within(_name(findings, language), language), "count": len(findings.lesions)}
    if findings.refusal is not None:
        values |= {"reason": _reason(findings.refusal.code, language), "code": findings.refusal.code}
    else:
        values["share"] = number(findings.share, language, digits=2)
    return phrase("answer", _situation(findings), language, **values)


def additions(findings: ReportedFindings, language: Language = Language.ENGLISH) -> tuple[str, ...]:
    """Further sentences: the size of the largest lesion, and that an earlier result is replaced."""
    holds = {
        "one_region": len(findings.lesions) == 1,
        "several_regions": len(findings.lesions) > 1,
        "later_revision": findings.revision > 1 and Caveat(CaveatCode.REPLACES_EARLIER_RESULT) not in findings.caveats,
    }
    size = {}
    if findings.lesions:
        size = {"axes": axes(findings.lesions[0], language, digits=0), "volume": volume(findings.lesions[0], language)}
    return tuple(phrase("added", key, language, **size) for key, is_so in holds.items() if is_so)


def disclaimer(language: Language = Language.ENGLISH) -> str:
    """The notice of every result: unverified, not for diagnosis. Without a full stop."""
    return phrase("always", "disclaimer", language)


def unread(language: Language = Language.ENGLISH) -> str:
    """The notice that no human has read the result."""
    return phrase("always", "unread", language)


def conclusion(findings: ReportedFindings, language: Language = Language.ENGLISH) -> str:
    """One paragraph: statement, additions, caveats and the two notices."""
    limits = (stopped(caveat(item, language)) for item in findings.caveats)
    parts = (
        statement(findings, language),
        *additions(findings, language),
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
    """The name of a class; a class of a bundle without a phrase keeps the bundle's title."""
    term = model.term(class_name)
    return _term(term.code, language) or term.title


def target(model: ModelIdentity, language: Language = Language.ENGLISH) -> str:
    """What the model looks for, as written within a sentence."""
    return within(_term(model.target, language) or model.target.meaning, language)


def _term(code: Code, language: Language) -> str | None:
    """The name of ``code`` in ``language``; None in English, where the model's bundle gives the name."""
    name = codes.TERM_NAMES.get(code.value)
    return None if name is None or language is Language.ENGLISH else phrase("term", name, language)


def lesion_name(number_from_1: int, language: Language = Language.ENGLISH) -> str:
    return label("lesion", language, number=str(number_from_1))


def axes(lesion: ReportedLesion, language: Language = Language.ENGLISH, *, digits: int = 1) -> str:
    """``23.4 × 17.0 mm``."""
    long, short = (
        number(value, language, digits=digits) for value in (lesion.value("long_axis"), lesion.value("short_axis"))
    )
    return f"{long} × {short} mm"


def volume(lesion: ReportedLesion, language: Language = Language.ENGLISH) -> str:
    """In millilitres, or in mm³ where that would round to zero."""
    mm3 = lesion.value("volume")
    if mm3 < MILLILITRE_MM3:
        return f"{mm3:.0f} mm³"
    return f"{number(mm3 / MILLILITRE_MM3, language, digits=1)} {phrase('form', 'millilitre', language)}"


def number(value: float, language: Language = Language.ENGLISH, *, digits: int) -> str:
    return phrasebook.decimal(f"{value:.{digits}f}", language)


def day(value: date, language: Language = Language.ENGLISH) -> str:
    return value.strftime(phrase("form", "day", language))


def label(name: str, language: Language = Language.ENGLISH, /, **values: str) -> str:
    """A phrase of the section ``label``; KeyError where there is none."""
    return phrase("label", name, language, **values)


def _situation(findings: ReportedFindings) -> str:
    """The key of the phrase in the section ``answer``."""
    if findings.outcome is Outcome.FINDING:
        count = len(findings.lesions)
        return f"finding_{('no_region', 'one_region', 'several_regions')[min(count, 2)]}"
    if findings.outcome is Outcome.INDETERMINATE and findings.share < max(
        item.probability for item in findings.probabilities
    ):
        return "indeterminate_not_most_probable"
    return str(findings.outcome)


def _name(findings: ReportedFindings, language: Language) -> str:
    """The class that the sentences name: the predicted one, or of a negative the one for "no lesion"."""
    if findings.outcome is Outcome.REFUSED:
        return ""
    name = findings.probabilities[-1].name if findings.outcome is Outcome.NO_FINDING else findings.predicted_class
    return title(findings.model, name, language)


def _reason(code: str, language: Language) -> str:
    return phrase("refusal", code if phrasebook.has("refusal", code, language) else "REFUSED", language)


def within(name: str, language: Language = Language.ENGLISH) -> str:
    """``name`` within a sentence: in lower case, except for German nouns and abbreviations."""
    if (language is Language.GERMAN and not name.startswith("Kein")) or name[1:2].isupper():
        return name
    return name[:1].lower() + name[1:]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
