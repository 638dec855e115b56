"""The registry lists what is a bundle, and says of everything else why it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import registry
from models.runtime import load_model
from pipeline.errors import BadModel
from tests.peers.tiny_bundle import classifying


def test_a_folder_of_bundles_joins_the_shipped_ones(tmp_path: Path) -> None:
    """Bundles in an administrator's folder are listed beside those that ship; a folder without a bundle is not."""
    classifying(tmp_path)
    (tmp_path / "not a bundle").mkdir()
    assert [entry.name for entry in registry.entries((tmp_path,))] == ["brain_mri_tumor", "tiny"]


def test_a_name_is_used_once(tmp_path: Path) -> None:
    """A bundle that would hide a shipped one is refused."""
    classifying(tmp_path, name="brain_mri_tumor")
    with pytest.raises(BadModel, match="Two bundles"):
        registry.get("brain_mri_tumor", (tmp_path,))
    with pytest.raises(BadModel, match="Two bundles"):
        registry.entries((tmp_path,))


def test_two_folders_may_not_share_a_name(tmp_path: Path) -> None:
    """Nor do two bundles of an administrator's have one name, and one folder may not be given twice."""
    first, second = tmp_path / "a", tmp_path / "b"
    classifying(first)
    classifying(second)
    with pytest.raises(BadModel, match="Two bundles"):
        registry.get("tiny", iter((first, second)))
    with pytest.raises(BadModel, match="Two bundles"):
        registry.entries((first, first))


def test_an_unknown_model_is_refused_with_what_is_known(tmp_path: Path) -> None:
    """A wrong name, or a folder that is not there, is answered with what to check."""
    with pytest.raises(BadModel, match="Known: brain_mri_tumor"):
        registry.get("brain_mri_tumour")
    with pytest.raises(BadModel, match=r"models\.folders"):
        registry.entries((tmp_path / "nowhere",))


def test_a_folder_of_models_that_is_a_file_or_a_loop_is_refused(tmp_path: Path) -> None:
    """models.folders names folders."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "loop"):
        with pytest.raises(BadModel, match=r"models\.folders") as told:
            registry.entries((tmp_path / name,))
        assert told.value.where == str(tmp_path / name)


@pytest.mark.parametrize("kind", ["loop", "file", "empty", "dangling"])
def test_what_is_no_bundle_is_passed_over_and_named_when_asked_for(tmp_path: Path, kind: str) -> None:
    """A symlink loop, a file, an empty folder or a link to nothing does not hide the other bundles."""
    classifying(tmp_path)
    odd = tmp_path / "odd"
    if kind == "loop":
        odd.symlink_to(odd)
    elif kind == "dangling":
        odd.symlink_to(tmp_path / "gone")
    elif kind == "file":
        odd.write_text("")
    else:
        odd.mkdir()
    assert [entry.name for entry in registry.entries((tmp_path,))] == ["brain_mri_tumor", "tiny"]
    with pytest.raises(BadModel, match="it is not a bundle"):
        registry.get("odd", (tmp_path,))


def test_a_bundle_may_be_a_link(tmp_path: Path) -> None:
    """Bundles kept elsewhere can be linked to; the name is the link's."""
    folder = classifying(tmp_path / "store", name="tiny-2026-11")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(folder)
    assert registry.get("tiny", (tmp_path / "models",)).name == "tiny"


@pytest.mark.parametrize("name", ["two words", "umlaut-ä", "semi;colon", "a" * 65, "new\nline", "-rf", "$(id)"])
def test_an_odd_name_is_refused(tmp_path: Path, name: str) -> None:
    """A name that does not fit settings, commands and DICOM's Long String is refused; its neighbours still load."""
    classifying(tmp_path, name=name)
    classifying(tmp_path)
    with pytest.raises(BadModel, match="A bundle's name is"):
        registry.entries((tmp_path,))
    with pytest.raises(BadModel, match="A bundle's name is"):
        load_model(name, folders=(tmp_path,))
    assert registry.get("tiny", (tmp_path,)).name == "tiny"


@pytest.mark.parametrize("name", ["../tiny", "", ".", "..", "/etc", "tiny/"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    """What leads elsewhere names no model."""
    classifying(tmp_path)
    with pytest.raises(BadModel, match="There is no model"):
        registry.get(name, (tmp_path / "tiny", tmp_path))


def test_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    """What a synchronising tool leaves behind is no model."""
    classifying(tmp_path, name=".tiny.partial")
    assert [entry.name for entry in registry.entries((tmp_path,))] == ["brain_mri_tumor"]


def test_a_broken_bundle_does_its_neighbours_no_harm(tmp_path: Path) -> None:
    """One bundle that cannot be read does not stop another from being loaded."""
    classifying(tmp_path)
    broken = classifying(tmp_path, name="broken")
    (broken / "configs/metadata.json").write_text("{")
    assert registry.get("tiny", (tmp_path,)).name == "tiny"
    with pytest.raises(BadModel, match="broken"):
        registry.entries((tmp_path,))


def test_a_card_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A model card in another encoding is told, not shown as rubbish."""
    folder = classifying(tmp_path)
    (folder / "docs/README.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadModel, match=r"README\.md"):
        registry.get("tiny", (tmp_path,)).card()
