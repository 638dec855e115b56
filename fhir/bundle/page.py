"""The report as one HTML page that a referring physician can read."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.findings.model import AnswerKind
from pipeline.report import sentences, tables
from pipeline.report.content import ReportContent
from pipeline.report.findings import ReportedFindings
from pipeline.report.sentences import Language
from pipeline.results.colours import region_rgb
from pipeline.results.drawing.listing import has_numbers, row_title

REGIONS_SHOWN = 6
"""Lesions."""
ROWS_SHOWN = 14
"""Rows of every other table: as many as leave room for the picture on one printed sheet."""
_environment = Environment(
    # By place, not by package: where PyPI's fhir.resources is found first, "fhir" is its folder and not this one.
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,  # names and descriptions come from the scanner: they are text, never markup
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def html(content: ReportContent, language: Language = Language.ENGLISH, *, picture: bool = True) -> bytes:
    """The page, UTF-8, self-contained, with the key picture inline unless ``picture`` is False."""
    findings, patient, study = content.findings, content.patient, content.study
    by_share = sorted(findings.probabilities, key=lambda item: -item.probability)
    page = _environment.get_template("report.html").render(
        language=language.value,
        label=lambda name, /, **values: sentences.label(name, language, **values),
        disclaimer=sentences.disclaimer(language),
        unread=sentences.unread(language),
        headline=sentences.headline(findings, language),
        conclusion=_unbroken(
            " ".join((sentences.statement(findings, language), *sentences.additions(findings, language)))
        ),
        caveats=[_unbroken(sentences.caveat(item, language)) for item in findings.caveats],
        who=[
            ("patient", patient.name),
            ("study", study.description),
            ("patient_id", patient.identifier.value if patient.identifier else ""),
            ("date", _day(study.started, language)),
            ("born", _day(patient.birth_date, language)),
            ("accession", study.accession.value if study.accession else ""),
        ],
        lesions=findings.kind is AnswerKind.LESION,
        columns=tables.columns(findings),
        blocks=_blocks(findings, language),
        heading="box" if any(region.has("score") for region in findings.regions) else "regions",
        unlisted=max(0, len(findings.regions) - 2 * ROWS_SHOWN),
        unscored=max(0, len(by_share) - ROWS_SHOWN),
        quantities=[
            (sentences.title(findings.model, item.name, language), sentences.amount(item, language))
            for item in findings.quantities[:ROWS_SHOWN]
        ],
        unestimated=max(0, len(findings.quantities) - ROWS_SHOWN),
        probabilities=[
            (
                sentences.title(findings.model, item.name, language),
                f"{100 * item.probability:.1f}",
                sentences.number(item.probability, language, digits=2),
            )
            for item in (by_share if findings.kind is AnswerKind.LESION else by_share[:ROWS_SHOWN])
        ],
        regions=[
            (
                sentences.region_name(findings, index, language),
                sentences.axes(region, language) if region.has("long_axis") else "",
                sentences.volume(region, language) if region.has("volume") else "",
            )
            for index, region in enumerate(findings.regions[:REGIONS_SHOWN])
        ],
        more=max(0, len(findings.regions) - REGIONS_SHOWN),
        picture=content.picture.data_url if content.picture and picture else None,
        model=findings.model,
        series=content.source,
        written=f"{sentences.day(content.recorded.date(), language)} {content.recorded.strftime('%H:%M %Z')}".strip(),
    )
    return page.encode("utf-8")


Row = tuple[str, str, str, list[str]]
"""Colour (CSS), number or nothing, name and figures of a region."""


def _blocks(findings: ReportedFindings, language: Language) -> list[list[Row]]:
    """The regions in one table, or in two side by side where there are many."""
    columns, numbered = tables.columns(findings), has_numbers(findings)
    rows = [
        (
            "#{:02x}{:02x}{:02x}".format(*region_rgb(findings, number)),
            f"{number}" if numbered else "",
            row_title(findings, number, language),
            [_unbroken(tables.cell(region, name, language) or "–") for name in columns],
        )
        for number, region in enumerate(findings.regions[: 2 * ROWS_SHOWN], start=1)
    ]
    half = len(rows) if len(rows) <= ROWS_SHOWN else (len(rows) + 1) // 2
    return [rows[:half], rows[half:]] if rows else []


def _unbroken(text: str) -> str:
    """``text`` with no-break spaces before units, within ``23 × 17 mm``, and before French punctuation."""
    return re.sub(r"(?<=\S) (?=[:;×]|m[mlL]\b)|(?<=×) ", "\N{NO-BREAK SPACE}", text)


def _day(iso: str | None, language: Language) -> str:
    return sentences.day(date.fromisoformat(iso[:10]), language) if iso else ""
