"""The one patient and study of a series' results, or the refusal of images that name two.

Every instance is compared with every other before any result is made: `reconcile` is called for each reading, on the
command line and in the node, and for the page of a refusal. docs/intake.md has the table of what is refused, noted and
accepted, docs/adr/0047 the reasons.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import MixedPatients, MixedStudies, Refused
from pipeline.patient.attributes import (
    ORDER_AND_VISIT,
    ORDER_AND_VISIT_SEQUENCES,
    PATIENT_AND_STUDY,
    PATIENT_AND_STUDY_SEQUENCES,
)
from pipeline.patient.naming import UNREADABLE, Named, named_by, raw_of, same_name, text_of
from pipeline.patient.requests import REQUESTS
from pipeline.reading.attributes import items, number
from pipeline.reading.files import UNREADABLE as UNREADABLE_HEADER

RIGHT_ONE = (
    "Correct the images at their source and have them read again, or say which of them names the right patient: "
    "`candela jobs identity JOB` of a node, or `candela process --identity UID`."
)
SHOWN_MOST = 5
"""Number of groups of instances that an error names."""
IDENTITIES_MOST = 50
"""A series whose instances name more different patients than this is not compared further."""

BIRTH_DATE, BIRTH_TIME, SEX = "PatientBirthDate", "PatientBirthTime", "PatientSex"
ACCESSION, ACCESSION_ISSUER = "AccessionNumber", "IssuerOfAccessionNumberSequence"
DEIDENTIFIED = ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence")


COMPARED = ("SpecificCharacterSet", *PATIENT_AND_STUDY, *PATIENT_AND_STUDY_SEQUENCES)
"""Keywords of the compared attributes: a header for comparison needs no more."""
COPIED = tuple(Tag(keyword) for keyword in (*PATIENT_AND_STUDY, *PATIENT_AND_STUDY_SEQUENCES, REQUESTS))
ISSUER = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")
UNASSIGNED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")


@dataclass(frozen=True)
class Attribute:
    """An attribute that may differ without naming another patient. ``value`` is "" or () where an instance has none.

    ``with_it`` are left out together with it. ``absence_counts``: an instance without it contradicts one that has it.
    """

    keyword: str
    value: Callable[[Named], Any]
    with_it: tuple[str, ...] = ()
    absence_counts: bool = False


ATTRIBUTES = (
    Attribute(BIRTH_DATE, lambda named: named.birth_date, (BIRTH_TIME,)),
    Attribute(BIRTH_TIME, lambda named: named.birth_time),
    Attribute(SEX, lambda named: named.sex),
    Attribute("OtherPatientIDsSequence", lambda named: named.others),
    Attribute("QualityControlSubject", lambda named: named.quality_control),
    Attribute("PatientIdentityRemoved", lambda named: named.identity_removed, DEIDENTIFIED[1:], absence_counts=True),
    Attribute(ACCESSION, lambda named: named.accession, (ACCESSION_ISSUER,)),
    Attribute(ACCESSION_ISSUER, lambda named: named.accession_issuer, (ACCESSION,)),
    Attribute("StudyID", lambda named: named.study_id),
)
FILLED_IN: tuple[Attribute, ...] = (
    Attribute("PatientID", lambda named: named.patient_id),
    Attribute("IssuerOfPatientID", lambda named: named.issuer),
    Attribute("IssuerOfPatientIDQualifiersSequence", lambda named: named.qualifiers if any(named.qualifiers) else ()),
    Attribute("PatientName", lambda named: named.name.text),
    *(item for item in ATTRIBUTES if item.keyword not in (BIRTH_TIME, "PatientIdentityRemoved", "StudyID")),
)
"""What the results take from the instances that have it, where others lack it; a caveat says so."""


@dataclass(frozen=True)
class Subject:
    """Patient and study of a series' results.

    ``header`` holds Specific Character Set and the attributes of `pipeline.patient.attributes` as the bytes of the
    instance that they come from. ``caveats`` say in what the instances differ.
    """

    header: Dataset
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Group:
    """Instances with the same patient and study. ``differs`` are the DICOM keywords in which they differ from the first
    group; `repr` shows no patient data.
    """

    sop_instance_uids: tuple[str, ...]
    differs: tuple[str, ...]
    named: Named = field(repr=False)


def reconcile(datasets: Sequence[Dataset], identity_from: str | None = None) -> Subject:
    """The patient and study that all of ``datasets``, the instances of one series, name.

    ``identity_from`` is the SOP Instance UID of the instance whose patient an operator has chosen: its attributes are
    then used unchanged.

    Raises
    ------
    MixedStudies
        where the images name two Study Instance UIDs, whatever ``identity_from`` says: no result can refer to both.
    MixedPatients
        where the images name two patients, or do not provably name the same one.
    Refused
        where ``identity_from`` is not an instance of the series.
    """
    ordered = [
        header
        for ds in sorted(datasets, key=lambda ds: (int(number(ds, "InstanceNumber") or 0), str(ds.SOPInstanceUID)))
        for header in (ds, *_frames_with_names(ds))
    ]
    named = [named_by(ds) for ds in ordered]
    where = f"series {ordered[0].SeriesInstanceUID}"
    uids = [str(ds.SOPInstanceUID) for ds in ordered]
    by_study = _by(lambda item: item.study, uids, named)
    if len(by_study) > 1:
        raise MixedStudies(
            f"The images of the series name {len(by_study)} studies (StudyInstanceUID differs): {_listing(by_study)}.",
            where=where,
            todo="Correct the images at their source, and send and read them again under one study.",
        )
    conflict = _conflict(list(dict.fromkeys(named)))
    if identity_from is not None:
        return _chosen(ordered, uids, identity_from, differ=bool(conflict), where=where)
    if conflict:
        by_patient = _by(_patient, uids, named)
        raise MixedPatients(
            f"The images of the series do not name the same patient ({conflict}): {_listing(by_patient)}.",
            where=where,
            todo=RIGHT_ONE,
        )
    return _reconciled(ordered, named)


def refuse_mixed_study(header: Dataset, others: Mapping[str, Dataset]) -> None:
    """Refuse a series whose patient another series of its study contradicts.

    ``header`` is that of the series' representative, ``others`` those of the study's other series by Series Instance
    UID.

    Raises
    ------
    MixedPatients
        naming the contradicting series.
    """
    named = _as_far_as_readable(header)
    compared = {uid: contradiction(named, _as_far_as_readable(other)) for uid, other in others.items()}
    found = {uid: why for uid, why in compared.items() if why}
    if not found:
        return
    shown = ", ".join(f"series {uid}" for uid in sorted(found)[:SHOWN_MOST])
    more = ", ..." if len(found) > SHOWN_MOST else ""
    verb = "Another series of the study names" if len(found) == 1 else f"{len(found)} other series of the study name"
    raise MixedPatients(
        f"{verb} another patient ({found[min(found)]}): {shown}{more}.",
        where=f"series {header.get('SeriesInstanceUID')}",
        todo=RIGHT_ONE,
    )


def groups_of(datasets: Mapping[str, Dataset]) -> tuple[Group, ...]:
    """``datasets`` grouped by patient and study; keys are SOP Instance UIDs. The largest group comes first."""
    named = {uid: named_by(ds) for uid, ds in datasets.items()}
    found = sorted(
        ((items, tuple(uids)) for items, uids in _by(lambda item: item, list(named), list(named.values())).items()),
        key=lambda pair: (-len(pair[1]), pair[1]),
    )
    first = found[0][0]
    return tuple(Group(uids, tuple(_differences(first, item)), item) for item, uids in found)


def contradiction(one: Named, other: Named) -> str:
    """The DICOM keyword in which two instances name different patients; "" without a contradiction.

    An attribute that one of them lacks contradicts nothing; `reconcile` is stricter within one series.
    """
    if one.patient_id and other.patient_id:
        if one.patient_id != other.patient_id:
            return "PatientID differs"
        if one.issuer and other.issuer and one.issuer != other.issuer:
            return "IssuerOfPatientID differs"
        if any(a and b and a != b for a, b in zip(one.qualifiers, other.qualifiers, strict=True)):
            return "IssuerOfPatientIDQualifiersSequence differs"
    if one.name.groups and other.name.groups and not same_name(one.name, other.name):
        return "PatientName differs"
    identified = one.patient_id and other.patient_id
    if not identified and one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        return "PatientBirthDate differs and PatientID is missing"
    return ""


def _as_far_as_readable(header: Dataset) -> Named:
    """The identity by an unchecked header. A damaged one names nobody, and its series is refused when it is read."""
    try:
        return named_by(header)
    except UNREADABLE_HEADER:
        return Named()


def _conflict(distinct: Sequence[Named]) -> str:
    """Why the instances of one series do not provably name the same patient; "" where they do."""
    if len(distinct) > IDENTITIES_MOST:
        return f"more than {IDENTITIES_MOST} different identities"
    pairs = list(combinations(distinct, 2))
    found = next((why for one, other in pairs if (why := contradiction(one, other))), "")
    return found or next((why for one, other in pairs if (why := _unproven(one, other))), "")


def _frames_with_names(ds: Dataset) -> Iterator[Dataset]:
    """Patient and study by the frames of a converted multi-frame ``ds``, where they have values of their own.

    A converter puts an attribute there that differed between the images (PS3.3 C.7.6.16.2.25.1).
    """
    shared, frames = items(ds, "SharedFunctionalGroupsSequence"), items(ds, "PerFrameFunctionalGroupsSequence")
    for group in (*shared, *frames):
        for keyword in UNASSIGNED:
            for item in items(group, keyword):
                own = Dataset({tag: item.get_item(tag) for tag in COPIED if tag in item})
                if own:
                    header = _header(ds)
                    header.SOPInstanceUID = ds.SOPInstanceUID
                    header.update(own)
                    yield header


def _unproven(one: Named, other: Named) -> str:
    """Without a Patient ID on both, name and birth date must show that it is the same patient.

    Where neither has one, their present attributes must agree, so that a series without any identity is read.
    """
    birth, names = one.birth_date == other.birth_date, (bool(one.name.groups), bool(other.name.groups))
    if one.patient_id and other.patient_id:
        shown = True
    elif one.patient_id or other.patient_id:
        shown = birth and bool(one.birth_date) and all(names)
    else:
        shown = birth and names[0] == names[1]
    return "" if shown else "PatientID is missing, and name and birth date do not show that it is one patient"


def _patient(named: Named) -> tuple[Any, ...]:
    return named.patient_id, named.issuer, named.qualifiers, named.name.text, named.birth_date


def _by(key: Callable[[Named], Any], uids: Sequence[str], named: Sequence[Named]) -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = defaultdict(list)
    for uid, item in zip(uids, named, strict=True):
        if uid not in found[key(item)]:
            found[key(item)].append(uid)
    return dict(found)


def _listing(groups: Mapping[Any, Sequence[str]]) -> str:
    ordered = sorted(groups.values(), key=lambda uids: (-len(uids), uids[0]))
    shown = [f"{len(uids)} instance{'s' if len(uids) > 1 else ''} as {uids[0]}" for uids in ordered[:SHOWN_MOST]]
    return ", ".join(shown) + (", ..." if len(ordered) > SHOWN_MOST else "")


def _differences(one: Named, other: Named) -> list[str]:
    keywords = [
        ("StudyInstanceUID", one.study == other.study),
        ("PatientID", one.patient_id == other.patient_id),
        ("IssuerOfPatientID", one.issuer == other.issuer),
        ("IssuerOfPatientIDQualifiersSequence", one.qualifiers == other.qualifiers),
        ("PatientName", one.name.text == other.name.text),
    ]
    found = [keyword for keyword, same in keywords if not same]
    return found + [item.keyword for item in ATTRIBUTES if item.value(one) != item.value(other)]


def _chosen(
    ordered: Sequence[Dataset], uids: Sequence[str], identity_from: str, *, differ: bool, where: str
) -> Subject:
    if identity_from not in uids:
        raise Refused(
            "The instance whose identity was chosen is not one of the series.",
            where=where,
            todo="Name an instance of this series: `candela jobs identity` lists some.",
        )
    header = _header(ordered[uids.index(identity_from)])
    return Subject(header, (Caveat(CaveatCode.IDENTITY_CHOSEN),) if differ else ())


def _reconciled(ordered: Sequence[Dataset], named: Sequence[Named]) -> Subject:
    """The identity of the most complete instance, without differing attributes, completed from the others."""
    best = max(range(len(named)), key=lambda index: (*_completeness(named[index]), -index))
    source = ordered[best]
    header = _header(source)
    left_out: list[str] = []
    for attribute in ATTRIBUTES:
        said = {attribute.value(item) for item in named}
        if len(said if attribute.absence_counts else said - {"", ()}) > 1:
            left_out.append(attribute.keyword)
            for keyword in (attribute.keyword, *attribute.with_it):
                header.pop(Tag(keyword), None)
    dropped = {keyword for item in ATTRIBUTES if item.keyword in left_out for keyword in (item.keyword, *item.with_it)}
    filled: list[str] = []
    for attribute in FILLED_IN:
        values = [attribute.value(item) for item in named]
        if attribute.keyword in dropped or all(values) or not any(values):
            continue
        if values[best] or _fill(header, source, attribute.keyword, ordered, values):
            filled.append(attribute.keyword)
        else:
            left_out.append(attribute.keyword)
    left_out += _leave_out_differing_orders(header, ordered)
    caveats = []
    if left_out:
        caveats.append(Caveat(CaveatCode.ATTRIBUTES_DIFFER, {"attributes": tuple(left_out)}))
    if filled:
        caveats.append(Caveat(CaveatCode.ATTRIBUTES_FILLED_IN, {"attributes": tuple(filled)}))
    spellings = {unicodedata.normalize("NFC", item.name.text) for item in named if item.name.text}
    if len(spellings) > 1:
        caveats.append(Caveat(CaveatCode.NAME_SPELLINGS_DIFFER))
    return Subject(header, tuple(caveats))


def _leave_out_differing_orders(header: Dataset, ordered: Sequence[Dataset]) -> list[str]:
    """Take out of ``header`` the order and visit attributes in which the instances differ, and return their keywords.

    A number goes with its issuer. What an instance lacks differs from nothing.
    """
    differ = [
        keyword
        for keyword in (*ORDER_AND_VISIT, *ORDER_AND_VISIT_SEQUENCES)
        if len({_stated(ds, keyword) for ds in ordered} - {"", ()}) > 1
    ]
    for pair in (ORDER_AND_VISIT[:1], *zip(ORDER_AND_VISIT[1:], ORDER_AND_VISIT_SEQUENCES, strict=True)):
        if set(pair) & set(differ):
            for keyword in pair:
                header.pop(Tag(keyword), None)
    return differ


def _stated(ds: Dataset, keyword: str) -> str | tuple[tuple[str, ...], ...]:
    """A text, or the parts of each issuer of a sequence."""
    if keyword not in ORDER_AND_VISIT_SEQUENCES:
        return text_of(ds, keyword)
    return tuple(tuple(text_of(item, part) for part in ISSUER) for item in items(ds, keyword))


def _completeness(named: Named) -> tuple[bool, ...]:
    return (
        bool(named.patient_id),
        bool(named.issuer or any(named.qualifiers)),
        bool(named.name.text),
        UNREADABLE not in named.name.text,
        bool(named.accession),
        bool(named.birth_date),
        bool(named.sex),
    )


def _fill(header: Dataset, source: Dataset, keyword: str, ordered: Sequence[Dataset], values: Sequence[Any]) -> bool:
    """Take ``keyword`` from the first instance that has it; False where the character set of ``header`` would change
    it.
    """
    donor = next(ds for ds, value in zip(ordered, values, strict=True) if value)
    if keyword in PATIENT_AND_STUDY_SEQUENCES:
        header[keyword] = deepcopy(donor[keyword])
        return True
    same_sets = donor.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")
    if not same_sets and not raw_of(donor, keyword).isascii():
        return False
    header[Tag(keyword)] = donor.get_item(Tag(keyword))
    return True


def _header(source: Dataset) -> Dataset:
    """Patient and study of ``source``, as its own bytes."""
    header = Dataset()
    for tag in (Tag("SpecificCharacterSet"), *COPIED, *map(Tag, (*ORDER_AND_VISIT, *ORDER_AND_VISIT_SEQUENCES))):
        if tag in source:
            header[tag] = deepcopy(source.get_item(tag))
    implicit, little = source.original_encoding
    header.set_original_encoding(implicit, little, source.original_character_set)
    return header
