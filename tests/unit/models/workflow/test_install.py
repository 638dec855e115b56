"""`candela models add`: bundles come in whole or not at all, and get a first contract that guesses nothing."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from torch import nn

from models import registry
from models.contract import unfinished
from models.workflow.installing.check import check_workflow
from models.workflow.installing.install import add
from models.workflow.installing.series_names import series_rules
from models.workflow.installing.trial import trial_series
from pipeline.errors import BadModel, BadSettings, SeveralCandidates
from pipeline.findings.model import AnswerKind
from pipeline.routing.channels import choose_channels
from pipeline.routing.selection import Candidate
from pipeline.routing.series_attributes import describe
from tests.peers import heads
from tests.peers.workflow_bundle import HALF, INVERT, METADATA, PRED, write_bundle

SIGMOID = {"_target_": "Activationsd", "keys": PRED, "sigmoid": True}
SOFTMAX = {"_target_": "Activationsd", "keys": PRED, "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": PRED, "argmax": True}


def published(
    folder: Path, *, channel_def: list[str] | None = None, inputs: dict[str, Any] | None = None, **parts: Any
) -> Path:
    """A bundle as the zoo publishes them: without a candela block."""
    write_bundle(folder, contract={}, **parts)
    described = json.loads(json.dumps(METADATA))
    data = described["network_data_format"]
    data["inputs"]["image"].update(inputs or {})
    names = channel_def or ["spot"]
    data["outputs"]["pred"].update(
        num_channels=len(names), channel_def={str(index): name for index, name in enumerate(names)}
    )
    (folder / "configs" / "metadata.json").write_text(json.dumps(described))
    return folder


def zipped(folder: Path, archive: Path, *, top: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                out.write(path, f"{top}{path.relative_to(folder)}")
    return archive


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "installed"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a top folder"])
def test_a_bundle_is_added_checked_and_listed(tmp_path: Path, models: Path, form: str) -> None:
    source = published(tmp_path / "spots")
    (source / ".git").mkdir()
    (source / ".git" / "config").write_text("not ours")
    if form != "folder":
        top = "spots-1.0/" if "top" in form else ""
        source = zipped(source, tmp_path / "spots.zip", top=top)
    bundle = add(source, models)
    assert (bundle.name, bundle.kind, bundle.version) == ("spots", AnswerKind.SEGMENTATION, "0.1.0")
    assert [path.name for path in models.iterdir()] == ["spots"]
    assert not (models / "spots" / ".git").exists()
    entry = registry.get("spots", (models,))
    assert (entry.kind, entry.digest) == ("segmentation", bundle.digest)
    lines = list(check_workflow(bundle, "cpu"))
    assert any("Spot: " in line or "spot: " in line for line in lines)
    assert lines[-1] == f"spots 0.1.0 is sound; digest {bundle.digest}"
    assert "99CANDELA" in " ".join(unfinished(bundle.contract))


def answer_of(tmp_path: Path, models: Path, **parts: Any) -> dict[str, Any]:
    bundle = add(published(tmp_path / "made", **parts), models)
    block: dict[str, Any] = json.loads((bundle.folder / "configs" / "candela.json").read_text())
    return block


def test_labels_of_argmax_have_the_names_of_their_channels(tmp_path: Path, models: Path) -> None:
    names = ["background", "Left Kidney", "right-kidney", "1st lobe"]
    block = answer_of(tmp_path, models, channel_def=names, post=[SOFTMAX, INVERT, ARGMAX])
    assert block["answer"]["form"] == "labels"
    assert [(item["value"], item["name"], item["title"]) for item in block["answer"]["structures"]] == [
        (1, "left_kidney", "Left Kidney"),
        (2, "right_kidney", "right-kidney"),
        (3, "n1st_lobe", "1st lobe"),
    ]
    assert all("code" not in item for item in block["answer"]["structures"])


def test_labels_that_mix_channels_are_not_named(tmp_path: Path, models: Path) -> None:
    """As in brats_mri_segmentation: whole tumour minus core is no channel, and only the publisher knows its name."""
    mixed = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
    steps = [SIGMOID, INVERT, HALF, {"_target_": "Lambdad", "keys": PRED, "func": mixed}]
    block = answer_of(tmp_path, models, channel_def=["core", "whole", "enhancing"], post=steps)
    assert [(item["value"], item["name"]) for item in block["answer"]["structures"]] == [
        (1, "label_1"),
        (2, "label_2"),
        (4, "label_4"),
    ]


def test_channels_that_overlap_stay_channels(tmp_path: Path, models: Path) -> None:
    block = answer_of(tmp_path, models, channel_def=["core", "whole"], post=[SIGMOID, HALF])
    assert (block["answer"]["form"], block["answer"]["channels"]) == ("channels", 2)
    assert [item["value"] for item in block["answer"]["structures"]] == [0, 1]


def several(*names: str) -> dict[str, Any]:
    """An MR input of which each channel is one of ``names``."""
    defined = {str(index): name for index, name in enumerate(names)}
    return {"num_channels": len(names), "modality": "MR", "channel_def": defined}


def test_grey_as_rgb(tmp_path: Path, models: Path) -> None:
    block = answer_of(tmp_path / "grey", models, inputs={"num_channels": 3, "modality": "Mammogram"})
    assert block["inputs"][0] == {
        "key": "image",
        "kind": "projection",
        "channels": [{"name": "image"}],
        "repeat": 3,
    }


T1, T1C, T2 = (
    {"weightings": ["T1"], "contrast": False},
    {"weightings": ["T1"], "contrast": True},
    {"weightings": ["T2"]},
)
FLAIR = {"weightings": ["FLAIR"]}


@pytest.mark.parametrize(
    ("names", "rules"),
    [
        (("T1c", "T1", "T2", "FLAIR"), (T1C, T1, T2, FLAIR)),
        (("FLAIR", "T1w", "T1gd", "T2w"), (FLAIR, T1, T1C, T2)),
        (("t1n", "t1ce", "t2w", "t2f"), (T1, T1C, T2, FLAIR)),
        (("T1-weighted", "T1 Gd", "T2-weighted", "T2-FLAIR"), (T1, T1C, T2, FLAIR)),
        (("MRI T1", "T1 post-contrast", "T2 MRI", "PD"), (T1, T1C, T2, {"weightings": ["PD"]})),
        (("T1", "T2"), ({"weightings": ["T1"]}, T2)),
        (("T1", "T1c", "ADC", "T2*"), (T1, T1C, {}, {})),
        (("T1 FLAIR", "T1 map", "T2 T1", "channel 3"), ({}, {}, {}, {})),
        (("T2", "T2w", "FLAIR"), ({}, {}, FLAIR)),
    ],
)
def test_channels_of_the_fields_names_get_the_rule_of_their_series(
    names: tuple[str, ...], rules: tuple[dict[str, Any], ...]
) -> None:
    assert tuple(series_rules(names)) == rules


def test_each_channel_of_an_installed_brats_bundle_gets_its_series(tmp_path: Path, models: Path) -> None:
    bundle = add(published(tmp_path / "brats", inputs=several("T1c", "T1", "T2", "FLAIR")), models)
    assert not [item for item in unfinished(bundle.contract) if item.startswith("inputs:")]
    flat = {"shape": (3, 8, 8), "spacing": (40.0, 20.0)}
    made = {name: heads.series(name, **flat) for name in ("flair", "t1", "t1c", "t2")}
    study = [candidate(datasets) for datasets in made.values()]
    model = registry.get("brats", (models,))
    filled = choose_channels(study, model.channels, model.check)
    assert {item.channel.name: item.candidate.series_instance_uid for item in filled} == {
        name: str(datasets[0].SeriesInstanceUID) for name, datasets in made.items()
    }
    second = candidate(heads.series("t1c", name="again", **flat))
    with pytest.raises(SeveralCandidates, match="Channel t1c takes a T1 series with contrast agent, and 2 series"):
        choose_channels([*study, second], model.channels, model.check)


def candidate(datasets: tuple[Dataset, ...]) -> Candidate:
    header = datasets[0]
    return Candidate(str(header.SeriesInstanceUID), header, describe(header, instances=len(datasets)))


def test_the_series_that_a_check_computes_fit_the_rules(tmp_path: Path, models: Path) -> None:
    bundle = add(published(tmp_path / "five", inputs=several("T1", "T1c", "T2", "FLAIR", "PD")), models)
    made = trial_series(bundle.contract)
    filled = choose_channels([candidate(item) for item in made.values()], bundle.channels, bundle.scope.check)
    assert {item.channel.name: item.candidate.series_instance_uid for item in filled} == {
        name: str(datasets[0].SeriesInstanceUID) for name, datasets in made.items()
    }


def test_a_name_that_nobody_knows_is_left_to_the_administrator(tmp_path: Path, models: Path) -> None:
    bundle = add(published(tmp_path / "made", inputs=several("T1", "DCE early")), models)
    assert bundle.contract.channels[1].has_rule is False
    assert "inputs: the rules by which the series of dce_early are chosen." in unfinished(bundle.contract)


@pytest.mark.parametrize(
    ("described", "kind"),
    [
        ({"type": "probabilities", "spatial_shape": []}, "classification"),
        ({"type": "image", "format": "labels", "spatial_shape": [1, 1]}, "classification"),
        ({"type": "object", "format": "dict", "spatial_shape": ["n", "n"]}, "detection"),
    ],
)
def test_the_kind_comes_from_the_metadata(tmp_path: Path, models: Path, described: dict[str, Any], kind: str) -> None:
    source = published(tmp_path / "made")
    path = source / "configs" / "metadata.json"
    raw = json.loads(path.read_text())
    raw["network_data_format"]["outputs"]["pred"].update(described)
    path.write_text(json.dumps(raw))
    assert add(source, models).kind == kind


def test_a_modality_that_nobody_knows_is_asked_for(tmp_path: Path, models: Path) -> None:
    source = published(tmp_path / "made", inputs={"modality": "n/a"})
    with pytest.raises(BadModel, match="--modality"):
        add(source, models)
    assert add(source, models, modality="PT").contract.scope.modalities == ("PT",)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("inputs", {"image": []}),
        ("inputs", {"image": {"num_channels": "many", "modality": "CT"}}),
        ("outputs", {"pred": {"num_channels": "many", "channel_def": [], "spatial_shape": [4, 4, "n"]}}),
        ("outputs", []),
        ("inputs", None),
    ],
)
def test_metadata_that_are_not_as_monai_describes_them(tmp_path: Path, models: Path, part: str, value: Any) -> None:
    source = published(tmp_path / "made")
    path = source / "configs" / "metadata.json"
    raw = json.loads(path.read_text())
    raw["network_data_format"][part] = value
    path.write_text(json.dumps(raw))
    with pytest.raises(BadModel, match=r"metadata\.json"):
        add(source, models)
    assert not list(models.iterdir())


def test_a_projection_is_segmented_in_two_axes(tmp_path: Path, models: Path) -> None:
    fill = {"_target_": "FillHolesd", "keys": PRED}
    parts = {"channel_def": ["background", "lung"], "post": [ARGMAX, fill, INVERT], "inputs": {"modality": "X-ray"}}
    bundle = add(published(tmp_path / "made", **parts), models)
    assert [item.name for item in bundle.concepts] == ["lung"]
    assert bundle.contract.inputs[0].kind == "projection"


def test_a_bundle_without_weights_says_where_they_come_from(tmp_path: Path, models: Path) -> None:
    source = published(tmp_path / "made")
    (source / "models" / "model.pt").unlink()
    with pytest.raises(BadModel, match=r"large_files\.yml"):
        add(source, models)
    assert not list(models.iterdir())


def test_postprocessing_that_gives_logits_is_refused(tmp_path: Path, models: Path) -> None:
    with pytest.raises(BadModel, match="neither labels nor probabilities"):
        add(published(tmp_path / "made", channel_def=["a", "b"], post=[]), models)


def test_a_name_that_is_taken(tmp_path: Path, models: Path) -> None:
    source = published(tmp_path / "made")
    add(source, models)
    with pytest.raises(BadModel, match="There is a model called 'made'"):
        add(source, models)
    with pytest.raises(BadModel, match="There is a model called 'brain_mri_tumor'"):
        add(source, models, name="brain_mri_tumor")
    with pytest.raises(BadModel, match="1 to 64 letters"):
        add(source, models, name="../made")
    assert add(source, models, name="other").name == "other"


@pytest.mark.parametrize("entry", ["../evil.py", "/evil.py", "made/../../evil.py", "..\\evil.py", "c:evil.py"])
def test_an_archive_that_would_write_elsewhere(tmp_path: Path, models: Path, entry: str) -> None:
    archive = zipped(published(tmp_path / "made"), tmp_path / "made.zip")
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(zipfile.ZipInfo(entry), "evil")
    with pytest.raises(BadModel, match="outside of the bundle"):
        add(archive, models)
    assert not list(models.iterdir())
    assert not list(tmp_path.rglob("evil.py"))


def test_links_are_refused(tmp_path: Path, models: Path) -> None:
    source = published(tmp_path / "made")
    archive = zipped(source, tmp_path / "made.zip")
    link = zipfile.ZipInfo("models/other.pt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(link, "/etc/passwd")
    with pytest.raises(BadModel, match="or a link"):
        add(archive, models)
    (source / "models" / "other.pt").symlink_to("/etc/passwd")
    with pytest.raises(BadModel, match="a link"):
        add(source, models)


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.workflow.installing.install.SMALL", 1_000_000)
    archive = zipped(published(tmp_path / "made"), tmp_path / "made.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("models/zeros", bytes(30_000_000))
    with pytest.raises(BadModel, match="unpacks to more than 200 times"):
        add(archive, models)
    assert not list(models.iterdir())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_what_is_no_archive(tmp_path: Path, models: Path, content: bytes) -> None:
    path = tmp_path / "made.zip"
    path.write_bytes(content)
    with pytest.raises(BadModel, match="no zip archive"):
        add(path, models)


def test_what_is_no_bundle(tmp_path: Path, models: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadModel, match="no bundle"):
        add(tmp_path / "empty", models)
    with pytest.raises(BadModel, match="nothing to add"):
        add(tmp_path / "nowhere", models)


def test_code_that_writes_while_it_is_added_is_refused(tmp_path: Path, models: Path) -> None:
    writes = {"_target_": "Lambdad", "keys": PRED, "func": "$lambda x: open('/tmp/candela-was-here', 'w') and x"}
    with pytest.raises(BadModel, match="tried to write a file"):
        add(published(tmp_path / "made", post=[HALF, writes]), models)
    assert not list(models.iterdir())


def test_it_is_no_network_to_train(tmp_path: Path, models: Path) -> None:
    add(published(tmp_path / "made"), models)
    entry = registry.get("made", (models,))
    with pytest.raises(BadSettings, match="workflow of its own"):
        _ = entry.bundle


def test_a_contract_of_the_publisher_is_kept(tmp_path: Path, models: Path) -> None:
    source = write_bundle(tmp_path / "made")
    before = (source / "configs" / "candela.json").read_bytes()
    bundle = add(source, models)
    assert (bundle.folder / "configs" / "candela.json").read_bytes() == before


def test_the_digest_covers_configuration_scripts_and_weights(tmp_path: Path, models: Path) -> None:
    source = write_bundle(tmp_path / "made", scripts={"scripts/__init__.py": ""})
    digests = {add(source, models, name="first").digest, add(source, models, name="second").digest}
    assert len(digests) == 1
    for index, part in enumerate(("scripts/__init__.py", "configs/inference.json", "configs/candela.json")):
        (source / part).write_text((source / part).read_text() + "\n")
        digests.add(add(source, models, name=f"changed-{index}").digest)
    assert len(digests) == 4


def test_a_network_of_another_size_is_found_by_the_check(tmp_path: Path, models: Path) -> None:
    definition = {"_target_": "torch.nn.Conv3d", "in_channels": 2, "out_channels": 1, "kernel_size": 1}
    bundle = add(published(tmp_path / "made", network=(definition, nn.Conv3d(2, 1, 1))), models)
    with pytest.raises(BadModel, match="network failed"):
        list(check_workflow(bundle, "cpu"))
