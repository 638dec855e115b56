"""The report as one PDF page for a referring physician: white, quiet, printable on A4 and Letter.

It names the patient, unlike the overlay pages: a printed sheet leaves its record, and without a name it could be
filed under another patient. The same findings give the same bytes: no clock, no random identifier.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, date, datetime

from pipeline.caveats import Caveat
from pipeline.findings.model import AnswerKind, Findings, Outcome
from pipeline.patient.attributes import person_name
from pipeline.report import leading, sentences
from pipeline.report.leading import Figure
from pipeline.report.patient_study import Issued
from pipeline.report.sentences import Language
from pipeline.results.drawing.fonts import can_print
from pipeline.results.drawing.listing import Listing, listing, numbers_drawn
from pipeline.results.drawing.pages import Story
from pipeline.results.pdf import tables
from pipeline.results.pdf.pictures import HEIGHT, pictures
from pipeline.results.pdf.sheet import (
    BOTTOM,
    INNER,
    LEADING,
    LEFT,
    LINE,
    LINK,
    NOTICE,
    NOTICE_INK,
    RIGHT,
    SOFT,
    TOP,
    Sheet,
    printed,
)
from pipeline.results.provenance import ResultContext
from pipeline.results.wording import ascii_text

MOST_CAVEATS = 5
TWO_LINES = 2 * 9.5 * LEADING + 0.6
"""mm that a caveat takes at most."""
HEAD = 4.8
"""mm that the title above the caveats takes."""
ORIGIN = BOTTOM - 11.5
"""Where the lines begin that name algorithm and source."""
SEX = {"F": "female", "M": "male", "O": "other_sex"}
"""The label of each value of Patient's Sex (PS3.3 C.7.1.1)."""


def build_page(context: ResultContext, language: Language = Language.ENGLISH) -> bytes:
    """The page of one run in its reader's ``language``, a PDF file."""
    sheet = Sheet(context.began or _moment(*context.instant), language)
    findings, story = context.findings, Story(context.volume, context.findings)
    y = _notice(sheet)
    y = _patient_and_study(sheet, context, y + 5)
    y = _answer(sheet, context, y + 6)
    listed = _listed(findings, y + 3 + HEIGHT + 5)
    room = ORIGIN - 3 - (5 + tables.height(findings, listed) + 4 + _caveats_height(sheet, findings)) - (y + 3)
    y = pictures(sheet, story, y + 3, numbers_drawn(findings, listed.numbers), room)
    y = _tables(sheet, findings, y + 5, listed)
    _caveats(sheet, findings, y + 4)
    _origin(sheet, context)
    return sheet.output()


def _notice(sheet: Sheet) -> float:
    sheet.box(LEFT, TOP, INNER, 9, NOTICE)
    wide = sheet.text(
        LEFT + 3, TOP + 2.2, f"{sentences.disclaimer(sheet.language)}.", size=10.5, bold=True, colour=NOTICE_INK
    )
    sheet.text(
        LEFT + 5 + wide,
        TOP + 2.2,
        sentences.unread(sheet.language),
        size=10.5,
        colour=NOTICE_INK,
        most=INNER - wide - 8,
    )
    return TOP + 9


def _patient_and_study(sheet: Sheet, context: ResultContext, y: float) -> float:
    """Patient and study, as every report of the run names them."""
    patient, study = context.patient, context.study
    groups = [name for name in patient.names if can_print(name)]
    unreadable = sheet.label("script") if patient.names else "—"
    day = functools.partial(_day, language=sheet.language)
    sex = SEX.get(patient.sex)
    rows = (
        ("patient", "   ".join(groups) or unreadable, "study", printed(study.description)),
        ("patient_id", printed(_number(patient.identifier)), "date", day(study.started)),
        ("born", day(patient.birth_date), "accession", printed(_number(study.accession))),
        ("sex", sheet.label(sex) if sex else "—", "referred_by", printed(person_name(study.referring_physician))),
    )
    middle = LEFT + INNER / 2 + 4
    for name, value, other_name, other_value in rows:
        for x, label, said in ((LEFT, name, value), (middle, other_name, other_value)):
            sheet.text(x, y, sheet.label(label), colour=SOFT, most=28)
            sheet.text(x + 30, y, said, bold=label == "patient", most=INNER / 2 - 34)
        y += 5
    return y


def _moment(day: str, time: str) -> datetime:
    """The instant of DA ``day`` and TM ``time``, whose zone nobody knows, as if it were UTC."""
    return datetime.strptime(f"{day}{time[:6]}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _computed(sheet: Sheet, context: ResultContext) -> str:
    """When the analysis began; empty for a run that does not know."""
    if context.began is None:
        return ""
    day = sentences.day(context.began.date(), sheet.language)
    return f"{sheet.label('computed', when=f'{day} {context.began:%H:%M}')} "


def _number(issued: Issued | None) -> str:
    return issued.value if issued else ""


def _day(iso: str | None, *, language: Language) -> str:
    return sentences.day(date.fromisoformat(iso[:10]), language) if iso else "—"


def _answer(sheet: Sheet, context: ResultContext, y: float) -> float:
    sheet.box(LEFT, y - 3, INNER, 0.25, LINE)
    findings, said = context.findings, context.reported
    wide = 0.0
    if findings.outcome is Outcome.INDETERMINATE:
        wide = sheet.text(RIGHT, y + 1.5, sheet.label("no_reliable_answer"), size=13, colour=SOFT, right=True)
    elif figure := _figure(sheet, context):
        wide = sheet.text(RIGHT, y, figure.value, size=19, bold=True, right=True, most=INNER / 2)
        wide = max(wide, sheet.text(RIGHT, y + 9, figure.label, size=8.5, least=8, colour=SOFT, right=True, most=62))
    title = printed(leading.title(said, sheet.language), str(findings.outcome))
    sheet.text(LEFT, y, title, size=19, least=11, bold=True, most=INNER - wide - 6)
    return sheet.paragraph(
        LEFT, y + 10, printed(sentences.statement(said, sheet.language)), wide=INNER - wide - 8, lines=3, size=10.5
    )


def _figure(sheet: Sheet, context: ResultContext) -> Figure | None:
    """The figure that leads, and what it is of."""
    findings = context.findings
    if findings.model.kind is not AnswerKind.LESION:
        return leading.figure(context.reported, sheet.language)
    called = sentences.title(findings.model, findings.predicted_class, sheet.language)
    name = sentences.within(printed(called, ascii_text(findings.predicted_class)), sheet.language)
    what = sentences.within(sheet.label("model_probability"), sheet.language)
    share = sheet.figure(findings.probability(findings.predicted_class), 2)
    return Figure(share, sheet.label("of_class", what=what, name=name))


def _listed(findings: Findings, y: float) -> Listing:
    """The regions that there is room for below ``y``, with the first caveats below them."""
    rows = int((BOTTOM - 20 - y - TWO_LINES * min(2, len(findings.caveats))) / tables.ROW) - 2
    return listing(findings, rows=rows, blocks=tables.BLOCKS)


def _tables(sheet: Sheet, findings: Findings, y: float, listed: Listing) -> float:
    """What was found, in figures. Returns the y below."""
    if findings.model.kind is AnswerKind.LESION:
        return max(tables.probabilities(sheet, findings, y), tables.lesion_table(sheet, findings, y))
    if findings.regions:
        return tables.region_table(sheet, findings, y, listed)
    if findings.quantities:
        return tables.quantities(sheet, findings, y)
    return tables.probabilities(sheet, findings, y) if findings.probabilities else y


def _caveats(sheet: Sheet, findings: Findings, y: float) -> None:
    """The caveats, as many as the page has room for."""
    if not findings.caveats:
        return
    sheet.text(LEFT, y, sheet.label("care"), size=8.5, bold=True, colour=NOTICE_INK)
    y += HEAD
    room = _caveats_that_fit(findings.caveats, y)
    for caveat in findings.caveats[:room]:
        sheet.text(LEFT, y, "•", colour=NOTICE_INK)
        y = (
            sheet.paragraph(LEFT + 4, y, printed(sentences.caveat(caveat, sheet.language)), wide=INNER - 4, lines=2)
            + 0.6
        )
    if room < len(findings.caveats):
        more = sheet.label("further", count=f"{len(findings.caveats) - room}")
        sheet.text(LEFT + 4, y, more, size=8.5, colour=SOFT)


def _caveats_height(sheet: Sheet, findings: Findings) -> float:
    """Mm that `_caveats` would use."""
    if not findings.caveats:
        return 0.0
    said = [printed(sentences.caveat(item, sheet.language)) for item in findings.caveats[:MOST_CAVEATS]]
    heights = [sheet.paragraph_height(text, wide=INNER - 4, lines=2) + 0.6 for text in said]
    return HEAD + sum(heights) + (4.5 if len(findings.caveats) > MOST_CAVEATS else 0)


def _caveats_that_fit(caveats: Sequence[Caveat], y: float) -> int:
    return min(len(caveats), MOST_CAVEATS, max(1, int((BOTTOM - 16 - y) / TWO_LINES)))


def _origin(sheet: Sheet, context: ResultContext) -> None:
    """Algorithm and source series, and where readers assess the answer: the last lines of the page."""
    model = context.findings.model
    y = ORIGIN + 1.5
    sheet.box(LEFT, ORIGIN, INNER, 0.25, LINE)
    made = f"{printed(model.manufacturer, 'Candela')}, {printed(model.title, model.name)} ({model.name})"
    wide = sheet.text(LEFT, y, made, size=8, least=8, colour=SOFT, most=INNER - 62)
    version = f", {sheet.label('version', version=model.version)}, {sheet.label('digest')} {model.digest[:16]}."
    sheet.text(LEFT + wide, y, version, size=8, colour=SOFT, most=62)
    series = context.source.description
    called = f" “{series}”" if series and can_print(series) else ""
    source = f"{_computed(sheet, context)}{sheet.label('source')}{called}, {context.source.uid}."
    sheet.text(LEFT, y + 4, source, size=8, colour=SOFT)
    if context.assess_at:
        label = sheet.text(LEFT, y + 8, f"{sheet.label('assess')} ", size=8, colour=SOFT)
        sheet.text(
            LEFT + label,
            y + 8,
            context.assess_at,
            size=8,
            least=5,
            colour=LINK,
            most=INNER - label,
            link=context.assess_at,
        )
