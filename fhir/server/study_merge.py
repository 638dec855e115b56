"""The ImagingStudy of several runs: each adds its series and instances to the one that a run of Candela created.

Two models read one study, and a late slice makes a second revision whose objects lie in the same series: the server has
one ImagingStudy for all of them. A create alone would leave it with what the first run knew. What is listed is never
taken away, since the PACS has it, so the order in which runs arrive does not matter. The hospital's own ImagingStudy,
which lacks our tag, is left unchanged: its owner decides what it lists.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import Enum, auto

from fhir.bundle.context import STUDY_TAG
from fhir.release import Json
from fhir.server.ambiguous import named_by_identifier, note
from fhir.server.same_patient import Patients, Whose
from fhir.server.stored import Search, has_identifier, kind_of, name_of, rename, tag_of, token, unversioned, update

UNSEARCHED = "the server permits no search for an ImagingStudy: the report names the study by identifier alone"


class StudyState(Enum):
    """What the server has of a study, before a run is posted."""

    UNKNOWN = auto()
    THERE = auto()
    UNSEARCHED = auto()


@dataclass(frozen=True)
class Merged:
    """``bundle`` is what to post; ``note`` is what a human should know of it, where there is something."""

    bundle: Json
    state: StudyState
    note: str = ""


def with_study(bundle: Json, search: Search, base: str, patients: Patients) -> Merged:
    """``bundle`` whose ImagingStudy updates the one that is stored, where that is ours and lacks something of it.

    The report names the study by identifier alone where the server has more than one, one that was entered in error,
    one that is not shown to be of the same patient, or lets nobody search: a create that finds one there would refer to
    whatever patient's it is.
    ``base`` is the server's URL. An update names the version that was read. The Bundle is not changed.
    """
    entry = next((item for item in bundle.get("entry", ()) if kind_of(item) == "ImagingStudy"), None)
    tag = tag_of(entry["resource"], STUDY_TAG) if entry else ""
    if entry is None:
        return Merged(bundle, StudyState.UNSEARCHED)
    study = entry["resource"]
    identifier = study["identifier"][0]
    found = search("ImagingStudy", {"identifier": token(identifier)})
    if found is None:
        return Merged(named_by_identifier(bundle, [entry]), StudyState.UNSEARCHED, UNSEARCHED)
    known = [item for item in found if has_identifier(item, identifier)]
    if not known:
        return Merged(bundle, StudyState.UNKNOWN if tag else StudyState.UNSEARCHED)
    ours = tag_of(known[0], STUDY_TAG) == tag != ""
    if unclear := _unclear(known, entry, patients, ours=ours):
        return Merged(named_by_identifier(bundle, [entry]), StudyState.THERE, unclear)
    if not tag:  # an older version of Candela wrote it: nothing in it may be added to
        return Merged(bundle, StudyState.UNSEARCHED)
    return Merged(_updating(known[0], bundle, entry, base) if ours else bundle, StudyState.THERE)


def _unclear(known: list[Json], entry: Json, patients: Patients, *, ours: bool) -> str:
    """Why the report may refer to none of the server's studies ``known``; empty where it may refer to the only one.

    The study UID alone proves no patient: it is what two patients' images share where they were mixed up. A study whose
    subject identifies nobody leads to nobody else; one that a run of ours created (``ours``) is taken unless it is
    shown to be another's.
    """
    if len(known) > 1:
        return note([entry])
    if known[0].get("status") == "entered-in-error":
        return "the server's ImagingStudy was entered in error: the report names it by identifier alone"
    whose = patients.whose(entry["resource"]["subject"], known[0])
    if whose is Whose.ANOTHERS:
        return f"{name_of(known[0])} is another patient's: the report names the study by identifier alone"
    if whose is Whose.UNKNOWN and not ours:
        return f"{name_of(known[0])} does not show whose it is: the report names the study by identifier alone"
    return ""


def _updating(stored: Json, bundle: Json, entry: Json, base: str) -> Json:
    """``bundle`` that adds to ``stored`` what it lacks of the ImagingStudy of ``entry``."""
    merged = merge(stored, entry["resource"])
    if merged == stored:
        return bundle
    made = copy.deepcopy({**bundle, "entry": [item for item in bundle["entry"] if item is not entry]})
    made["entry"].insert(0, update({**merged, "meta": unversioned(merged["meta"])}, stored, base))
    rename(made, {entry["fullUrl"]: name_of(stored)})
    return made


def merge(stored: Json, study: Json) -> Json:
    """``stored`` with the modalities, series and instances of ``study`` that it lacks."""
    series = list(stored.get("series", ()))
    places = {item.get("uid"): place for place, item in enumerate(series)}
    for item in study.get("series", ()):
        if item["uid"] in places:
            place = places[item["uid"]]
            series[place] = _merged_series(series[place], item)
        else:
            series.append(item)
    modalities = list(stored.get("modality", ()))
    modalities += [item for item in study.get("modality", ()) if item not in modalities]
    return {**stored, "modality": modalities, "series": series}


def _merged_series(stored: Json, series: Json) -> Json:
    instances = list(stored.get("instance", ()))
    listed = {item.get("uid") for item in instances}
    instances += [item for item in series.get("instance", ()) if item["uid"] not in listed]
    counts = (stored.get("numberOfInstances", 0), series.get("numberOfInstances", 0), len(instances))
    return {**stored, "numberOfInstances": max(counts), **({"instance": instances} if instances else {})}
