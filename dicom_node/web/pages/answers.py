"""What a model answered, in the words of the reports of that language."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.web.api.schemas import JobDetail
from dicom_node.web.pages.forms import refusal
from pipeline.errors import Broken
from pipeline.report import sentences
from pipeline.report.sentences import Language
from pipeline.report.stored import FILENAME, from_json


@dataclass(frozen=True)
class Words:
    """The statement of an answer and its caveats. ``language`` is English where no translation is known."""

    statement: str
    caveats: tuple[str, ...]
    language: Language


def words_of(job: JobDetail, folder: Path, caveats: tuple[str, ...], language: Language) -> Words | None:
    """The answer of ``job`` in ``language``, from the report content in ``folder``; with the English ``caveats`` of its
    findings where that is not there. None where the job has no answer.
    """
    if job.answer is None:
        return None
    english = Words(job.answer.statement, caveats, Language.ENGLISH)
    if language is Language.ENGLISH:
        return english
    if job.answer.refusal_code is not None:
        text = refusal(job.answer.refusal_code, job.answer.statement, language)
        return english if text == job.answer.statement else Words(text, caveats, language)
    try:
        findings = from_json((folder / FILENAME).read_bytes(), where=str(folder / FILENAME)).findings
    except (OSError, Broken):
        return english
    noted = tuple(sentences.caveat(item, language) for item in findings.caveats)
    return Words(sentences.statement(findings, language), noted, language)
