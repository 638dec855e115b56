"""Why a series was not read, by the code of the refusal, in the words of a report.

Each row is (English, German, Spanish, French); `pipeline.report.phrases` says what holds for all of them.
"""

from __future__ import annotations

from typing import Final

from pipeline.report.caveats import Row

REFUSALS: Final[dict[str, Row]] = {
    # By the code of the error; "REFUSED" stands for every code without a row of its own.
    "REFUSED": (
        "it is not what the model reads",
        "Sie ist nicht das, was das Modell auswertet",
        "no es lo que el modelo analiza",
        "elle n'est pas ce que le modèle analyse",
    ),
    "UNSUPPORTED_MODALITY": (
        "the model reads another modality",
        "Das Modell wertet eine andere Modalität aus",
        "el modelo analiza otra modalidad",
        "le modèle analyse une autre modalité",
    ),
    "UNSUPPORTED_PROTOCOL": (
        "the model reads another body part, weighting or sequence",
        "Das Modell wertet eine andere Körperregion, Gewichtung oder Sequenz aus",
        "el modelo analiza otra región, ponderación o secuencia",
        "le modèle analyse une autre région, pondération ou séquence",
    ),
    "OUT_OF_SCOPE": (
        "the images do not show what the model was validated on",
        "Die Bilder zeigen nicht das, woran das Modell validiert wurde",
        "las imágenes no muestran aquello con lo que se validó el modelo",
        "les images ne montrent pas ce sur quoi le modèle a été validé",
    ),
    "MISSING_SLICES": (
        "slices are missing",
        "Es fehlen Schichten",
        "faltan cortes",
        "il manque des coupes",
    ),
    "DUPLICATE_SLICES": (
        "two slices lie at one place",
        "Zwei Schichten liegen am selben Ort",
        "dos cortes están en el mismo lugar",
        "deux coupes sont à la même place",
    ),
    "BAD_GEOMETRY": (
        "its slices make no regular volume",
        "Ihre Schichten bilden kein regelmäßiges Volumen",
        "sus cortes no forman un volumen regular",
        "ses coupes ne forment pas un volume régulier",
    ),
    "MIXED_GEOMETRY": (
        "its slices belong to several stacks",
        "Ihre Schichten gehören zu mehreren Stapeln",
        "sus cortes pertenecen a varias pilas",
        "ses coupes appartiennent à plusieurs piles",
    ),
    "BAD_PIXELS": (
        "its images cannot be decoded",
        "Ihre Bilder sind nicht lesbar",
        "sus imágenes no se pueden decodificar",
        "ses images ne peuvent pas être décodées",
    ),
    "TRUNCATED": (
        "an image is incomplete",
        "Ein Bild ist unvollständig",
        "una imagen está incompleta",
        "une image est incomplète",
    ),
    "MIXED_PATIENTS": (
        "its images do not name one patient",
        "Ihre Bilder nennen nicht dieselbe Person",
        "sus imágenes no nombran a un mismo paciente",
        "ses images ne désignent pas un même patient",
    ),
    "MIXED_STUDIES": (
        "its images belong to several studies",
        "Ihre Bilder gehören zu mehreren Untersuchungen",
        "sus imágenes pertenecen a varios estudios",
        "ses images appartiennent à plusieurs examens",
    ),
    "INVALID_HEADER": (
        "the header of an image lacks what reading needs",
        "In den Kopfdaten eines Bildes fehlt, was zur Auswertung nötig ist",
        "a la cabecera de una imagen le falta lo necesario para el análisis",
        "il manque dans l'en-tête d'une image ce qu'exige l'analyse",
    ),
    "CONFLICTING_INSTANCES": (
        "images of different content have the same identifier",
        "Bilder mit verschiedenem Inhalt tragen dieselbe Kennung",
        "imágenes de contenido distinto tienen el mismo identificador",
        "des images de contenu différent portent le même identifiant",
    ),
    "BAD_IDENTITY": (
        "its images do not name the patient in a way that a report can repeat",
        "Ihre Bilder benennen die Person nicht so, dass ein Bericht es wiedergeben kann",
        "sus imágenes no identifican al paciente de modo que un informe pueda repetirlo",
        "ses images n'identifient pas le patient d'une façon qu'un compte rendu puisse reprendre",
    ),
}
