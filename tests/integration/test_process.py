"""`candela process`: one series to a folder with no network, and what bad input ends in."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.cli import main
from fhir.report import build as build_bundle
from pipeline import phantom
from pipeline.caveats import CaveatCode
from pipeline.report.stored import FILENAME, from_json
from pipeline.results.sc import overlay
from tests.conformance.synthetic import file_bytes, phantom_context
from tests.conftest import ROOT
from tests.odd_values import element


def candela(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    """Run the command line in this process: exit code and what stood on stderr, on one line."""
    monkeypatch.setattr(sys, "argv", ["candela", *(str(item) for item in arguments)])
    monkeypatch.setenv("COLUMNS", "400")
    capsys.readouterr()
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, " ".join(capsys.readouterr().err.split())


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """``run(path, ...)`` is `candela process path --out tmp_path/out ...`: exit code, stderr, summary or None."""

    def process(path: Path, *more: object) -> tuple[int, str, dict | None]:
        code, text = candela(capsys, monkeypatch, "process", path, "--out", tmp_path / "out", *more)
        summary = tmp_path / "out" / "summary.json"
        return code, text, json.loads(summary.read_text()) if summary.exists() else None

    return process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("process") / "series"
    phantom.save(phantom.head_phantom(slices=12, matrix=128), folder)
    return folder


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `candela process` in a process of its own writes of ``folder``."""
    out = tmp_path_factory.mktemp("results") / "out"
    command = [sys.executable, "-m", "dicom_node.cli", "process", str(folder), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=out.parent)
    return out


def test_a_series_becomes_results(run, folder: Path, tmp_path: Path) -> None:
    """Every result is written, its summary names what is there, and each file is what it says it is."""
    code, text, summary = run(folder)
    assert code == 0, text
    assert "not for diagnosis" in text
    assert summary is not None
    assert summary["outcome"] in {"finding", "no_finding", "indeterminate"}
    assert set(summary["probabilities"]) == {"glioma", "meningioma", "pituitary_tumor", "no_tumor"}
    assert sum(summary["probabilities"].values()) == pytest.approx(1, abs=0.01)
    for item in summary["objects"]:
        ds = pydicom.dcmread(tmp_path / "out" / item["file"])
        assert ds.SOPInstanceUID == item["sop_instance_uid"]
        assert ds.SOPClassUID == item["sop_class_uid"]
    content = from_json((tmp_path / "out" / FILENAME).read_bytes())
    bundle = json.loads((tmp_path / "out" / "fhir-bundle.json").read_text())
    assert bundle == build_bundle(content, pdf=(tmp_path / "out" / "report.pdf").read_bytes())
    assert sorted((tmp_path / "out" / "previews").glob("overlay-*.png"))
    assert set(summary["timings"]) == {"volume", "predict", "measure", "results", "report"}


def texts(value: object) -> Iterator[str]:
    """Every text in what was JSON; a number may have eight zeros in a row as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in texts(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in texts(item))


def test_bad_values_of_the_header_are_left_out_and_noted(run, tmp_path: Path) -> None:
    """Each of these ended in a traceback, with no summary."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    bad = {"ContentDate": b"20261301", "StudyDate": b"00000000", "TimezoneOffsetFromUTC": b"+9999"}
    for ds in datasets:
        for keyword, value in {**bad, "SeriesNumber": b"99999999999"}.items():
            ds[Tag(keyword)] = element(keyword, value)
    phantom.save(datasets, tmp_path / "series")
    code, text, summary = run(tmp_path / "series")
    assert code == 0, text
    assert summary is not None
    (note,) = (item["text"] for item in summary["caveats"] if item["code"] == "INVALID_VALUES_LEFT_OUT")
    assert all(keyword in note for keyword in (*bad, "SeriesNumber"))
    assert not any(value.decode() in text for text in texts(summary) for value in bad.values())


def test_a_patient_that_no_report_can_name_is_refused_with_a_summary(run, tmp_path: Path) -> None:
    """Also where a page was asked for: it could be filed under nobody."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    for ds in datasets:
        ds[Tag("PatientID")] = element("PatientID", b"47\x0011")
    phantom.save(datasets, tmp_path / "series")
    code, text, summary = run(tmp_path / "series", "--refusal-page")
    assert (code, summary["code"], summary["objects"]) == (3, "BAD_IDENTITY", [])
    assert "47" not in text.replace(str(tmp_path), "").replace(str(datasets[0].SeriesInstanceUID), "")


def test_a_profile_chooses_the_objects_and_their_form(run, folder: Path, tmp_path: Path) -> None:
    """A profile of candela.toml: only what it names is written, compressed, and every object names it."""
    config = tmp_path / "candela.toml"
    config.write_text('[profiles.small]\nobjects = ["overlay", "heatmap"]\ntransfer_syntax = "RLELossless"\n')
    code, text, summary = run(folder, "--profile", "small", "--config", config)
    assert code == 0, text
    assert summary is not None
    assert {item["role"] for item in summary["objects"]} <= {"overlay", "heatmap"}
    assert {tuple(item["profiles"]) for item in summary["objects"]} == {("small",)}
    overlay = pydicom.dcmread(tmp_path / "out" / "overlay-001.dcm")
    assert overlay.file_meta.TransferSyntaxUID.keyword == "RLELossless"
    assert not (tmp_path / "out" / "report.dcm").exists()


def test_an_unknown_profile_is_wrong_usage(run, folder: Path) -> None:
    """Told with what there is, before anything is read."""
    code, text, summary = run(folder, "--profile", "orthank")
    assert code == 2
    assert "no profile 'orthank'" in text
    assert "orthanc-ohif" in text
    assert summary is None


@pytest.mark.nightly
def test_the_same_instant_gives_the_same_bytes(run, folder: Path, results: Path, tmp_path: Path) -> None:
    """Of two processes at two times: a resend is the same object, not another version."""
    began = json.loads((results / "summary.json").read_text())["began"]
    code, text, _ = run(folder, "--began", began)
    assert code == 0, text
    outs = [results, tmp_path / "out"]
    names = [sorted(path.name for path in out.glob("*.dcm")) for out in outs]
    assert names[0] == names[1]
    assert names[0]
    for name in names[0]:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name


def test_a_second_run_leaves_nothing_of_the_first(run, folder: Path, tmp_path: Path) -> None:
    """Results of another series in the same folder replace the earlier ones; a refusal leaves only itself."""
    run(folder)
    assert list((tmp_path / "out").glob("*.dcm"))
    assert list((tmp_path / "out" / "previews").glob("*.png"))
    (tmp_path / "empty").mkdir()
    code, _, summary = run(tmp_path / "empty")
    assert code == 3
    assert summary is not None
    assert summary["objects"] == []
    assert not list((tmp_path / "out").glob("*.dcm"))
    assert not list((tmp_path / "out" / "previews").glob("*.png"))


def test_results_are_never_put_among_other_files(run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    code, text, _ = run(folder)
    assert code == 2
    assert "BAD_SETTINGS" in text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_nifti_files_lie_beside_the_results_where_asked_for(run, folder: Path, tmp_path: Path) -> None:
    """Volume and mask in RAS, on the source's voxels, a heat map where the results show one; the summary names them."""
    import nibabel as nib

    code, text, summary = run(folder, "--nifti")
    assert code == 0, text
    assert summary is not None
    names = [item["file"] for item in summary["nifti"]]
    left_out = any(item["code"] == CaveatCode.HEAT_MAP_LEFT_OUT for item in summary["caveats"])
    assert names == ["volume.nii.gz", "mask.nii.gz", *([] if left_out else ["heatmap.nii.gz"])]
    first = pydicom.dcmread(folder / "IM0001.dcm")
    images = [nib.load(tmp_path / "out" / name) for name in names]
    for image in images:
        assert image.shape == (128, 128, 12)
        place = nib.affines.apply_affine(image.affine, [0, 0, 0])
        assert place * (-1, -1, 1) == pytest.approx([float(value) for value in first.ImagePositionPatient], abs=1e-3)
    assert int(images[0].dataobj[40, 50, 0]) == first.pixel_array[50, 40]
    assert images[1].dataobj[:].max() == len(summary["regions"])


def saved(datasets: list[Dataset], target: Path) -> Path:
    phantom.save(datasets, target)
    return target


def not_dicom(_: list[Dataset], target: Path) -> Path:
    target.mkdir()
    (target / "notes.txt").write_text("hello")
    return target


def a_pdf(_: list[Dataset], target: Path) -> Path:
    target.with_suffix(".pdf").write_bytes(b"%PDF-1.7\n...")
    return target.with_suffix(".pdf")


def empty_folder(_: list[Dataset], target: Path) -> Path:
    target.mkdir()
    return target


def truncated(datasets: list[Dataset], target: Path) -> Path:
    path = saved(datasets, target) / "IM0004.dcm"
    path.write_bytes(path.read_bytes()[:900])
    return target


def two_series(datasets: list[Dataset], target: Path) -> Path:
    saved(list(phantom.head_phantom(slices=3, matrix=16)), target / "other")
    return saved(datasets, target)


def ct(datasets: list[Dataset], target: Path) -> Path:
    for ds in datasets:
        ds.Modality = "CT"
    return saved(datasets, target)


def t2(datasets: list[Dataset], target: Path) -> Path:
    for ds in datasets:
        ds.RepetitionTime, ds.EchoTime = "5000", "100"
    return saved(datasets, target)


def missing_slice(datasets: list[Dataset], target: Path) -> Path:
    return saved(datasets[:5] + datasets[6:], target)


def duplicate(datasets: list[Dataset], target: Path) -> Path:
    second = copy.deepcopy(datasets[4])
    second.PixelData = datasets[5].PixelData
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    return saved([*datasets, second], target)


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (not_dicom, "NOT_DICOM", "not a DICOM file"),
        (a_pdf, "NOT_DICOM", "a PDF"),
        (empty_folder, "EMPTY_INPUT", "no file"),
        (truncated, "TRUNCATED", "IM0004.dcm"),
        (two_series, "MIXED_SERIES", "one series at a time"),
        (ct, "UNSUPPORTED_MODALITY", "CT"),
        (t2, "UNSUPPORTED_PROTOCOL", "T2-weighted"),
        (missing_slice, "MISSING_SLICES", "missing"),
        (duplicate, "DUPLICATE_SLICES", "share their position"),
    ],
)
def test_bad_input_is_refused_with_its_reason(
    run, folder: Path, tmp_path: Path, spoil: Callable[[list[Dataset], Path], Path], code: str, words: str
) -> None:
    """Exit 3; the reason stands on stderr and in summary.json; no result is written."""
    exit_code, text, summary = run(
        spoil([pydicom.dcmread(path) for path in sorted(folder.iterdir())], tmp_path / "input")
    )
    assert exit_code == 3
    assert code in text
    assert words in text
    assert summary is not None
    assert (summary["outcome"], summary["code"]) == ("refused", code)
    assert words in summary["reason"]
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_candelas_own_results_are_refused(run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    page, *_ = overlay.build(phantom_context(slices=4, matrix=32))
    (own / "again.dcm").write_bytes(file_bytes(page.dataset))
    code, text, _ = run(own)
    assert code == 3
    assert "OWN_RESULT" in text


def test_a_series_that_no_rule_takes_is_refused(run, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "candela.toml"
    config.write_text('[[rules]]\nname = "chest"\nmodel = "cxr"\nwhen = {modality = ["DX"]}\n')
    code, text, summary = run(folder, "--config", config)
    assert code == 3
    assert "rule 'chest': modality is MR, not DX" in text
    assert summary is not None
    assert summary["code"] == "NOT_ROUTED"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["process", "/nowhere/at/all", "--out", "out"], "nothing at /nowhere/at/all"),
        (["process"], "Missing argument"),
        (["process", ".", "--out", "x", "--config", "missing.toml"], "no such settings file"),
        (["jobs", "list", "--config", "typo.toml"], "recieve: there is no such setting"),
        (["worker", "--queues", "infre"], "queues are infer and deliver"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(
    capsys, monkeypatch, tmp_path: Path, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "typo.toml").write_text("[recieve]\nport = 1\n")
    code, text = candela(capsys, monkeypatch, *arguments)
    assert code == 2
    assert words in text


def test_an_unknown_model_is_named_with_those_there_are(capsys, monkeypatch, folder: Path, tmp_path: Path) -> None:
    code, text = candela(capsys, monkeypatch, "process", folder, "--out", tmp_path / "o", "--model", "chest_xray")
    assert code == 1
    assert "chest_xray" in text
    assert "brain_mri_tumor" in text


@pytest.mark.parametrize("command", [("serve",), ("config", "check")])
def test_a_rule_with_an_unknown_model_is_said_at_once(capsys, monkeypatch, tmp_path: Path, command: tuple[str]) -> None:
    """A node that could never read what it takes does not start; nothing is left to find out from a log."""
    config = tmp_path / "candela.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n[[rules]]\nname = "chest"\nmodel = "chest_xray"\n')
    code, text = candela(capsys, monkeypatch, *command, "--config", config)
    assert code == 2
    assert "Rule 'chest' names the unknown model 'chest_xray'" in text
    assert "brain_mri_tumor" in text


def test_config_check_explains_where_a_series_goes(capsys, monkeypatch, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "candela.toml"
    config.write_text("""
[destinations.here]
kind = "folder"
path = "/tmp/x"
[[rules]]
name = "chest"
model = "brain_mri_tumor"
when = {modality = ["DX"]}
[[rules]]
name = "brain"
model = "brain_mri_tumor"
destinations = ["here"]
""")
    monkeypatch.setattr(sys, "argv", ["candela", "config", "check", str(folder), "--config", str(config)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    chest, brain = (next(k for k, row in enumerate(rows) if row[:1] == [name]) for name in ("chest", "brain"))
    assert rows[chest] == ["chest", "modality", "DX", "MR", "no"]
    assert ["does", "not", "take", "it"] in rows[chest:brain]
    assert ["takes", "it"] in rows[brain:]
    assert "results to here" in out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("siemens_trio_t1_sag", "MISSING_SLICES", marks=pytest.mark.nightly),
        pytest.param("siemens_trio_t2_ax", "UNSUPPORTED_PROTOCOL", marks=pytest.mark.nightly),
        ("ge_signa_pd_ax", "UNSUPPORTED_PROTOCOL"),
        pytest.param("mixed_ts_trio_epi", "UNSUPPORTED_PROTOCOL", marks=pytest.mark.nightly),
        ("philips_enhanced_elition", "MIXED_SERIES"),
        ("NOTBRAIN_ge_genesis_wrist_cor", "UNSUPPORTED_PROTOCOL"),
    ],
)
def test_real_series_that_the_model_does_not_take_are_refused(run, real_data: Path, name: str, expected: str) -> None:
    code, text, summary = run(real_data / "dicom" / name)
    assert code == 3, text
    assert summary is not None
    assert summary["code"] == expected


@pytest.mark.nightly
def test_the_phantom_that_is_tagged_as_a_brain_is_never_called_a_tumour(run, real_data: Path) -> None:
    """Tags lie: a measuring phantom tagged BRAIN, T1 MP-RAGE. Refused, or at least no finding."""
    _, text, summary = run(real_data / "dicom" / "NOTBRAIN_ge_pioneer_t1_ax_phantom")
    assert summary is not None
    assert summary["outcome"] != "finding", text
