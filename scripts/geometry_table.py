"""A table of Candela's geometry for every series in a folder, beside two other readers. Run as
scripts/geometry-table.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pydicom  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402

from models.runtime import load_model  # noqa: E402
from pipeline.errors import Refused  # noqa: E402
from pipeline.geometry.build import build_volume  # noqa: E402
from pipeline.geometry.volume import Volume  # noqa: E402
from pipeline.ports import SeriesModel  # noqa: E402
from pipeline.process import process  # noqa: E402
from pipeline.reading.files import Series, read_files  # noqa: E402
from tools.geometry_readers import compare, dcm2niix, has_dcm2niix, series_in, simpleitk  # noqa: E402

MODEL = "brain_mri_tumor"
COLUMNS = (
    *("series", "what it is", "outcome", "slices, rows, columns", "spacing, mm"),
    *("dcm2niix, mm", "SimpleITK, mm", "CPU s"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="searched through; the series in one folder are told by their UID")
    folder = parser.parse_args().folder.resolve()
    with _quiet():
        model = load_model(MODEL)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for name, paths in series_in(folder):
        with _quiet():
            row = _row(name, paths, model)
        print(row, flush=True)


def _row(name: str, paths: Sequence[Path], model: SeriesModel) -> str:
    start = time.process_time()
    volume = None
    try:
        series = read_files(paths, paths[0].parent)
    except Refused as refusal:
        header = pydicom.dcmread(paths[0], stop_before_pixels=True)
        outcome = f"refused, `{refusal.code}`"
    else:
        header = series.header
        outcome, volume = _outcome(series, model)
    seconds = f"{time.process_time() - start:.1f}"
    if volume is None:
        cells = ("", "", "", "")
    else:
        shape = " × ".join(map(str, volume.shape))
        spacing = " × ".join(f"{mm:.4g}" for mm in volume.spacing)
        cells = (shape, spacing, _difference(volume, paths, "dcm2niix"), _difference(volume, paths, "SimpleITK"))
    return f"| {' | '.join((name, _kind(header, len(paths)), outcome, *cells, seconds))} |"


def _outcome(series: Series, model: SeriesModel) -> tuple[str, Volume | None]:
    """The outcome of `candela process` for the series, and its volume, even where the model does not read it.

    The volume is None where the geometry is refused.
    """
    try:
        processed = process(series, model, now=time.monotonic, recorded=datetime(2026, 1, 1, tzinfo=UTC))
    except Refused as refusal:
        outcome = f"refused, `{refusal.code}`"
    else:
        return str(processed.findings.outcome).replace("_", " "), processed.volume
    try:
        return outcome, build_volume(series.datasets)
    except Refused as refusal:
        return outcome if refusal.code in outcome else f"{outcome}, `{refusal.code}`", None


def _kind(header: Dataset, files: int) -> str:
    """Scanner and shape of the objects, from tags that name nobody."""
    scanner = " ".join(str(header.get(name) or "").strip() for name in ("Manufacturer", "ManufacturerModelName"))
    frames = int(header.get("NumberOfFrames") or 1)
    shape = f"{files} file{'s' if files > 1 else ''}, {header.SOPClassUID.name.removesuffix(' Storage')}"
    mosaic = ", mosaic" if "MOSAIC" in (header.get("ImageType") or ()) else ""
    return f"{scanner.strip()}, {shape}{mosaic}{f' of {frames} frames' if frames > 1 else ''}"


def _difference(volume: Volume, paths: Sequence[Path], reader: str) -> str:
    """The largest distance between the two positions of a voxel, and whether voxels differ."""
    if reader == "dcm2niix" and not has_dcm2niix():
        return "not installed"
    grids = dcm2niix(paths) if reader == "dcm2niix" else simpleitk(paths)
    if not grids:
        return "does not read it"
    found = compare(volume, grids)
    if found.mm == float("inf"):
        return "other voxels"
    return f"{found.mm:.4f}{'' if found.voxels else ', other values'}"


@contextmanager
def _quiet() -> Iterator[None]:
    """ITK writes warnings to the file descriptor of stderr; the table goes to stdout, one whole row at a time."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


if __name__ == "__main__":
    main()
