"""The SOP classes of the Storage SCP: every storage class of PS3.6, retired ones included."""

from __future__ import annotations

from functools import cache
from typing import Final

from pydicom._uid_dict import UID_dictionary
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.service_class import NonPatientObjectStorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
"""Root of the registered composite storage classes; PS3.6 has lost the names of two retired ones."""
STORES_NOTHING: Final = ("Storage Commitment", "Media Storage Directory")
"""Beginnings of the names of SOP classes that store no instance by C-STORE."""


@cache
def storage_classes() -> tuple[str, ...]:
    """SOP Class UIDs whose instances belong to a patient, by the rule below; those in use first.

    A class of PS3.6 table A-1 stores if its name has the word "Storage", with the exceptions in `STORES_NOTHING`.
    Classes whose instances belong to no patient (hanging protocols, palettes, implants, inventories; PS3.4 annex GG)
    are left out: they have no study and no series, and the store files by series.
    """
    in_use = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    known = [uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and _stores(uid, name)]
    return tuple(dict.fromkeys([*in_use, *known]))


def _stores(uid: str, name: str) -> bool:
    named = "Storage" in name.split() and not name.startswith(STORES_NOTHING)
    nameless = not name and uid.startswith(STORAGE_ROOT)
    return (named or nameless) and uid_to_service_class(uid) is not NonPatientObjectStorageServiceClass
