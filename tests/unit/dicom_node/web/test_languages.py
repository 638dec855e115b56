"""The pages in each language of the reports: which one a browser gets, and how it writes numbers, dates and classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from dicom_node.settings.web import Role
from dicom_node.web.pages.forms import Forms
from dicom_node.web.pages.words import texts, wanted_language
from pipeline.findings.model import Outcome
from pipeline.report import sentences
from pipeline.report.sentences import Language
from pipeline.report.stored import FILENAME, to_json
from tests.peers.dashboard import Dashboard
from tests.peers.fhir_bundles import content_of

MakeBoard = Callable[..., Dashboard]
ENGLISH, GERMAN, SPANISH, FRENCH = Language
SAME_IN_ENGLISH = 40
"""Texts that may be those of the English page: Name, Version, STAT, FHIR and the like."""


@pytest.mark.parametrize(
    ("accepted", "chosen", "default", "wanted"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "", None, GERMAN),
        ("en;q=0.3, fr;q=0.7", "", None, FRENCH),
        ("pt-BR,es;q=0.5", "", None, SPANISH),
        ("de;q=0,es;q=0.1", "", None, SPANISH),
        ("de;q=much", "", None, ENGLISH),
        ("ja", "", FRENCH, FRENCH),
        ("", "", GERMAN, GERMAN),
        ("en", "", GERMAN, ENGLISH),
        ("fr", "es", GERMAN, SPANISH),
        ("fr", "../../en", GERMAN, FRENCH),
        ("", "", None, ENGLISH),
    ],
)
def test_a_choice_counts_before_the_browser_and_the_browser_before_the_setting(
    accepted: str, chosen: str, default: Language | None, wanted: Language
) -> None:
    assert wanted_language(accepted, chosen, default) is wanted


def test_a_choice_stays_in_the_browser_and_leads_back(make_board: MakeBoard) -> None:
    board = make_board('language = "fr"')
    client = board.client()
    assert '<html lang="fr">' in client.get("/login", headers={"Accept-Language": "ja"}).text
    chosen = client.post("/language", data={"language": "de", "next": "/login?next=/models"})
    assert (chosen.status_code, chosen.headers["location"]) == (303, "/login?next=/models")
    assert "HttpOnly" in chosen.headers["set-cookie"]
    page = client.get("/login").text
    assert '<html lang="de">' in page
    assert '<option value="de" lang="de" selected>Deutsch</option>' in page
    assert "Passwort" in page
    assert client.post("/language", data={"language": "xx"}).status_code == 422
    assert client.post("/language", data={"language": "es", "next": "//evil.example"}).headers["location"] == "/"
    forged = client.post("/language", data={"language": "es"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert forged.status_code == 403


@pytest.mark.parametrize(
    ("language", "percent", "day", "number", "term"),
    [
        (ENGLISH, "93%", "2026-11-30", "1.5 mm", "pituitary tumor"),
        (GERMAN, "93\u00a0%", "30.11.2026", "1,5 mm", "Hypophysentumor"),
        (SPANISH, "93\u00a0%", "30/11/2026", "1,5 mm", "Tumor hipofisario"),
        (FRENCH, "93\u00a0%", "30/11/2026", "1,5 mm", "Tumeur hypophysaire"),
    ],
)
def test_numbers_dates_and_classes_have_the_form_of_the_reports(
    language: Language, percent: str, day: str, number: str, term: str
) -> None:
    forms = Forms(language)
    assert forms.percent(0.934) == percent
    assert forms.day("2026-11-30") == forms.day(date(2026, 11, 30)) == day
    assert forms.day("about 1950") == "about 1950"
    assert forms.measure({"value": 1.5, "unit": "mm"}) == number
    assert forms.term("pituitary_tumor") == term
    assert forms.term("a_class_of_a_bundle") == "a class of a bundle"
    assert forms.clock(UTC)(datetime(2025, 11, 30, 8, 5, tzinfo=UTC)) == f"{day.replace('2026', '2025')} 08:05"


def test_worklist_and_study_speak_the_language_down_to_the_answer(board: Dashboard) -> None:
    job = board.job(board.series("german"))
    board.read(job)
    client = board.client(Role.OPERATOR)
    german = {"Accept-Language": "de"}
    page = client.get("/", headers=german).text
    assert '<span class="headline">Gliom</span>' in page
    assert "93\u00a0%" in page
    study = f"/studies/{job.study_instance_uid}"
    assert '<span lang="en">The algorithm suggests glioma' in client.get(study, headers=german).text, (
        "no report content"
    )
    content = content_of(Outcome.FINDING)
    (Path(job.manifest).parent / FILENAME).write_bytes(to_json(content))
    text = client.get(study, headers=german).text
    stated = sentences.statement(content.findings, GERMAN)
    assert "Hinweis des Algorithmus" in stated
    assert f'<span lang="de">{stated}</span>' in text
    assert "Was geschah, und warum" in text
    assert "<span>05.01.2026</span>" in text, "StudyDate"
    assert stated not in client.get(study, headers={"Accept-Language": "en"}).text


def test_a_refusal_is_said_in_the_words_of_the_reports(board: Dashboard) -> None:
    job = board.job(board.series("refused"))
    board.refuse(job, "MISSING_SLICES", "3 of 20 slices are missing.")
    text = board.client(Role.VIEWER).get(f"/studies/{job.study_instance_uid}", headers={"Accept-Language": "fr"}).text
    assert re.search(r'<span lang="fr">[^<]*manque', text)


@pytest.mark.parametrize("language", [GERMAN, SPANISH, FRENCH])
def test_nothing_is_left_in_english(language: Language) -> None:
    english = texts(ENGLISH)
    same = {key: text for key, text in texts(language).items() if text == english[key]}
    assert len(same) <= SAME_IN_ENGLISH, same
    assert not [key for key, text in same.items() if len(text.split()) > 2]


def test_what_no_language_covers_is_marked_as_english(board: Dashboard) -> None:
    client = board.client(Role.VIEWER)
    assert "<p>Hier ist nichts.</p>" in client.get("/nothing", headers={"Accept-Language": "de"}).text
    unknown = client.get("/models/nothing", headers={"Accept-Language": "de"}).text
    assert re.search(r'<p lang="en">[^<]+nothing', unknown)
