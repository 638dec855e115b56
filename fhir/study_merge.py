"""The ImagingStudy of several runs: each adds its series and instances to the one that a run of ours created.

Two models read one study, and a late slice makes a second revision whose objects lie in the same series: the server has
one ImagingStudy for all of them. A create alone would leave it with what the first run knew. What is listed is never
taken away, since the PACS has it, so the order in which runs arrive does not matter. The hospital's own ImagingStudy,
which lacks our tag, is left as it is: what it lists is for whoever keeps it.
"""

from __future__ import annotations

import copy
from enum import Enum, auto

from fhir.context import STUDY_TAG
from fhir.release import Json
from fhir.stored import Search, has_identifier, kind_of, name_of, rename, tag_of, unversioned, update


class StudyState(Enum):
    """What the server has of a study, before a run is posted."""

    UNKNOWN = auto()
    THERE = auto()
    UNSEARCHED = auto()


def with_study(bundle: Json, search: Search, base: str) -> tuple[Json, StudyState]:
    """``bundle`` whose ImagingStudy updates the one that is stored, where that is ours and lacks something of it.

    ``base`` is the server's URL. An update names the version that was read. The Bundle is not changed.
    """
    entry = next((item for item in bundle.get("entry", ()) if kind_of(item) == "ImagingStudy"), None)
    tag = tag_of(entry["resource"], STUDY_TAG) if entry else ""
    if entry is None or not tag:  # an older version of Candela wrote it
        return bundle, StudyState.UNSEARCHED
    study = entry["resource"]
    identifier = study["identifier"][0]
    found = search("ImagingStudy", {"identifier": f"{identifier['system']}|{identifier['value']}"})
    if found is None:
        return bundle, StudyState.UNSEARCHED
    known = [item for item in found if has_identifier(item, identifier)]
    if not known:
        return bundle, StudyState.UNKNOWN
    ours = [item for item in known if tag_of(item, STUDY_TAG) == tag]
    if len(known) > 1 or not ours:
        return bundle, StudyState.THERE
    merged = merge(ours[0], study)
    if merged == ours[0]:
        return bundle, StudyState.THERE
    made = copy.deepcopy({**bundle, "entry": [item for item in bundle["entry"] if item is not entry]})
    made["entry"].insert(0, update({**merged, "meta": unversioned(merged["meta"])}, ours[0], base))
    rename(made, {entry["fullUrl"]: name_of(ours[0])})
    return made, StudyState.THERE


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
