"""The sentences: one table in four languages, chosen by what was found, filled in as each language writes it."""

from __future__ import annotations

import string
from dataclasses import replace
from datetime import date

import pytest

from pipeline import phantom
from pipeline.errors import Refused
from pipeline.findings.codes import BRAIN, ClassTerm, Code
from pipeline.findings.model import ClassProbability, Outcome
from pipeline.geometry.build import build_volume
from pipeline.process import REPLACES
from pipeline.report import phrases as phrasebook
from pipeline.report import sentences
from pipeline.report.answer import Answer, Refusal, Region
from pipeline.report.sentences import Language
from pipeline.routing.protocol import ProtocolContract, check_protocol
from tests.conformance.synthetic import ANSWERS, MODEL

TABLES = {
    name: getattr(phrasebook, name)
    for name in ("HEADLINES", "ANSWER", "ADDED", "ALWAYS", "TERMS", "REFUSALS", "LABELS", "FORMS")
}
ROWS = [(f"{name}: {key}", row) for name, table in TABLES.items() for key, row in table.items()]
ROWS += [(f"CAVEATS: {row[0][:40]}", row) for row in phrasebook.CAVEATS]
REGION = Region("1", "2.25.1", "glioma", volume_mm3=4140.0, long_axis_mm=23.4, short_axis_mm=17.2, mean_intensity=700)
READ = (Outcome.FINDING, Outcome.NO_FINDING, Outcome.INDETERMINATE)


def answer(outcome: Outcome, regions: int = 0, **other: object) -> Answer:
    name, shares = ANSWERS[outcome]
    probabilities = tuple(ClassProbability(key, value) for key, value in shares.items())
    return Answer(outcome, MODEL, name, probabilities, (REGION,) * regions, **other)  # type: ignore[arg-type]


REFUSED = Answer(Outcome.REFUSED, MODEL, refusal=Refusal("MISSING_SLICES", "Slices 3 to 5 are missing."))
EVERY = [
    *(answer(Outcome.FINDING, count) for count in (0, 1, 2, 40)),
    answer(Outcome.NO_FINDING),
    answer(Outcome.INDETERMINATE),
    replace(answer(Outcome.INDETERMINATE), predicted_class="meningioma"),
    replace(answer(Outcome.FINDING, 1), revision=2),
    REFUSED,
]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_each_row_has_every_language_with_the_same_places_to_fill(name: str, row: phrasebook.Row) -> None:
    """A translation that lost a figure would be a wrong report."""
    assert len(row) == len(Language)
    assert all(text == text.strip() and text for text in row)
    places = [{place for _, place, _, _ in string.Formatter().parse(text) if place} for text in row]
    assert all(found == places[0] for found in places)


@pytest.mark.parametrize(
    ("given", "language", "headline", "said"),
    [
        (
            answer(Outcome.FINDING, 1),
            "en",
            "Glioma suggested",
            [
                "The algorithm suggests glioma (model probability 0.86), 1 region outlined.",
                "The region measures 23 × 17 mm in its plane, 4.1 mL in volume.",
                "AI result, not verified, not for diagnosis.",
                "A radiologist has not yet read this result.",
            ],
        ),
        (
            answer(Outcome.FINDING, 2),
            "de",
            "Hinweis auf: Gliom",
            [
                "Hinweis des Algorithmus: Gliom (Modellwahrscheinlichkeit 0,86); 2 Regionen umrandet.",
                "Die größte Region misst 23 × 17 mm in der Bildebene, ihr Volumen beträgt 4,1 ml.",
                "KI-Ergebnis, nicht geprüft, nicht zur Diagnose.",
                "Dieses Ergebnis wurde noch nicht radiologisch befundet.",
            ],
        ),
        (
            answer(Outcome.NO_FINDING),
            "es",
            "Se sugiere: ausencia de tumor",
            [
                "El algoritmo sugiere: ausencia de tumor (probabilidad del modelo 0,94).",
                "Esto no descarta una enfermedad.",
                "Resultado de IA, no verificado, no apto para diagnóstico.",
                "Ningún radiólogo ha revisado todavía este resultado.",
            ],
        ),
        (
            answer(Outcome.INDETERMINATE),
            "fr",
            "Indéterminé",
            [
                "L'algorithme ne donne pas de réponse fiable.",
                "La classe la plus probable est : gliome (0,40).",
                "Résultat d'IA, non vérifié, non destiné au diagnostic.",
                "Aucun radiologue n'a encore lu ce résultat.",
            ],
        ),
        (
            replace(answer(Outcome.INDETERMINATE), predicted_class="meningioma"),
            "de",
            "Kein eindeutiges Ergebnis",
            [
                "Der Algorithmus gibt keine verlässliche Antwort.",
                "Die wahrscheinlichste Läsionsart ist: Meningeom (0,35).",
                "KI-Ergebnis, nicht geprüft, nicht zur Diagnose.",
                "Dieses Ergebnis wurde noch nicht radiologisch befundet.",
            ],
        ),
        (
            REFUSED,
            "en",
            "Not read by the algorithm",
            [
                "The algorithm did not read this series: slices are missing (MISSING_SLICES).",
                "Nothing is said of the patient.",
                "AI result, not verified, not for diagnosis.",
                "A radiologist has not yet read this result.",
            ],
        ),
    ],
)
def test_what_is_said(given: Answer, language: str, headline: str, said: list[str]) -> None:
    """Word for word, so that a change of the table is seen."""
    assert sentences.headline(given, Language(language)) == headline
    assert sentences.conclusion(given, Language(language)) == " ".join(said)


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("given", EVERY)
def test_every_answer_says_what_it_is_in_every_language(given: Answer, language: Language) -> None:
    """Complete sentences, no place left unfilled, and always that it is unverified and unread."""
    text = sentences.conclusion(given, language)
    assert text.endswith(sentences.unread(language))
    assert sentences.disclaimer(language) in text
    assert not set("{}") & set(text)
    assert ".." not in text
    if language is not Language.ENGLISH:
        assert text != sentences.conclusion(given)


def test_a_finding_is_never_stated_as_a_fact() -> None:
    """The English says "suggests"; no row says that the patient has something."""
    for name, row in phrasebook.ANSWER.items():
        assert any(word in row[0] for word in ("suggests", "no reliable answer", "did not read")), name
        assert " has " not in row[0]


@pytest.mark.parametrize("language", list(Language))
def test_a_later_revision_says_that_it_replaces(language: Language) -> None:
    """A reader who knows the earlier one must be told."""
    first, second = answer(Outcome.NO_FINDING), replace(answer(Outcome.NO_FINDING), revision=2)
    assert sentences.additions(first, language) == ()
    (said,) = sentences.additions(second, language)
    assert said in sentences.conclusion(second, language)


def test_a_replacement_is_said_once() -> None:
    """The run's own caveat says it where there is one."""
    assert phrasebook.CAVEATS[0][0] == REPLACES
    told = replace(answer(Outcome.NO_FINDING), revision=2, caveats=(REPLACES,))
    assert sentences.additions(told) == ()
    assert sentences.caveat(REPLACES, Language.GERMAN).startswith("Ersetzt")


CAVEATS = [
    "3 of 24 planes hold values that are not numbers; they count as zero.",
    "The image orientation is not quite perpendicular (0.0012); the nearest that is was taken.",
    "The slices are stacked 12.5 degrees off their normal (tilted gantry); each is kept in its true place.",
    "4 copies of slices were left out (same place and pixels, another SOP Instance UID).",
]


@pytest.mark.parametrize("language", [item for item in Language if item is not Language.ENGLISH])
@pytest.mark.parametrize("text", CAVEATS)
def test_caveats_are_translated_with_their_figures(text: str, language: Language) -> None:
    """What the pipeline filled in stands in the translation too."""
    said = sentences.caveat(text, language)
    assert sentences.label("english", language, text="").strip() not in said
    figures = [part for part in text.replace("(", " ").replace(")", " ").split() if part[0].isdigit()]
    assert figures
    assert all(figure.rstrip(";") in said for figure in figures)


def test_the_caveats_that_the_code_writes_have_a_row() -> None:
    """Those of protocol and geometry, from headers that cause them; a changed wording would lose its translation."""
    series = phantom.head_phantom(slices=8, matrix=64)
    for ds in series:
        del ds.BodyPartExamined, ds.ContrastBolusAgent, ds.FrameOfReferenceUID
    contract = ProtocolContract(modality="MR", body_parts=("HEAD",), weightings=("T1",), contrast_expected=True)
    written = (*check_protocol(series[0], contract), *build_volume(series).notes)
    assert len(written) == 3
    for text in written:
        assert "(englisch)" not in sentences.caveat(text, Language.GERMAN)


def test_an_unknown_caveat_stays_in_english_and_says_so() -> None:
    """A bundle's own words are shown, not lost."""
    assert sentences.caveat("Own words {x}.", Language.GERMAN) == "Own words {x} (englisch)"
    assert sentences.caveat("Own words {x}.", Language.ENGLISH) == "Own words {x}."


def test_an_unknown_class_keeps_its_bundles_title() -> None:
    """No translation is made up for another model's class."""
    term = ClassTerm("cyst", "Arachnoid cyst", Code("33595009", "SCT", "Arachnoid cyst"), BRAIN)
    model = replace(MODEL, terms=(term,))
    assert sentences.title(model, "cyst", Language.FRENCH) == "Arachnoid cyst"
    shown = replace(
        answer(Outcome.FINDING), model=model, predicted_class="cyst", probabilities=(ClassProbability("cyst", 0.9),)
    )
    assert "arachnoid cyst" in sentences.statement(shown, Language.FRENCH)


def test_every_refusal_has_a_reason_in_words() -> None:
    """Each row's code is one of the errors; a code without a row gets the general one."""
    codes = {"REFUSED"} | {error.code for error in subclasses(Refused)}
    assert set(phrasebook.REFUSALS) <= codes
    for code in codes:
        said = sentences.statement(replace(REFUSED, refusal=Refusal(code, "")), Language.GERMAN)
        assert code in said


def subclasses(kind: type[Refused]) -> list[type[Refused]]:
    return [found for child in kind.__subclasses__() for found in (child, *subclasses(child))]


def test_numbers_units_and_days_are_written_as_readers_do() -> None:
    """A comma in German; millimetres cubed where millilitres would be nothing; no ambiguous day."""
    assert sentences.axes(REGION, Language.GERMAN) == "23,4 × 17,2 mm"
    assert sentences.volume(replace(REGION, volume_mm3=84.4), Language.FRENCH) == "84 mm³"
    assert sentences.volume(REGION, Language.ENGLISH) == "4.1 mL"
    assert [sentences.day(date(2026, 3, 5), language) for language in Language] == [
        "2026-03-05",
        "05.03.2026",
        "05/03/2026",
        "05/03/2026",
    ]
