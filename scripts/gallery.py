"""Overlay pages of some series as PNG files with a README that shows them: a gallery.

    scripts/gallery                          docs/gallery, from phantoms and drawings that Candela computes
    scripts/gallery --out FOLDER SERIES ...  from series of yours (folders, zips or DICOM files)

The pages name nobody, but they are pictures of a patient: choose their place with care. The PDF report names the
patient and is left out unless --pdf asks for it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dicom_node.inference.output import PREVIEWS, SUMMARY  # noqa: E402
from dicom_node.inference.process_path import process_path  # noqa: E402
from dicom_node.observability.log import configure  # noqa: E402
from dicom_node.settings.tree import Settings, load  # noqa: E402
from models.training.examples.dicom import HELD_OUT, write  # noqa: E402
from pipeline import phantom  # noqa: E402
from pipeline.report.sentences import Language  # noqa: E402
from pipeline.report.stored import page_filename  # noqa: E402

PDF = page_filename(Language.ENGLISH)
PHANTOMS = ROOT / "docs" / "gallery"
EXAMPLES = ROOT / "examples" / "bundles"
Case = tuple[str, str, Path, str | None]
"""The name of the files, the title, the series, and the model; None for the one that the rules choose."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/gallery", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("series", type=Path, nargs="*", help="series of your own; none: phantoms")
    parser.add_argument("--out", type=Path, help="folder of the gallery (made where missing; needed for own series)")
    parser.add_argument("--model", help="the model to run (default: the one that the rules choose)")
    parser.add_argument("--config", type=Path, help="candela.toml")
    parser.add_argument("--pages", type=int, default=4, help="pages of each series at most (default 4)")
    parser.add_argument("--pdf", action="store_true", help="the PDF report too: it names the patient")
    options = parser.parse_args()
    if options.series and options.out is None:
        parser.error("give --out a folder for your own series")
    missing = [path for path in options.series if not path.exists()]
    if missing:
        parser.error(f"there is nothing at {missing[0]}")
    configure()
    settings = load(options.config)
    out: Path = options.out or PHANTOMS
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        given = [
            (f"series-{number}", path.name, path, options.model) for number, path in enumerate(options.series, start=1)
        ]
        if not given:
            settings = settings.model_copy(
                update={"models": settings.models.model_copy(update={"folders": (EXAMPLES,)})}
            )
            given = [*phantoms(work / "made"), *drawings(work / "made")]
        parts = []
        for key, title, path, model in given:
            print(f"{title} ...", flush=True)
            pdf = options.pdf or not options.series
            parts.append(entry(key, title, path, work / key, out, settings, model, options.pages, pdf=pdf))
    head = "# Gallery\n\nOverlay pages as `candela process` makes them. AI results, not verified, not for diagnosis.\n"
    made = (
        ""
        if options.series
        else "\nMade by `scripts/gallery` from phantoms and drawings that Candela computes; nobody is shown.\n"
    )
    (out / "README.md").write_text("\n".join([head + made, *parts]))
    print(f"{out / 'README.md'}")
    return 0


def phantoms(folder: Path) -> Iterator[Case]:
    """The heads that docs/gallery shows, for the model that the rules choose."""
    axial = phantom.head_phantom()
    for key, title, datasets in (
        ("lesion", "A computed head with a bright lesion, axial", axial),
        ("sagittal", "The same, acquired in sagittal slices", phantom.head_phantom(plane="sagittal")),
        ("healthy", "The same head without a lesion", phantom.head_phantom(lesion=False)),
        ("refused", "A slice is missing: the page that `--refusal-page` writes", axial[:10] + axial[11:]),
    ):
        phantom.save(datasets, folder / key)
        yield key, title, folder / key, None


def drawings(folder: Path) -> Iterator[Case]:
    """The drawings that docs/gallery shows, one for each example bundle."""
    for name, title in (
        (
            "tumour_regions",
            "Four series of a head, three nested regions: example bundle tumour_regions, a drawing",
        ),
        ("chest_objects", "A chest radiograph, boxes: example bundle chest_objects, a drawing"),
        ("chest_findings", "A chest radiograph, classes: example bundle chest_findings, a drawing"),
    ):
        write(name, folder / name, HELD_OUT)
        yield name, title, folder / name, name


def entry(
    key: str,
    title: str,
    path: Path,
    work: Path,
    out: Path,
    settings: Settings,
    model: str | None,
    pages: int,
    *,
    pdf: bool,
) -> str:
    """Read one series, put its pages into ``out``, and return its part of the README."""
    process_path(path, work, settings, model=model, progress=lambda _stage: None, with_page=True)
    summary = json.loads((work / SUMMARY).read_text())
    for old in (*out.glob(f"{key}-[0-9].png"), out / f"{key}.pdf"):
        old.unlink(missing_ok=True)
    said = f"Refused ({summary['code']}): {summary['reason']}" if "code" in summary else answer(summary)
    lines = [f"## {title}", "", said, ""]
    for number, page in enumerate(sorted((work / PREVIEWS).glob("*.png"))[:pages], start=1):
        name = f"{key}-{number}.png"
        shutil.copyfile(page, out / name)
        lines.append(f"![{title}, page {number}]({name})")
    if pdf and (work / PDF).is_file():
        shutil.copyfile(work / PDF, out / f"{key}.pdf")
        lines += ["", f"[The report as one PDF page]({key}.pdf)"]
    return "\n".join([*lines, ""])


def answer(summary: dict[str, object]) -> str:
    """What was found, in a line."""
    model = summary["model"]
    assert isinstance(model, dict)
    return f"{model['name']} {model['version']}: {summary['statement']}"


if __name__ == "__main__":
    sys.exit(main())
