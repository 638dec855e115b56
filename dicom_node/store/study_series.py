"""The other series of a study that the store holds, as the receiver's index lists them; read only."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from pathlib import Path

from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.settings.tree import Settings
from dicom_node.store.manifest import StoredInstance
from dicom_node.store.rejected_instances import RejectedInstances
from pipeline.errors import OutOfResources

INDEX = "index.sqlite"
"""The file of `dicom_node.store.series_index` in ``data_dir``."""

OTHERS = """
SELECT series_instance_uid, sop_instance_uid, path FROM instances
WHERE NOT own AND series_instance_uid != :series AND sop_class_uid IS NOT :selection
AND series_instance_uid IN (SELECT series_instance_uid FROM series WHERE study_instance_uid = :study)
ORDER BY series_instance_uid, sop_instance_uid, version DESC
"""


CURRENT = """
SELECT path, sop_instance_uid, sha256 FROM instances
WHERE NOT own AND series_instance_uid = :series
ORDER BY sop_instance_uid, version DESC
"""


def other_series(settings: Settings, study_instance_uid: str, series_instance_uid: str) -> dict[str, Path]:
    """The current version of one instance of each other series of the study, by Series Instance UID.

    Leaves out Candela's own results, key object selections, which point at images and show none, and instances that
    were rejected at their source: the corrected ones may name another patient. A node that has received nothing yet
    has no series.

    Raises
    ------
    OutOfResources
        where the index cannot be read now.
    """
    found: dict[str, Path] = {}
    rejected = functools.cache(RejectedInstances(settings.rejected_dir).of)
    values = {
        "study": study_instance_uid,
        "series": series_instance_uid,
        "selection": KeyObjectSelectionDocumentStorage,
    }
    for series, instance, path in _rows(settings, OTHERS, **values):
        if instance not in rejected(series):
            found.setdefault(series, settings.store_dir.absolute() / path)
    return found


def current_instances(settings: Settings, series_instance_uid: str) -> tuple[StoredInstance, ...]:
    """The current version of each instance of a series that is not Candela's own. Raises as `other_series`."""
    found: dict[str, StoredInstance] = {}
    for path, name, digest in _rows(settings, CURRENT, series=series_instance_uid):
        found.setdefault(name, StoredInstance(str(settings.store_dir.absolute() / path), name, digest))
    return tuple(found.values())


def _rows(settings: Settings, statement: str, **values: str) -> list[tuple[str, ...]]:
    index = settings.data_dir / INDEX
    if not index.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{index.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise OutOfResources(
            f"The index of the store cannot be read ({type(error).__name__}).",
            where=str(index),
            todo="Check its permissions and the disk; it is tried again.",
        ) from error
