"""References from results to source images: whole instances, and frames of multi-frame instances.

highdicom (0.28.2) takes either a series of single-frame images or one multi-frame object with all its frames in their
order. A volume may be some of an object's frames, in another order, or the frames of several objects. So each plane
is passed to highdicom as a single-frame image, and `name_frames` then replaces each reference by the true one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from pipeline.findings.identity import RunIdentity
from pipeline.geometry.volume import Volume

WHOLE_INSTANCES = "ReferencedInstanceSequence"
"""Common Instance Reference (PS3.3 C.12.2): instances, never frames."""


def instance_reference(ds: Dataset) -> Dataset:
    """An item of a sequence that refers to the instance ``ds`` (SOP Instance Reference Macro, PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = ds.SOPClassUID
    item.ReferencedSOPInstanceUID = ds.SOPInstanceUID
    return item


def series_reference(volume: Volume) -> Dataset:
    """An item that refers to the instances of ``volume`` (Common Instance Reference, PS3.3 C.12.2)."""
    item = Dataset()
    item.SeriesInstanceUID = volume.series_instance_uid
    item.ReferencedInstanceSequence = [instance_reference(ds) for ds in instances(volume)]
    return item


def image_reference(volume: Volume, index: int) -> Dataset:
    """An item that refers to the image of plane ``index``: its instance, or its frame of it."""
    return _reference(volume, [index])


def _reference(volume: Volume, indices: Sequence[int]) -> Dataset:
    """An item that refers to the images of the planes ``indices``, which lie in one instance.

    Referenced Frame Number is present only where the instance is multi-frame and some of its frames are meant (type 1C
    in the Image SOP Instance Reference Macro, PS3.3 10.3).
    """
    source = volume.sources[indices[0]]
    item = instance_reference(source)
    frames = sorted({frame for index in indices if (frame := volume.frame(index)) is not None})
    if frames and len(frames) != int(source.get("NumberOfFrames") or 0):
        item.ReferencedFrameNumber = frames if len(frames) > 1 else frames[0]
    return item


def instances(volume: Volume) -> tuple[Dataset, ...]:
    """The header of each stored source instance, once, in the order in which its first plane comes."""
    return tuple({str(ds.SOPInstanceUID): ds for ds in reversed(volume.sources)}.values())[::-1]


def stand_in_identity(volume: Volume, run: RunIdentity, index: int) -> tuple[str, str]:
    """SOP Class UID and SOP Instance UID under which highdicom gets plane ``index``.

    A single-frame instance keeps its own. A frame gets a UID of its own and a single-frame SOP class: highdicom
    decides by the class.
    """
    source, frame = volume.sources[index], volume.frame(index)
    if frame is None:
        return str(source.SOPClassUID), str(source.SOPInstanceUID)
    return str(MRImageStorage), run.uid("frame", str(source.SOPInstanceUID), f"{frame}")


def name_frames(ds: Dataset, volume: Volume, run: RunIdentity) -> None:
    """Replace the references in ``ds``, at any depth, to placeholders of frames by the true ones.

    References in one sequence to frames of one instance become one item.
    """
    planes = {
        stand_in_identity(volume, run, index)[1]: index
        for index in range(len(volume.sources))
        if volume.frame(index) is not None
    }
    if planes:
        _name_frames(ds, volume, planes)


def _name_frames(ds: Dataset, volume: Volume, planes: dict[str, int]) -> None:
    for element in ds:
        if element.VR != "SQ":
            continue
        if any(item.get("ReferencedSOPInstanceUID") in planes for item in element.value):
            element.value = _merged(element.value, element.keyword, volume, planes)
        else:
            for item in element.value:
                _name_frames(item, volume, planes)


def _merged(items: Sequence[Dataset], keyword: str, volume: Volume, planes: dict[str, int]) -> list[Dataset]:
    """``items`` with references to placeholders merged into one item an instance, in the order of first appearance."""
    frames: dict[str, list[int]] = defaultdict(list)
    merged: dict[str, Dataset] = {}
    for item in items:
        index = planes.get(item.ReferencedSOPInstanceUID)
        uid = str(item.ReferencedSOPInstanceUID if index is None else volume.sources[index].SOPInstanceUID)
        merged.setdefault(uid, Dataset()).update(item)
        if index is not None:
            frames[uid].append(index)
    for uid, indices in frames.items():
        source = volume.sources[indices[0]]
        true = instance_reference(source) if keyword == WHOLE_INSTANCES else _reference(volume, indices)
        merged[uid].update(true)
    return list(merged.values())
