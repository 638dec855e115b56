"""The sentences that results repeat about a series: what was left out, repaired or is uncertain.

Each row is (English, German, Spanish, French); `pipeline.report.phrases` says what holds for all of them.
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
        "The {weighting} weighting was taken from {attributes}.",
        "Die {weighting}-Gewichtung wurde aus {attributes} entnommen.",
        "La ponderación {weighting} se tomó de {attributes}.",
        "La pondération {weighting} a été déduite de {attributes}.",
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
    (
        "That there is no lesion is not reported: the images do not suffice for it.",
        "Dass keine Läsion vorliegt, wird nicht berichtet: Die Bilder reichen dafür nicht aus.",
        "No se informa de ausencia de lesión: las imágenes no bastan para ello.",
        "L'absence de lésion n'est pas rapportée : les images n'y suffisent pas.",
    ),
    (
        "The slices cover {covered} mm of the patient; to say that there is no lesion, {needed} mm are needed.",
        "Die Schichten decken {covered} mm ab; für die Aussage, dass keine Läsion vorliegt, sind {needed} mm nötig.",
        "Los cortes cubren {covered} mm del paciente; para afirmar que no hay lesión se necesitan {needed} mm.",
        "Les coupes couvrent {covered} mm ; pour affirmer l'absence de lésion, {needed} mm sont nécessaires.",
    ),
    (
        "The slices lie {step} mm apart; to say that there is no lesion, they must lie within {most} mm.",
        "Schichtabstand {step} mm; für die Aussage, dass keine Läsion vorliegt, sind höchstens {most} mm zulässig.",
        "Los cortes distan {step} mm; para afirmar que no hay lesión deben distar como máximo {most} mm.",
        "Les coupes sont distantes de {step} mm ; pour affirmer l'absence de lésion, {most} mm au plus sont admis.",
    ),
    (
        "The slices lie {step} mm apart where the images state {stated} mm: slices may be missing between them.",
        "Schichtabstand {step} mm, die Bilder geben {stated} mm an: Dazwischen fehlen eventuell Schichten.",
        "Los cortes distan {step} mm y las imágenes indican {stated} mm: es posible que falten cortes entre ellos.",
        "Les coupes sont distantes de {step} mm, les images indiquent {stated} mm : des coupes manquent peut-être.",
    ),
    (
        "Instance Number leaves numbers out between all images: slices may be missing between them.",
        "Instance Number lässt zwischen allen Bildern Nummern aus: Dazwischen fehlen eventuell Schichten.",
        "Instance Number omite números entre todas las imágenes: es posible que falten cortes entre ellas.",
        "Instance Number omet des numéros entre toutes les images : des coupes manquent peut-être.",
    ),
    (
        "The images state that there are at least {stated} of them; {count} are here.",
        "Nach ihrer eigenen Angabe gibt es mindestens {stated} Bilder; {count} liegen vor.",
        "Las imágenes indican que son al menos {stated}; hay {count}.",
        "Les images indiquent qu'elles sont au moins {stated} ; {count} sont présentes.",
    ),
    (
        "The sender's archive counts {expected} images of the series; {count} are here.",
        "Das Archiv des Senders zählt {expected} Bilder der Serie; {count} liegen vor.",
        "El archivo del emisor cuenta {expected} imágenes de la serie; hay {count}.",
        "L'archive de l'émetteur compte {expected} images de la série ; {count} sont présentes.",
    ),
    (
        "The images state {stated} temporal positions; {count} are here.",
        "Die Bilder geben {stated} Zeitpunkte an; {count} liegen vor.",
        "Las imágenes indican {stated} posiciones temporales; hay {count}.",
        "Les images indiquent {stated} positions temporelles ; {count} sont présentes.",
    ),
    (
        "The images state that their stack has at least {stated} places; {count} are here.",
        "Nach Angabe der Bilder hat ihr Stapel mindestens {stated} Plätze; {count} sind belegt.",
        "Las imágenes indican que su pila tiene al menos {stated} posiciones; hay {count}.",
        "Les images indiquent que leur pile a au moins {stated} places ; {count} sont occupées.",
    ),
    (
        "Values in the images' headers that cannot be read were left out: {names}.",
        "Nicht lesbare Werte in den Kopfdaten der Bilder wurden weggelassen: {names}.",
        "Se omitieron valores ilegibles de las cabeceras de las imágenes: {names}.",
        "Des valeurs illisibles des en-têtes des images ont été omises : {names}.",
    ),
    (
        "1 picture beside the slices of the series was left out ({kinds}).",
        "1 Bild neben den Schichten der Serie wurde weggelassen ({kinds}).",
        "Se omitió 1 imagen ajena a los cortes de la serie ({kinds}).",
        "1 image étrangère aux coupes de la série a été omise ({kinds}).",
    ),
    (
        "{count} pictures beside the slices of the series were left out ({kinds}).",
        "{count} Bilder neben den Schichten der Serie wurden weggelassen ({kinds}).",
        "Se omitieron {count} imágenes ajenas a los cortes de la serie ({kinds}).",
        "{count} images étrangères aux coupes de la série ont été omises ({kinds}).",
    ),
    (
        "1 image came more than once, with other header values ({names}); the last one was read.",
        "1 Bild kam mehrfach, mit anderen Kopfdaten ({names}); ausgewertet wurde das letzte.",
        "1 imagen llegó más de una vez, con otros datos de cabecera ({names}); se analizó la última.",
        "1 image est arrivée plusieurs fois, avec d'autres données d'en-tête ({names}) ; la dernière a été analysée.",
    ),
    (
        "{count} images came more than once, with other header values ({names}); the last were read.",
        "{count} Bilder kamen mehrfach, mit anderen Kopfdaten ({names}); ausgewertet wurden die letzten.",
        "{count} imágenes llegaron más de una vez, con otros datos de cabecera ({names}); se analizaron las últimas.",
        "{count} images sont arrivées plusieurs fois, avec d'autres en-têtes ({names}) ; les dernières ont été lues.",
    ),
    (
        "1 image came first in a form that cannot be read; the one that came later was read.",
        "1 Bild kam zuerst in nicht lesbarer Form; ausgewertet wurde das später gekommene.",
        "1 imagen llegó primero en una forma ilegible; se analizó la que llegó después.",
        "1 image est d'abord arrivée sous une forme illisible ; celle arrivée ensuite a été analysée.",
    ),
    (
        "{count} images came first in a form that cannot be read; those that came later were read.",
        "{count} Bilder kamen zuerst in nicht lesbarer Form; ausgewertet wurden die später gekommenen.",
        "{count} imágenes llegaron primero en una forma ilegible; se analizaron las que llegaron después.",
        "{count} images sont d'abord arrivées sous une forme illisible ; celles arrivées ensuite ont été analysées.",
    ),
    (
        "1 image has its SOP Instance UID in another series too: references to the images fit both.",
        "1 Bild hat seine SOP Instance UID auch in einer anderen Serie: Verweise auf die Bilder passen auf beide.",
        "1 imagen tiene su SOP Instance UID también en otra serie: las referencias a las imágenes valen para ambas.",
        "1 image a son SOP Instance UID aussi dans une autre série : les références aux images valent pour les deux.",
    ),
    (
        "{count} images have their SOP Instance UID in another series too: references to the images fit both.",
        "{count} Bilder haben ihre SOP Instance UID auch in einer anderen Serie: Verweise darauf passen auf beide.",
        "{count} imágenes tienen su SOP Instance UID también en otra serie: las referencias valen para ambas.",
        "{count} images ont leur SOP Instance UID aussi dans une autre série : les références valent pour les deux.",
    ),
    (
        "The images hold no valid value of these attributes, which are left out of the results: {names}.",
        "Die Bilder enthalten für diese Attribute keinen gültigen Wert; in den Ergebnissen fehlen sie: {names}.",
        "Las imágenes no contienen un valor válido de estos atributos, que se omiten en los resultados: {names}.",
        "Les images ne contiennent pas de valeur valide de ces attributs, omis dans les résultats : {names}.",
    ),
    (
        "The results repeat these attributes as the images have them, though DICOM does not allow the values: {names}.",
        "Die Ergebnisse geben diese Attribute wie die Bilder wieder, obwohl DICOM ihre Werte nicht erlaubt: {names}.",
        "Los resultados repiten estos atributos tal como están en las imágenes, aunque DICOM no los permite: {names}.",
        "Les résultats reprennent ces attributs tels quels, bien que DICOM n'en permette pas les valeurs : {names}.",
    ),
    (
        "The accession number is too long for HL7: the report names no order.",
        "Die Auftragsnummer ist zu lang für HL7: Der Bericht nennt keinen Auftrag.",
        "El número de acceso es demasiado largo para HL7: el informe no indica ninguna solicitud.",
        "Le numéro de demande est trop long pour HL7 : le compte rendu n'indique aucune demande.",
    ),
)
