"""The bundle ``brain_mask`` from the installed package deepbet, whose weights it takes.

``python -m models.bundles_from.deepbet --out DIR`` writes the bundle to DIR; `candela models add DIR` installs it. The
package comes with ``pip install 'candela[brain-mask]'``; Candela ships none of its files and runs none of its code.
"""

from __future__ import annotations

import argparse
import shutil
from importlib import metadata
from pathlib import Path

from models.bundle import sha256
from models.contract import CANDELA, read_contract
from models.workflow.installing.bundle import WorkflowBundle, read_workflow_bundle
from pipeline.errors import BadModel, BadSettings, CandelaError

PACKAGE = "deepbet"
BUNDLE = Path(__file__).parent / "brain_mask"
NETWORKS = {"models/box.ts": "data/models/bbox_model.pt", "models/main.ts": "data/models/model.pt"}
"""The bundle's weights, and the file of the package that each is. Both are TorchScript."""
TODO = "pip install 'candela[brain-mask]'"


def write(out: Path) -> WorkflowBundle:
    """Write the bundle to ``out``, which must be empty or absent.

    Raises
    ------
    BadSettings
        where the package is not installed, or ``out`` holds something.
    BadModel
        where the package's networks are others than those that the bundle was measured with.
    """
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise BadSettings(f"The package {PACKAGE} is not installed.", todo=TODO) from error
    if out.exists() and any(out.iterdir()):
        raise BadSettings("The folder is not empty.", where=str(out), todo="Name a new folder.")
    shutil.copytree(BUNDLE, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (out / "models").mkdir()
    for file, source in NETWORKS.items():
        _copy(package, source, out / file)
    _copy_licence(package, out / "LICENSE")
    _check_digests(package.version, out)
    return read_workflow_bundle(out)


def _copy(package: metadata.Distribution, source: str, target: Path) -> None:
    path = Path(str(package.locate_file(source)))
    if not path.is_file():
        raise BadModel(f"{PACKAGE} {package.version} has no {source}.", where=str(path), todo=TODO)
    shutil.copyfile(path, target)


def _copy_licence(package: metadata.Distribution, target: Path) -> None:
    text = package.read_text("LICENSE") or package.read_text("licenses/LICENSE")
    if text is None:
        raise BadModel(f"{PACKAGE} {package.version} brings no licence.", todo=TODO)
    target.write_text(text)


def _check_digests(version: str, out: Path) -> None:
    """Refuse networks of another release than the one whose digests candela.json holds."""
    for block in read_contract(out / CANDELA).weights:
        if sha256(out / block.file) != block.sha256:
            raise BadModel(
                f"The networks of {PACKAGE} {version} are others than those that the bundle was measured with.",
                where=str(out / block.file),
                todo=TODO,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a new folder; its name is the model's")
    out = parser.parse_args().out
    try:
        write(out)
    except CandelaError as error:
        parser.exit(2, f"{error}\n")
    print(f"{out} is written. Next: candela models add {out}")  # noqa: T201


if __name__ == "__main__":
    main()
