"""The node as an application entity: every association, asked for or accepted, announces the same implementation."""

from __future__ import annotations

from pynetdicom import AE

from dicom_node.network.requestor import Requestor
from dicom_node.store.instance_store import IMPLEMENTATION_CLASS_UID, implementation_version


def application_entity(title: str) -> AE:
    """An AE called ``title`` with Candela's Implementation Class UID and Version Name (PS3.7 D.3.3.2)."""
    ae = Requestor(title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = implementation_version()
    return ae
