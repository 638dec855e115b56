"""Findings in sentences, in the reader's language: which phrases of `pipeline.report.phrasebook` hold, filled in."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

from pipeline.caveats import VALUES, Caveat, CaveatCode, free_text
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.measurements import Measurement
from pipeline.findings.model import AnswerKind, ModelIdentity, Side
from pipeline.report import phrasebook, situations
from pipeline.report.findings import ReportedFindings, ReportedRegion
from pipeline.report.phrasebook import phrase
from pipeline.report.units import unit_text

MILLILITRE_MM3 = 1000
SQUARE_CENTIMETRE_MM2 = 100
NAMED = 3
"""The most classes that a headline names."""


class Language(StrEnum):
    """The languages that `pipeline.report.phrasebook` has phrases in (BCP 47 tags)."""

    ENGLISH = "en"
    GERMAN = "de"
    SPANISH = "es"
    FRENCH = "fr"


def headline(findings: ReportedFindings, language: Language = Language.ENGLISH) -> str:
    """The findings in a few words."""
    return _capital(phrase("headline", situations.headline_key(findings), language, **_named(findings, language)))


def statement(findings: ReportedFindings, language: Language = Language.ENGLISH) -> str:
    """The findings in one or two sentences, neither overstated nor hidden."""
    values = _named(findings, language)
    if findings.refusal is not None:
        values |= {"reason": _reason(findings.refusal.code, language), "code": findings.refusal.code}
    else:
        values |= {"names": _names(findings, language), **_figures(findings, language)}
    return phrase("answer", situations.answer_key(findings), language, **values)


def _named(findings: ReportedFindings, language: Language) -> dict[str, Any]:
    return {"name": within(_name(findings, language), language), "count": len(findings.regions)}


def _figures(findings: ReportedFindings, language: Language) -> dict[str, str]:
    """Probability or score, and the largest volume, of those kinds that have one: regions may overlap."""
    figures = {}
    share = situations.share(findings)
    if share is not None:
        figures["share"] = number(share, language, digits=2)
    sizes = [item.value("volume") for item in findings.regions if item.has("volume")]
    areas = [item.value("area") for item in findings.regions if item.has("area")]
    if sizes:
        figures["size"] = millilitres(max(sizes), language)
    elif areas:
        figures["size"] = square_centimetres(max(areas), language)
    return figures


def _names(findings: ReportedFindings, language: Language) -> tuple[str, ...]:
    """What a sentence lists: suggested classes, outlined structures or estimated quantities."""
    model = findings.model
    if findings.quantities:
        return tuple(estimate(item, model, language) for item in findings.quantities)
    if findings.probabilities:
        shares = {item.name: number(item.probability, language, digits=2) for item in findings.probabilities}
        names = situations.named_classes(findings)
        return tuple(f"{title(model, name, language)} ({shares[name]})" for name in names)
    return tuple(region_name(findings, index, language) for index in range(len(findings.regions)))


def estimate(item: Measurement, model: ModelIdentity, language: Language = Language.ENGLISH) -> str:
    """A quantity with its name and unit."""
    return f"{title(model, item.name, language)} {amount(item, language)}"


def amount(item: Measurement, language: Language = Language.ENGLISH) -> str:
    """The number of a measurement, and its unit where it has one."""
    figure = number(item.value, language, digits=item.digits)
    return f"{figure} {unit_text(item.unit, figure, language)}".rstrip()


def additions(findings: ReportedFindings, language: Language = Language.ENGLISH) -> tuple[str, ...]:
    """Further sentences: size and side of the largest lesion, and that an earlier result is replaced."""
    measured = [item for item in findings.regions if item.has("long_axis") and item.has("volume")]
    beside = measured[0].side if measured else None
    holds = {
        "one_region": len(measured) == 1,
        "several_regions": len(measured) > 1,
        **{item.value: item is beside for item in Side},
        "later_revision": findings.revision > 1 and Caveat(CaveatCode.REPLACES_EARLIER_RESULT) not in findings.caveats,
    }
    size = {}
    if measured:
        size = {"axes": axes(measured[0], language, digits=0), "volume": volume(measured[0], language)}
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


def name_of(code: Code, language: Language = Language.ENGLISH) -> str:
    """The name of ``code`` for readers; the standard's meaning where there is no phrase."""
    return _term(code, language) or code.meaning


def target(model: ModelIdentity, language: Language = Language.ENGLISH) -> str:
    """What the model looks for, as written within a sentence; empty for a model that looks for nothing."""
    if model.target is None:
        return ""
    return within(_term(model.target, language) or model.target.meaning, language)


def _term(code: Code, language: Language) -> str | None:
    """The name of ``code`` in ``language``; None in English, where the model's bundle gives the name."""
    name = codes.TERM_NAMES.get(code.value)
    return None if name is None or language is Language.ENGLISH else phrase("term", name, language)


def region_name(findings: ReportedFindings, index: int, language: Language = Language.ENGLISH) -> str:
    """The name of region ``index`` for readers: a lesion by number, a detected object by class and number, a structure
    by its title.
    """
    if findings.kind is AnswerKind.LESION:
        return label("lesion", language, number=str(index + 1))
    item = findings.regions[index]
    same = [other.tracking_uid for other in findings.regions if other.label == item.label]
    name = title(findings.model, item.label, language)
    if len(same) == 1 and findings.kind is AnswerKind.SEGMENTATION:
        return name
    return label("object", language, name=name, number=str(same.index(item.tracking_uid) + 1))


def axes(region: ReportedRegion, language: Language = Language.ENGLISH, *, digits: int = 1) -> str:
    """``23.4 × 17.0 mm``."""
    long, short = (
        number(value, language, digits=digits) for value in (region.value("long_axis"), region.value("short_axis"))
    )
    return f"{long} × {short} mm"


def volume(region: ReportedRegion, language: Language = Language.ENGLISH) -> str:
    """In millilitres, or in mm³ where that would round to zero."""
    return millilitres(region.value("volume"), language)


def millilitres(mm3: float, language: Language = Language.ENGLISH) -> str:
    """A volume given in mm³; below a millilitre in mm³, below that with two digits that count."""
    if mm3 >= MILLILITRE_MM3:
        return f"{number(mm3 / MILLILITRE_MM3, language, digits=1)} mL"
    return f"{mm3:.0f} mm³" if mm3 >= 1 else f"{phrasebook.decimal(f'{mm3:.2g}', language)} mm³"


def square_centimetres(mm2: float, language: Language = Language.ENGLISH) -> str:
    """An area given in mm²."""
    return f"{number(mm2 / SQUARE_CENTIMETRE_MM2, language, digits=1)} cm²"


def side(value: Side, language: Language = Language.ENGLISH) -> str:
    """``left``, as it stands in a table."""
    return phrase("side", value.value, language)


def number(value: float, language: Language = Language.ENGLISH, *, digits: int) -> str:
    return phrasebook.decimal(f"{value:.{digits}f}", language)


def day(value: date, language: Language = Language.ENGLISH) -> str:
    return value.strftime(phrase("form", "day", language))


def label(name: str, language: Language = Language.ENGLISH, /, **values: str) -> str:
    """A phrase of the section ``label``; KeyError where there is none."""
    return phrase("label", name, language, **values)


def _name(findings: ReportedFindings, language: Language) -> str:
    """What the sentences name: the classes that the answer is about, else what the model looks for; of estimated
    quantities the first with its value.
    """
    names = situations.named_classes(findings)[:NAMED]
    if names:
        return ", ".join(title(findings.model, name, language) for name in names)
    if findings.quantities:
        return ", ".join(_names(findings, language)[:1])
    return target(findings.model, language)


def _reason(code: str, language: Language) -> str:
    return phrase("refusal", code if phrasebook.has("refusal", code, language) else "REFUSED", language)


def within(name: str, language: Language = Language.ENGLISH) -> str:
    """``name`` within a sentence: in lower case, except for German nouns and abbreviations."""
    if (language is Language.GERMAN and not name.startswith("Kein")) or name[1:2].isupper():
        return name
    return name[:1].lower() + name[1:]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
