"""Drawings as DICOM, to try an example bundle with ``candela process``.

``python -m models.training.examples.dicom tumour_regions --out DIR`` writes a study of four MR series;
``chest_findings`` and ``chest_objects`` each a DX image. ``--seed`` chooses the drawing; the seeds from `HELD_OUT` on
were in no training.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from models.training.examples.brains import WEIGHTINGS, study
from models.training.examples.chests import SIDE_MM, chest
from pipeline import phantom
from pipeline.findings.identity import derived_uid
from pipeline.geometry.volume import Volume
from pipeline.phantom_projection import Film, chest_film

HELD_OUT = 100_000
SIDE = 256


@dataclass(frozen=True)
class Sequence:
    """How a spin echo series is acquired: times in ms, and what the header says of it."""

    words: str
    repetition: str
    echo: str
    train: str = "1"
    inversion: str | None = None
    contrast: bool = False


SEQUENCES = {
    "t1": Sequence("T1 SE", "500", "15"),
    "t1c": Sequence("T1 SE POST GD", "500", "15", contrast=True),
    "t2": Sequence("T2 TSE", "4000", "100", "12"),
    "flair": Sequence("FLAIR", "9000", "120", "12", inversion="2500"),
}


def head_series(seed: int) -> dict[str, tuple[Dataset, ...]]:
    """The four series of the drawn head of ``seed``, with a tumour, by weighting: one study, one frame of reference."""
    drawn = study(seed, tumour=True)
    return {name: _series(drawn.series[name], name, number, seed) for number, name in enumerate(WEIGHTINGS, start=1)}


def chest_image(seed: int, *, objects: bool) -> Dataset:
    """The drawn chest of ``seed`` as a frontal DX image."""
    drawn = chest(seed, SIDE, objects=objects)
    key = f"drawn chest/{seed}/{'objects' if objects else 'findings'}"
    ds = chest_film("PA", Film(shape=(SIDE, SIDE), key=key))
    ds.ImagerPixelSpacing = [SIDE_MM / SIDE] * 2
    ds.StudyDescription, ds.SeriesDescription = "DRAWN CHEST", "Chest PA drawing"
    ds.PatientID, ds.PatientName = f"DRAWN-{seed}", "Drawn^Chest"
    ds.PixelData = drawn.image.astype("<u2").tobytes()
    return ds


def _series(volume: Volume, name: str, number: int, seed: int) -> tuple[Dataset, ...]:
    """``volume`` as classic MR instances with its own position in the patient."""
    how, (thickness, pixel, _) = SEQUENCES[name], volume.spacing
    header = phantom.Header(
        patient_id=f"DRAWN-{seed}",
        patient_name="Drawn^Head",
        study_description="DRAWN HEAD WITH A TUMOR",
        series_description=f"{how.words} drawing",
        accession_number=f"DRAWN-{seed}",
        key=f"drawn head/{seed}/{name}",
    )
    made = phantom.series_from_arrays(
        volume.array.round(), plane="axial", pixel_spacing=pixel, slice_spacing=thickness, header=header
    )
    across, down = (volume.affine[:3, axis] / pixel for axis in (2, 1))
    for index, ds in enumerate(made):
        ds.StudyInstanceUID = derived_uid("drawn head", str(seed), "study")
        ds.FrameOfReferenceUID = derived_uid("drawn head", str(seed), "frame")
        ds.SeriesNumber = number
        ds.ImageOrientationPatient = [round(float(value), 10) for value in (*across, *down)]
        place: Any = volume.affine[:3, 3] + volume.affine[:3, 0] * index
        ds.ImagePositionPatient = [round(float(value), 6) for value in place]
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = how.repetition, how.echo, how.train
        if how.inversion is not None:
            ds.ScanningSequence, ds.InversionTime = ["SE", "IR"], how.inversion
        if not how.contrast:
            del ds.ContrastBolusAgent
        top = float(np.percentile(volume.array, 99.5))
        ds.WindowCenter, ds.WindowWidth = f"{top / 2:.0f}", f"{top:.0f}"
    return made


def write(name: str, out: Path, seed: int) -> list[Path]:
    """The files of the drawing of ``seed`` for the example called ``name``, in ``out`` (created where missing)."""
    if name == "tumour_regions":
        return [path for key, made in head_series(seed).items() for path in phantom.save(made, out / key)]
    return phantom.save([chest_image(seed, objects=name == "chest_objects")], out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["tumour_regions", "chest_findings", "chest_objects"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=HELD_OUT)
    arguments = parser.parse_args()
    paths = write(arguments.name, arguments.out, arguments.seed)
    print(f"{len(paths)} instances are in {arguments.out}")  # noqa: T201


if __name__ == "__main__":
    main()
