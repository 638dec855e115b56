"""The report as one HTML page that a referring physician can read, and its conclusion in plain sentences."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fhir.context import STUDY, ReportContext, accession_identifier, first_time, patient_id, patient_name, text
from fhir.picture import Picture
from pipeline.findings import Lesion
from pipeline.results import wording

DISCLAIMER = "AI result, unverified, not for diagnosis"
_environment = Environment(
    # By place, not by package: where PyPI's fhir.resources is found first, "fhir" is its folder and not this one.
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,  # names and descriptions come from the scanner: they are text, never markup
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def conclusion(context: ReportContext) -> str:
    """The answer, the largest region, what limits both, and what it is: in sentences."""
    findings = context.findings
    sentences = [wording.conclusion(findings)]
    if findings.lesions:
        sentences.append(f"The largest region measures {_extent(findings.lesions[0])}.")
    sentences += [caveat.rstrip(".") + "." for caveat in findings.caveats]
    sentences.append(f"{DISCLAIMER}. A radiologist has not yet read this result.")
    return " ".join(sentences)


def _extent(lesion: Lesion) -> str:
    axes = f"{lesion.long_axis.length_mm:.0f} × {lesion.short_axis.length_mm:.0f} mm"
    return f"{axes} in its plane, {lesion.volume_mm3 / 1000:.1f} mL in volume"


def html(context: ReportContext, picture: Picture | None) -> bytes:
    """The page, UTF-8, with ``picture`` inline: it needs nothing from anywhere."""
    header, findings, model = context.header, context.findings, context.findings.model
    accession = accession_identifier(header)
    study_date = first_time(header, STUDY)
    page = _environment.get_template("report.html").render(
        disclaimer=DISCLAIMER,
        headline=wording.headline(findings),
        outcome=str(findings.outcome),
        conclusion=wording.conclusion(findings),
        caveats=findings.caveats,
        patient=patient_name(header),
        patient_id=patient_id(header),
        birth_date=_day(text(header, "PatientBirthDate")),
        study=text(header, "StudyDescription"),
        study_date=study_date.strftime("%Y-%m-%d") if study_date else "",
        accession=accession.value if accession else "",
        series=text(header, "SeriesDescription"),
        series_uid=context.volume.series_instance_uid,
        probabilities=[
            (model.term(item.name).title, item.probability)
            for item in sorted(findings.probabilities, key=lambda item: -item.probability)
        ],
        lesions=findings.lesions,
        picture=picture.data_url if picture else None,
        model=model,
        recorded=context.recorded.strftime("%Y-%m-%d %H:%M %Z").strip(),
    )
    return page.encode("utf-8")


def _day(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value
