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
    if job.answer.refusal_code is not None:
        return refused(job.answer.refusal_code, job.answer.statement, language)
    return answered(job.answer.statement, folder, caveats, language)


def refused(code: str, reason: str, language: Language) -> Words:
    """The English ``reason`` of a refusal in ``language``."""
    text = refusal(code, reason, language)
    return Words(text, (), Language.ENGLISH if text == reason else language)


def answered(statement: str, folder: Path, caveats: tuple[str, ...], language: Language) -> Words:
    """As `words_of`, of the English ``statement``."""
    english = Words(statement, caveats, Language.ENGLISH)
    if language is Language.ENGLISH:
        return english
    try:
        findings = from_json((folder / FILENAME).read_bytes(), where=str(folder / FILENAME)).findings
    except (OSError, Broken):
        return english
    noted = tuple(sentences.caveat(item, language) for item in findings.caveats)
    return Words(sentences.statement(findings, language), noted, language)
