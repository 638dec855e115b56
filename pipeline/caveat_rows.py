"""The sentences that results repeat about a series: what was left out, repaired or is uncertain.

Each row is (English, German, Spanish, French); `pipeline.phrasebook` says what holds for all of them.
"""

from __future__ import annotations

from typing import Final

Row = tuple[str, str, str, str]

CAVEATS: Final[tuple[Row, ...]] = (
    # The English is what `pipeline` and `models` write; braces stand for what they fill in.
    (
        "Replaces an earlier result: further images of the series came after it.",
        "Ersetzt ein früheres Ergebnis: Danach sind weitere Bilder der Serie eingetroffen.",
        "Sustituye a un resultado anterior: después llegaron más imágenes de la serie.",
        "Remplace un résultat antérieur : d'autres images de la série sont arrivées ensuite.",
    ),
    (
        "The images of the series differ in {attributes}: the results leave it out.",
        "Die Bilder der Serie unterscheiden sich in {attributes}: Die Ergebnisse lassen es weg.",
        "Las imágenes de la serie difieren en {attributes}: los resultados lo omiten.",
        "Les images de la série diffèrent par {attributes} : les résultats l'omettent.",
    ),
    (
        "Part of the images lack {attributes}: the results take it from the others.",
        "Einem Teil der Bilder fehlt {attributes}: Die Ergebnisse übernehmen es von den anderen.",
        "A parte de las imágenes les falta {attributes}: los resultados lo toman de las otras.",
        "Il manque {attributes} à une partie des images : les résultats le reprennent des autres.",
    ),
    (
        "The images write the patient's name in more than one way: the results write it in one of them.",
        "Die Bilder schreiben den Namen der Person verschieden: Die Ergebnisse verwenden eine der Schreibweisen.",
        "Las imágenes escriben el nombre del paciente de varias formas: los resultados usan una de ellas.",
        "Les images écrivent le nom du patient de plusieurs façons : les résultats en utilisent une.",
    ),
    (
        "The images of the series do not name the same patient: an operator chose whose series it is.",
        "Die Bilder der Serie nennen nicht dieselbe Person: Ein Betreiber hat entschieden, wessen Serie es ist.",
        "Las imágenes de la serie no nombran al mismo paciente: un operador eligió de quién es la serie.",
        "Les images de la série ne désignent pas le même patient : un opérateur a choisi à qui elle appartient.",
    ),
    (
        "The body part is not stated in the images.",
        "Die Bilder geben die Körperregion nicht an.",
        "Las imágenes no indican la región anatómica.",
        "Les images n'indiquent pas la région anatomique.",
    ),
    (
        "No contrast agent is recorded: the model was validated on images with contrast only.",
        "Es ist kein Kontrastmittel vermerkt: Das Modell wurde nur an Bildern mit Kontrastmittel validiert.",
        "No consta medio de contraste: el modelo se validó solo con imágenes con contraste.",
        "Aucun produit de contraste n'est indiqué : le modèle a été validé sur des images avec contraste uniquement.",
    ),
    (
        "{some} of {all} planes hold values that are not numbers; they count as zero.",
        "{some} von {all} Schichten enthalten Werte, die keine Zahlen sind; sie zählen als null.",
        "{some} de {all} planos contienen valores que no son números; cuentan como cero.",
        "{some} plans sur {all} contiennent des valeurs qui ne sont pas des nombres ; elles comptent pour zéro.",
    ),
    (
        "The answer is uncertain: it says neither that there is a lesion nor that there is none.",
        "Die Antwort ist unsicher: Sie sagt weder, dass eine Läsion vorliegt, noch, dass keine vorliegt.",
        "La respuesta es incierta: no dice ni que haya una lesión ni que no la haya.",
        "La réponse est incertaine : elle ne dit ni qu'il y a une lésion, ni qu'il n'y en a pas.",
    ),
    (
        "The kind of the lesion is uncertain.",
        "Die Art der Läsion ist unsicher.",
        "El tipo de la lesión es incierto.",
        "Le type de la lésion est incertain.",
    ),
    (
        "The probabilities are means over outlined pixels, not calibrated for a series.",
        "Die Wahrscheinlichkeiten sind Mittel über die umrandeten Bildpunkte und nicht für eine Serie kalibriert.",
        "Las probabilidades son medias sobre los píxeles delimitados y no están calibradas para una serie.",
        "Les probabilités sont des moyennes sur les pixels délimités, non calibrées pour une série.",
    ),
    (
        "The model does not tell whether the images show a head; only their width was checked.",
        "Das Modell prüft nicht, ob die Bilder einen Kopf zeigen; geprüft wurde nur ihre Breite.",
        "El modelo no distingue si las imágenes muestran una cabeza; solo se comprobó su anchura.",
        "Le modèle ne dit pas si les images montrent une tête ; seule leur largeur a été contrôlée.",
    ),
    (
        "The image orientation is not quite perpendicular ({off}); the nearest that is was taken.",
        "Die Bildorientierung ist nicht ganz rechtwinklig ({off}); die nächstliegende rechtwinklige wurde genommen.",
        "La orientación de la imagen no es del todo perpendicular ({off}); se tomó la más cercana que lo es.",
        "L'orientation des images n'est pas tout à fait perpendiculaire ({off}) ; la plus proche a été prise.",
    ),
    (
        "The images name no frame of reference: viewers may not link the results to other series.",
        "Die Bilder nennen kein Bezugssystem: Viewer verknüpfen die Ergebnisse eventuell nicht mit anderen Serien.",
        "Las imágenes no indican un marco de referencia: los visores quizá no enlacen los resultados con otras series.",
        "Les images n'indiquent aucun cadre de référence : le lien des résultats avec d'autres séries peut manquer.",
    ),
    (
        "The slices are stacked {tilt} degrees off their normal (tilted gantry); each is kept in its true place.",
        "Die Schichten sind um {tilt} Grad gegen ihre Normale versetzt (gekippte Gantry); jede bleibt am wahren Ort.",
        "Los cortes están apilados a {tilt} grados de su normal (gantry inclinado); cada uno conserva su lugar real.",
        "Les coupes sont empilées à {tilt} degrés de leur normale (statif incliné) ; chacune reste à sa vraie place.",
    ),
    (
        "1 copy of a slice was left out (same place and pixels, another SOP Instance UID).",
        "1 Kopie einer Schicht wurde weggelassen (gleicher Ort, gleiche Bildpunkte, andere SOP Instance UID).",
        "Se omitió 1 copia de un corte (mismo lugar y píxeles, otro SOP Instance UID).",
        "1 copie d'une coupe a été omise (même place, mêmes pixels, autre SOP Instance UID).",
    ),
    (
        "{count} copies of slices were left out (same place and pixels, another SOP Instance UID).",
        "{count} Kopien von Schichten wurden weggelassen (gleicher Ort, gleiche Bildpunkte, andere SOP Instance UID).",
        "Se omitieron {count} copias de cortes (mismo lugar y píxeles, otro SOP Instance UID).",
        "{count} copies de coupes ont été omises (même place, mêmes pixels, autre SOP Instance UID).",
    ),
    (
        "Of {count} stacks in the series one was read, {read}; not {others}.",
        "Von {count} Stapeln der Serie wurde einer ausgewertet, {read}; nicht {others}.",
        "De {count} pilas de la serie se analizó una, {read}; no {others}.",
        "Sur {count} piles de la série, une a été analysée, {read} ; pas {others}.",
    ),
)
