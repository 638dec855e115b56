"""The report as one HTML page that a referring physician can read."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report import sentences
from pipeline.report.content import ReportFacts
from pipeline.report.sentences import Language

REGIONS_SHOWN = 6
_environment = Environment(
    # By place, not by package: where PyPI's fhir.resources is found first, "fhir" is its folder and not this one.
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,  # names and descriptions come from the scanner: they are text, never markup
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def html(facts: ReportFacts, language: Language = Language.ENGLISH) -> bytes:
    """The page, UTF-8, with the key picture inline: it needs nothing from anywhere."""
    answer, patient, study = facts.answer, facts.patient, facts.study
    by_share = sorted(answer.probabilities, key=lambda item: -item.probability)
    page = _environment.get_template("report.html").render(
        language=language.value,
        label=lambda name, /, **values: sentences.label(name, language, **values),
        disclaimer=sentences.disclaimer(language),
        unread=sentences.unread(language),
        headline=sentences.headline(answer, language),
        conclusion=_unbroken(" ".join((sentences.statement(answer, language), *sentences.additions(answer, language)))),
        caveats=[_unbroken(sentences.caveat(item, language)) for item in answer.caveats],
        who=[
            ("patient", patient.name),
            ("study", study.description),
            ("patient_id", patient.identifier.value if patient.identifier else ""),
            ("date", _day(study.started, language)),
            ("born", _day(patient.birth_date, language)),
            ("accession", study.accession.value if study.accession else ""),
        ],
        probabilities=[
            (
                sentences.title(answer.model, item.name, language),
                f"{100 * item.probability:.1f}",
                sentences.number(item.probability, language, digits=2),
            )
            for item in by_share
        ],
        regions=[
            (
                sentences.region_name(number, language),
                sentences.axes(region, language),
                sentences.volume(region, language),
            )
            for number, region in enumerate(answer.regions[:REGIONS_SHOWN], start=1)
        ],
        more=max(0, len(answer.regions) - REGIONS_SHOWN),
        picture=facts.picture.data_url if facts.picture else None,
        model=answer.model,
        series=facts.source,
        written=f"{sentences.day(facts.recorded.date(), language)} {facts.recorded.strftime('%H:%M %Z')}".strip(),
    )
    return page.encode("utf-8")


def _unbroken(text: str) -> str:
    """``text`` whose lines do not break before a unit, within ``23 × 17 mm``, or before French punctuation."""
    return re.sub(r"(?<=\S) (?=[:;×]|m[mlL]\b)|(?<=×) ", "\N{NO-BREAK SPACE}", text)


def _day(iso: str | None, language: Language) -> str:
    return sentences.day(date.fromisoformat(iso[:10]), language) if iso else ""
