"""The rules that turn findings into sentences, in English, German, Spanish and French: one table, to be read by people.

`pipeline.report.sentences` fills the braces in. Each row is (English, German, Spanish, French). For all of them:

- An unverified result suggests; it never states. No sentence speaks of the patient as ill or healthy.
- No row claims that a human read anything.
- A row of `ANSWER` is used where its situation is the series's; exactly one is. `ADDED` rows follow it, in the order
  here, where theirs hold. `ALWAYS` comes last.

Placeholders: {name} what a class is called, {share} its probability, {count} how many regions, {axes} and {volume} how
large the region is, {reason} a row of `REFUSALS`, {code} the code of a refusal.

The rows of `CAVEATS` are in `pipeline/report/caveats.py`, those of `REFUSALS` in `pipeline/report/refusals.py`.
"""

from __future__ import annotations

from typing import Final

from pipeline.report.caveats import CAVEATS as CAVEATS  # noqa: PLC0414 - the book is read as one
from pipeline.report.caveats import Row as Row  # noqa: PLC0414 - the book is read as one
from pipeline.report.refusals import REFUSALS as REFUSALS  # noqa: PLC0414 - the book is read as one

HEADLINES: Final[dict[str, Row]] = {
    "finding": ("{name} suggested", "Hinweis auf: {name}", "Se sugiere: {name}", "Suggestion : {name}"),
    "no finding": ("{name} suggested", "Vorschlag: {name}", "Se sugiere: {name}", "Suggestion : {name}"),
    "indeterminate": ("Indeterminate", "Kein eindeutiges Ergebnis", "Indeterminado", "Indéterminé"),
    "refused": ("Not read by the algorithm", "Nicht ausgewertet", "No analizado", "Non analysé"),
}

ANSWER: Final[dict[str, Row]] = {
    "finding, no region outlined": (
        "The algorithm suggests {name} (model probability {share}), no region outlined.",
        "Hinweis des Algorithmus: {name} (Modellwahrscheinlichkeit {share}); keine Region umrandet.",
        "El algoritmo sugiere: {name} (probabilidad del modelo {share}); ninguna región delimitada.",
        "L'algorithme suggère : {name} (probabilité du modèle {share}) ; aucune région délimitée.",
    ),
    "finding, one region outlined": (
        "The algorithm suggests {name} (model probability {share}), 1 region outlined.",
        "Hinweis des Algorithmus: {name} (Modellwahrscheinlichkeit {share}); 1 Region umrandet.",
        "El algoritmo sugiere: {name} (probabilidad del modelo {share}); 1 región delimitada.",
        "L'algorithme suggère : {name} (probabilité du modèle {share}) ; 1 région délimitée.",
    ),
    "finding, several regions outlined": (
        "The algorithm suggests {name} (model probability {share}), {count} regions outlined.",
        "Hinweis des Algorithmus: {name} (Modellwahrscheinlichkeit {share}); {count} Regionen umrandet.",
        "El algoritmo sugiere: {name} (probabilidad del modelo {share}); {count} regiones delimitadas.",
        "L'algorithme suggère : {name} (probabilité du modèle {share}) ; {count} régions délimitées.",
    ),
    "no finding": (
        "The algorithm suggests {name} (model probability {share}). This does not exclude disease.",
        "Hinweis des Algorithmus: {name} (Modellwahrscheinlichkeit {share}). Das schließt eine Erkrankung nicht aus.",
        "El algoritmo sugiere: {name} (probabilidad del modelo {share}). Esto no descarta una enfermedad.",
        "L'algorithme suggère : {name} (probabilité du modèle {share}). Cela n'exclut pas une maladie.",
    ),
    "indeterminate": (
        "The algorithm gives no reliable answer. Its most probable class is {name} ({share}).",
        "Der Algorithmus gibt keine verlässliche Antwort. Die wahrscheinlichste Klasse ist: {name} ({share}).",
        "El algoritmo no da una respuesta fiable. Su clase más probable es: {name} ({share}).",
        "L'algorithme ne donne pas de réponse fiable. La classe la plus probable est : {name} ({share}).",
    ),
    "indeterminate, and it is not the most probable class": (
        "The algorithm gives no reliable answer. Its most probable kind of lesion is {name} ({share}).",
        "Der Algorithmus gibt keine verlässliche Antwort. Die wahrscheinlichste Läsionsart ist: {name} ({share}).",
        "El algoritmo no da una respuesta fiable. El tipo de lesión más probable es: {name} ({share}).",
        "L'algorithme ne donne pas de réponse fiable. Le type de lésion le plus probable est : {name} ({share}).",
    ),
    "refused": (
        "The algorithm did not read this series: {reason} ({code}). Nothing is said of the patient.",
        "Der Algorithmus hat diese Serie nicht ausgewertet: {reason} ({code}). Das sagt nichts über die Person.",
        "El algoritmo no analizó esta serie: {reason} ({code}). No se dice nada del paciente.",
        "L'algorithme n'a pas analysé cette série : {reason} ({code}). Cela ne dit rien du patient.",
    ),
}

ADDED: Final[dict[str, Row]] = {
    "one region": (
        "The region measures {axes} in its plane, {volume} in volume.",
        "Die Region misst {axes} in der Bildebene, ihr Volumen beträgt {volume}.",
        "La región mide {axes} en el plano de la imagen, con un volumen de {volume}.",
        "La région mesure {axes} dans le plan de coupe, pour un volume de {volume}.",
    ),
    "several regions": (
        "The largest region measures {axes} in its plane, {volume} in volume.",
        "Die größte Region misst {axes} in der Bildebene, ihr Volumen beträgt {volume}.",
        "La región mayor mide {axes} en el plano de la imagen, con un volumen de {volume}.",
        "La plus grande région mesure {axes} dans le plan de coupe, pour un volume de {volume}.",
    ),
    "later revision": (
        "Further images of the series have arrived: this replaces the algorithm's earlier result.",
        "Es sind weitere Bilder der Serie eingetroffen: Dies ersetzt das frühere Ergebnis des Algorithmus.",
        "Han llegado más imágenes de la serie: esto sustituye al resultado anterior del algoritmo.",
        "D'autres images de la série sont arrivées : ceci remplace le résultat précédent de l'algorithme.",
    ),
}

ALWAYS: Final[dict[str, Row]] = {
    "disclaimer": (
        "AI result, not verified, not for diagnosis",
        "KI-Ergebnis, nicht geprüft, nicht zur Diagnose",
        "Resultado de IA, no verificado, no apto para diagnóstico",
        "Résultat d'IA, non vérifié, non destiné au diagnostic",
    ),
    "unread": (
        "A radiologist has not yet read this result.",
        "Dieses Ergebnis wurde noch nicht radiologisch befundet.",
        "Ningún radiólogo ha revisado todavía este resultado.",
        "Aucun radiologue n'a encore lu ce résultat.",
    ),
}

TERMS: Final[dict[str, Row]] = {
    # By the class's code: SNOMED CT, or one of our own. English is what the model's bundle calls it.
    "393564001": ("Glioma", "Gliom", "Glioma", "Gliome"),
    "302820008": ("Meningioma", "Meningeom", "Meningioma", "Méningiome"),
    "127024001": ("Pituitary tumor", "Hypophysentumor", "Tumor hipofisario", "Tumeur hypophysaire"),
    "126952004": ("Brain tumor", "Hirntumor", "Tumor cerebral", "Tumeur cérébrale"),
    "108369006": ("Neoplasm", "Neubildung", "Neoplasia", "Néoplasie"),
    "no-tumor": ("No tumor", "Kein Tumor", "Ausencia de tumor", "Absence de tumeur"),
}

LABELS: Final[dict[str, Row]] = {
    # The words of the page around the sentences, and of the resources' texts.
    "patient": ("Patient", "Patient", "Paciente", "Patient"),
    "patient id": ("Patient ID", "Patienten-ID", "ID del paciente", "N° du patient"),
    "born": ("Born", "Geboren", "Nacimiento", "Né(e) le"),
    "study": ("Study", "Untersuchung", "Estudio", "Examen"),
    "date": ("Date", "Datum", "Fecha", "Date"),
    "accession": ("Accession", "Auftragsnummer", "N.º de acceso", "N° de demande"),
    "care": ("Read with care", "Zu beachten", "A tener en cuenta", "À noter"),
    "key picture": ("Key picture", "Schlüsselbild", "Imagen clave", "Image clé"),
    "picture text": (
        "Overlay of the algorithm's result on the source image",
        "Ergebnis des Algorithmus, über das Quellbild gelegt",
        "Resultado del algoritmo superpuesto a la imagen original",
        "Résultat de l'algorithme superposé à l'image source",
    ),
    "probabilities": (
        "Probability by class",
        "Wahrscheinlichkeit nach Klasse",
        "Probabilidad por clase",
        "Probabilité par classe",
    ),
    "regions": ("Regions outlined", "Umrandete Regionen", "Regiones delimitadas", "Régions délimitées"),
    "region": ("Region", "Region", "Región", "Région"),
    "axes": ("Long × short axis", "Lange × kurze Achse", "Eje mayor × menor", "Grand × petit axe"),
    "volume": ("Volume", "Volumen", "Volumen", "Volume"),
    "none": ("None.", "Keine.", "Ninguna.", "Aucune."),
    "more": (
        "and {count} smaller ones in the structured report",
        "und {count} kleinere im strukturierten Bericht",
        "y {count} menores en el informe estructurado",
        "et {count} plus petites dans le compte rendu structuré",
    ),
    "lesion": ("Lesion {number}", "Läsion {number}", "Lesión {number}", "Lésion {number}"),
    "digest": ("digest", "Prüfsumme", "huella", "empreinte"),
    "written": ("Written {when}.", "Erstellt {when}.", "Redactado {when}.", "Rédigé le {when}."),
    "source": ("Source series", "Quellserie", "Serie de origen", "Série source"),
    "report": (
        "Report of the algorithm",
        "Bericht des Algorithmus",
        "Informe del algoritmo",
        "Compte rendu de l'algorithme",
    ),
    "presence": (
        "Presence of {target}, suggested by an algorithm",
        "Vorliegen, Hinweis eines Algorithmus: {target}",
        "Presencia, sugerida por un algoritmo: {target}",
        "Présence, suggérée par un algorithme : {target}",
    ),
    "sought": ("What is looked for", "Wonach gesucht wird", "Lo que se busca", "Ce qui est recherché"),
    "suggested class": ("Suggested class", "Hinweis auf Klasse", "Clase sugerida", "Classe suggérée"),
    "probability of": (
        "Model probability: {name}",
        "Modellwahrscheinlichkeit: {name}",
        "Probabilidad del modelo: {name}",
        "Probabilité du modèle : {name}",
    ),
    "class": (
        "Class that the probability is of",
        "Klasse, für die die Wahrscheinlichkeit gilt",
        "Clase a la que se refiere la probabilidad",
        "Classe à laquelle se rapporte la probabilité",
    ),
    "volume of": ("Volume of {region}", "Volumen von {region}", "Volumen de {region}", "Volume de {region}"),
    "long axis of": (
        "Long axis of {region}",
        "Lange Achse von {region}",
        "Eje mayor de {region}",
        "Grand axe de {region}",
    ),
    "short axis of": (
        "Short axis of {region}",
        "Kurze Achse von {region}",
        "Eje menor de {region}",
        "Petit axe de {region}",
    ),
    "mean signal of": (
        "Mean signal of {region}",
        "Mittleres Signal von {region}",
        "Señal media de {region}",
        "Signal moyen de {region}",
    ),
    "method": (
        "Automatic, by an algorithm, on {modality} images",
        "Automatisch, durch einen Algorithmus, auf {modality}-Bildern",
        "Automático, por un algoritmo, en imágenes de {modality}",
        "Automatique, par un algorithme, sur des images {modality}",
    ),
    "device": (
        "Image analysis algorithm (artificial intelligence)",
        "Bildanalyse-Algorithmus (künstliche Intelligenz)",
        "Algoritmo de análisis de imagen (inteligencia artificial)",
        "Algorithme d'analyse d'images (intelligence artificielle)",
    ),
    "model digest": (
        "SHA-256 of the model",
        "SHA-256 des Modells",
        "SHA-256 del modelo",
        "SHA-256 du modèle",
    ),
    "preliminary": (
        "{procedure}, preliminary result of an algorithm",
        "{procedure}, vorläufiges Ergebnis eines Algorithmus",
        "{procedure}, resultado preliminar de un algoritmo",
        "{procedure}, résultat préliminaire d'un algorithme",
    ),
    "unverified": (
        "{headline} (algorithm, unverified)",
        "{headline} (Algorithmus, ungeprüft)",
        "{headline} (algoritmo, sin verificar)",
        "{headline} (algorithme, non vérifié)",
    ),
    "outlined by": (
        "{region}: outlined by an algorithm",
        "{region}: von einem Algorithmus umrandet",
        "{region}: delimitada por un algoritmo",
        "{region} : délimitée par un algorithme",
    ),
    "segment of": ("Segment of {region}", "Segment von {region}", "Segmento de {region}", "Segment de {region}"),
    "explanation": (
        "Picture that explains the result (class activation)",
        "Bild, das das Ergebnis erklärt (Klassenaktivierung)",
        "Imagen que explica el resultado (activación de clase)",
        "Image qui explique le résultat (activation de classe)",
    ),
    "not read": (
        "Reading by an algorithm",
        "Auswertung durch einen Algorithmus",
        "Análisis por un algoritmo",
        "Analyse par un algorithme",
    ),
    "superseded": (
        "Entered in error: a later revision of the series does not have this result.",
        "Ungültig: Eine spätere Fassung der Serie enthält dieses Ergebnis nicht.",
        "Anulado: una revisión posterior de la serie no tiene este resultado.",
        "Annulé : une révision ultérieure de la série ne comporte pas ce résultat.",
    ),
    # The PDF page alone.
    "model probability": (
        "Model probability",
        "Modellwahrscheinlichkeit",
        "Probabilidad del modelo",
        "Probabilité du modèle",
    ),
    "of class": ("{what} of {name}", "{what}: {name}", "{what}: {name}", "{what} : {name}"),
    "no reliable answer": (
        "no reliable answer",
        "keine verlässliche Antwort",
        "sin respuesta fiable",
        "pas de réponse fiable",
    ),
    "slice": (
        "Slice {number} of {all}",
        "Schicht {number} von {all}",
        "Corte {number} de {all}",
        "Coupe {number} sur {all}",
    ),
    "image": ("image {number}", "Bild {number}", "imagen {number}", "image {number}"),
    "frame": ("frame {number}", "Frame {number}", "fotograma {number}", "trame {number}"),
    "sides": (
        "Left: as acquired. Right: with the algorithm's result.",
        "Links: Original. Rechts: mit dem Ergebnis des Algorithmus.",
        "Izquierda: original. Derecha: con el resultado del algoritmo.",
        "À gauche : original. À droite : avec le résultat de l'algorithme.",
    ),
    "activation": (
        "Activation for {name}, relative, 0",
        "Aktivierung für {name}, relativ, 0",
        "Activación para {name}, relativa, 0",
        "Activation pour {name}, relative, 0",
    ),
    "outline": (
        "AI outline",
        "KI-Umriss",
        "contorno de la IA",
        "contour de l'IA",
    ),
    "less probable": (
        "and {count} less probable classes",
        "und {count} weniger wahrscheinliche Klassen",
        "y {count} clases menos probables",
        "et {count} classes moins probables",
    ),
    "none outlined": ("none outlined", "keine umrandet", "ninguna delimitada", "aucune délimitée"),
    "long axis": ("long axis", "lange Achse", "eje mayor", "grand axe"),
    "short axis": ("short axis", "kurze Achse", "eje menor", "petit axe"),
    "slices": ("slices", "Schichten", "cortes", "coupes"),
    "more caveats": (
        "and {count} more in the structured report",
        "und {count} weitere im strukturierten Bericht",
        "y {count} más en el informe estructurado",
        "et {count} de plus dans le compte rendu structuré",
    ),
    "script": (
        "in a script that this page cannot show",
        "in einer Schrift, die diese Seite nicht zeigen kann",
        "en una escritura que esta página no puede mostrar",
        "dans une écriture que cette page ne peut afficher",
    ),
    "version": ("version {version}", "Version {version}", "versión {version}", "version {version}"),
    "english": ("{text}", "{text} (englisch)", "{text} (en inglés)", "{text} (en anglais)"),
}

FORMS: Final[dict[str, Row]] = {
    # How a language writes numbers and days (strftime), and separates a number from its unit.
    "decimal mark": (".", ",", ",", ","),
    "day": ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%d/%m/%Y"),
    "millilitre": ("mL", "ml", "ml", "ml"),
}
