"""The sentences: one file of phrases a language, chosen by what was found, filled in as each language writes it."""

from __future__ import annotations

import string
from dataclasses import replace
from datetime import date

import pytest

from pipeline.caveats import VALUES, Caveat, CaveatCode, free_text
from pipeline.errors import Refused
from pipeline.findings import codes
from pipeline.findings.codes import BRAIN, ClassTerm, Code
from pipeline.findings.measurements import Measurement
from pipeline.findings.model import ClassProbability, Outcome
from pipeline.report import phrasebook, sentences
from pipeline.report.findings import Refusal, ReportedFindings
from pipeline.report.sentences import Language
from tests.conformance.synthetic import ANSWERS, MODEL
from tests.peers.hl7v2 import lesion

ENGLISH = phrasebook.phrases(Language.ENGLISH)
REPLACES = Caveat(CaveatCode.REPLACES_EARLIER_RESULT)
LESION = lesion("1", "2.25.1", "glioma", volume=4140.0, axes=(23.4, 17.2), signal=700)
READ = (Outcome.FINDING, Outcome.NO_FINDING, Outcome.INDETERMINATE)


def answer(outcome: Outcome, regions: int = 0, **other: object) -> ReportedFindings:
    name, shares = ANSWERS[outcome]
    probabilities = tuple(ClassProbability(key, value) for key, value in shares.items())
    return ReportedFindings(outcome, MODEL, name, probabilities, (LESION,) * regions, **other)  # type: ignore[arg-type]


REFUSED = ReportedFindings(Outcome.REFUSED, MODEL, refusal=Refusal("MISSING_SLICES", "Slices 3 to 5 are missing."))
EVERY = [
    *(answer(Outcome.FINDING, count) for count in (0, 1, 2, 40)),
    answer(Outcome.NO_FINDING),
    answer(Outcome.INDETERMINATE),
    replace(answer(Outcome.INDETERMINATE), predicted_class="meningioma"),
    replace(answer(Outcome.FINDING, 1), revision=2),
    REFUSED,
]


def forms(language: str) -> dict[str, str]:
    """Every text of a language, by its section, its key and, where it has several, ``one`` or ``other``."""
    return {
        f"{section}.{key}.{form}": text
        for section, table in phrasebook.phrases(language).items()
        for key, phrase in table.items()
        for form, text in ({"": phrase} if isinstance(phrase, str) else phrase).items()
    }


def places(text: str) -> list[tuple[str, str]]:
    """The names of the places to fill in, each with its format."""
    return sorted({(name, spec or "") for _, name, spec, _ in string.Formatter().parse(text) if name})


@pytest.mark.parametrize("language", list(Language))
def test_each_language_has_the_same_phrases_with_the_same_places_to_fill(language: Language) -> None:
    """A translation that lost a figure would be a wrong report."""
    texts, english = forms(language), forms(Language.ENGLISH)
    assert list(texts) == list(english)
    assert [key for key, text in texts.items() if not text or text != text.strip()] == []
    assert [key for key, text in texts.items() if places(text) != places(english[key])] == []


def test_there_is_one_file_for_each_language() -> None:
    """And no file that no language reads."""
    assert {path.stem for path in phrasebook.FOLDER.iterdir()} == {str(language) for language in Language}


def test_each_caveat_has_a_phrase_that_uses_its_values() -> None:
    """No code without words, no words without a code; both forms of a plural use at least what the code holds."""
    assert set(ENGLISH["caveat"]) == set(CaveatCode)
    for code in CaveatCode:
        phrase = ENGLISH["caveat"][code]
        texts = [phrase] if isinstance(phrase, str) else [phrase["other"]]
        named = {name for text in texts for name, _ in places(text)}
        assert named == VALUES.get(code, frozenset()), code


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
                "Die größte Region misst 23 × 17 mm in der Bildebene, ihr Volumen beträgt 4,1 mL.",
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
                "L'algorithme ne donne pas de réponse fiable : lisez les images comme s'il n'existait pas.",
                "Résultat d'IA, non vérifié, non destiné au diagnostic.",
                "Aucun radiologue n'a encore lu ce résultat.",
            ],
        ),
        (
            replace(answer(Outcome.INDETERMINATE), predicted_class="meningioma"),
            "de",
            "Kein eindeutiges Ergebnis",
            [
                "Der Algorithmus gibt keine verlässliche Antwort: Befunden Sie die Bilder, als gäbe es ihn nicht.",
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
def test_what_is_said(given: ReportedFindings, language: str, headline: str, said: list[str]) -> None:
    """Word for word, so that a change of the table is seen."""
    assert sentences.headline(given, Language(language)) == headline
    assert sentences.conclusion(given, Language(language)) == " ".join(said)


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("given", EVERY)
def test_every_answer_says_what_it_is_in_every_language(given: ReportedFindings, language: Language) -> None:
    """Complete sentences, no place left unfilled, and always that it is unverified and unread."""
    text = sentences.conclusion(given, language)
    assert text.endswith(sentences.unread(language))
    assert sentences.disclaimer(language) in text
    assert not set("{}") & set(text)
    assert ".." not in text
    if language is not Language.ENGLISH:
        assert text != sentences.conclusion(given)


def test_a_finding_is_never_stated_as_a_fact() -> None:
    """The English says "suggests" or "possible", or that nothing is stated of disease; never that the patient has
    something.
    """
    cautious = ("suggests", "possible", "no reliable answer", "did not read", "states nothing about disease")
    texts = [
        (name, text)
        for name, one in ENGLISH["answer"].items()
        for text in ([one] if isinstance(one, str) else one.values())
    ]
    for name, text in texts:
        assert any(word in text for word in cautious), name
        assert " has " not in text


@pytest.mark.parametrize("language", list(Language))
def test_a_later_revision_says_that_it_replaces(language: Language) -> None:
    """A reader who knows the earlier one must be told."""
    first, second = answer(Outcome.NO_FINDING), replace(answer(Outcome.NO_FINDING), revision=2)
    assert sentences.additions(first, language) == ()
    (said,) = sentences.additions(second, language)
    assert said in sentences.conclusion(second, language)


def test_a_replacement_is_said_once() -> None:
    """The run's own caveat says it where there is one."""
    told = replace(answer(Outcome.NO_FINDING), revision=2, caveats=(REPLACES,))
    assert sentences.additions(told) == ()
    assert sentences.caveat(REPLACES, Language.GERMAN).startswith("Ersetzt")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (
            Caveat(CaveatCode.VALUES_NOT_NUMBERS, {"some": 3, "all": 24}),
            {
                "en": "3 of 24 planes hold values that are not numbers; they count as zero.",
                "de": "3 von 24 Schichten enthalten Werte, die keine Zahlen sind; sie zählen als null.",
            },
        ),
        (
            Caveat(CaveatCode.GANTRY_TILTED, {"tilt": 12.54}),
            {
                "en": "The slices are stacked 12.5 degrees off their normal (tilted gantry); each is kept in its true "
                "place.",
                "de": "Die Schichten sind um 12,5 Grad gegen ihre Normale versetzt (gekippte Gantry); jede bleibt am "
                "wahren Ort.",
            },
        ),
        (
            Caveat(CaveatCode.COPIES_LEFT_OUT, {"count": 1}),
            {
                "en": "1 copy of a slice was left out (same place and pixels, another SOP Instance UID).",
                "fr": "1 copie d'une coupe a été omise (même place, mêmes pixels, autre SOP Instance UID).",
            },
        ),
        (
            Caveat(CaveatCode.COPIES_LEFT_OUT, {"count": 4}),
            {
                "en": "4 copies of slices were left out (same place and pixels, another SOP Instance UID).",
                "es": "Se omitieron 4 copias de cortes (mismo lugar y píxeles, otro SOP Instance UID).",
            },
        ),
        (
            Caveat(CaveatCode.UNREADABLE_VALUES_LEFT_OUT, {"names": tuple("ABCDEFGHIJ")}),
            {
                "en": "Values in the images' headers that cannot be read were left out: A, B, C, D, E, F, G, H, ....",
                "es": "Se omitieron valores ilegibles de las cabeceras de las imágenes: A, B, C, D, E, F, G, H, ....",
            },
        ),
        (
            Caveat(CaveatCode.SLICES_TOO_FAR_APART, {"step": 7.25, "most": 6.5}),
            {
                "en": "The slices lie 7.2 mm apart; to say that there is no lesion, they must lie within 6.5 mm.",
                "fr": "Les coupes sont distantes de 7,2 mm ; pour affirmer l'absence de lésion, 6,5 mm au plus sont "
                "admis.",
            },
        ),
    ],
)
def test_a_caveat_is_said_from_its_code_and_values(item: Caveat, said: dict[str, str]) -> None:
    """Word for word; figures with the language's decimal mark, counts of one and of several, lists cut."""
    for language, text in said.items():
        assert sentences.caveat(item, Language(language)) == text


def test_a_caveat_without_its_values_is_not_made() -> None:
    """It would fail later, when a report is put into words."""
    for values in ({}, {"count": 1, "more": 2}):
        with pytest.raises(ValueError, match="COPIES_LEFT_OUT"):
            Caveat(CaveatCode.COPIES_LEFT_OUT, values)


def test_free_text_stays_in_english_and_says_so() -> None:
    """A model's own words are shown, not lost; braces in them mean nothing."""
    own = free_text("Own words {x}.")
    assert sentences.caveat(own, Language.GERMAN) == "Own words {x} (englisch)"
    assert sentences.caveat(own, Language.ENGLISH) == "Own words {x}."


def test_a_sentence_that_an_earlier_version_stored_is_a_caveat_again() -> None:
    """It is translated where it has no figures, else shown as it was stored."""
    for code in set(CaveatCode) - set(VALUES):
        assert sentences.caveat_of(sentences.caveat(Caveat(code))) == Caveat(code)
    stored = "The slices lie 7.2 mm apart; to say that there is no lesion, they must lie within 6.5 mm."
    assert sentences.caveat_of(stored) == free_text(stored)


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
    """Each code in the phrases is one of the errors; a code without a phrase gets the general one."""
    codes = {"REFUSED"} | {error.code for error in subclasses(Refused)}
    assert set(ENGLISH["refusal"]) <= codes
    for code in codes:
        said = sentences.statement(replace(REFUSED, refusal=Refusal(code, "")), Language.GERMAN)
        assert code in said


def subclasses(kind: type[Refused]) -> list[type[Refused]]:
    return [found for child in kind.__subclasses__() for found in (child, *subclasses(child))]


def test_numbers_units_and_days_are_written_as_readers_do() -> None:
    """A comma in German; millimetres cubed where millilitres would be nothing; no ambiguous day."""
    assert sentences.axes(LESION, Language.GERMAN) == "23,4 × 17,2 mm"
    assert (
        sentences.volume(lesion("2", "2.25.2", "glioma", volume=84.4, axes=(9, 7), signal=700), Language.FRENCH)
        == "84 mm³"
    )
    assert sentences.volume(LESION, Language.ENGLISH) == "4.1 mL"
    assert [sentences.day(date(2026, 3, 5), language) for language in Language] == [
        "2026-03-05",
        "05.03.2026",
        "05/03/2026",
        "05/03/2026",
    ]


@pytest.mark.parametrize(
    ("value", "digits", "unit", "said"),
    [
        (61.5, 1, ("a", "year"), {"en": "61.5 years", "de": "61,5 Jahre", "fr": "61,5 ans", "es": "61,5 años"}),
        (1.0, 0, ("a", "year"), {"en": "1 year", "de": "1 Jahr", "fr": "1 an", "es": "1 año"}),
        (42.0, 0, ("%", "percent"), dict.fromkeys(("en", "de", "fr", "es"), "42 %")),
        (1200.0, 0, ("mL", "milliliter"), dict.fromkeys(("en", "de", "fr", "es"), "1200 mL")),
        (120.0, 0, ("mm[Hg]", "millimeter of mercury"), dict.fromkeys(("en", "de"), "120 mmHg")),
        (0.553, 2, ("1", "no units"), {"en": "0.55", "de": "0,55"}),
        (3.0, 0, ("{score}", "score"), {"en": "3", "de": "3"}),
        (31.0, 0, ("[hnsf'U]", "Hounsfield unit"), {"en": "31 HU", "fr": "31 HU"}),
    ],
)
def test_a_unit_is_a_symbol_or_a_word_of_the_language(
    value: float, digits: int, unit: tuple[str, str], said: dict[str, str]
) -> None:
    """Never the English meaning of its code."""
    item = Measurement("q", codes.VOLUME, value, Code(unit[0], "UCUM", unit[1]), digits=digits)
    assert {language: sentences.amount(item, Language(language)) for language in said} == said


@pytest.mark.parametrize(
    ("mm3", "said"),
    [(4100.0, "4,1 mL"), (1000.0, "1,0 mL"), (999.4, "999 mm³"), (1.0, "1 mm³"), (0.25, "0,25 mm³"), (0.0, "0 mm³")],
)
def test_a_volume_is_written_by_one_rule(mm3: float, said: str) -> None:
    assert sentences.millilitres(mm3, Language.GERMAN) == said
