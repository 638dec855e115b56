"""`candela fetch` against dcmtk's PACS and Orthanc: what the archive has comes, and what does not is said."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from dicom_node.commands.fetch import source_of
from dicom_node.fetch.fetch import find_study
from dicom_node.fetch.sinks import Fetched, NodeSink
from dicom_node.network.found import StudyQuery
from dicom_node.settings import tree as node_settings
from dicom_node.settings.peers import Peer
from dicom_node.settings.receive import Receive
from dicom_node.store.header import read_header
from pipeline import phantom
from pipeline.errors import BadSettings, EmptyInput, MixedSeries, PeerUnavailable
from tests.integration.test_receive_senders import data_set_bytes, small_series
from tests.peers.dcmtk import require_dcmtk, running_dcmqrscp, storescu
from tests.peers.http import Asked, HttpPeer, Reply
from tests.peers.orthanc import OrthancPeer, require_orthanc, running_orthanc
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port
from tests.peers.proxy import Misspelling
from tests.peers.receiver import Node, running_receiver
from tests.peers.settings_text import address, tables
from tests.peers.stow import as_file

Candela = Callable[..., tuple[int, str, str]]


@pytest.fixture
def candela(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Candela:
    """Runs the command line; (exit status, stdout, stderr without log lines)."""
    from dicom_node.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["candela", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        errors = [line for line in said.err.splitlines() if "event=" not in line and "timestamp" not in line]
        return int(stop.value.code or 0), said.out, "\n".join(errors)

    return run


@dataclass(frozen=True)
class House:
    """A node, two archives that hold ``study``, and the settings file that names them."""

    node: Node
    config: Path
    orthanc: OrthancPeer | None
    study: tuple[tuple[Dataset, ...], ...]

    @property
    def study_uid(self) -> str:
        return str(self.study[0][0].StudyInstanceUID)

    def has(self, datasets: Sequence[Dataset]) -> bool:
        stored = self.node.stored()
        return all(str(ds.SOPInstanceUID) in stored for ds in datasets)


def two_series(key: str, *, slices: int = 4) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
    """Two series of one study; the second is JPEG 2000."""
    first = phantom.head_phantom(
        slices=slices,
        matrix=32,
        header=phantom.Header(key=f"fetch/{key}", patient_id=f"P-{key}", accession_number=f"A-{key}"),
    )
    second = small_series(3)
    for ds in second:
        ds.StudyInstanceUID = first[0].StudyInstanceUID
        ds.StudyDate = first[0].StudyDate
        ds.AccessionNumber, ds.PatientID = first[0].AccessionNumber, first[0].PatientID
        ds.PatientName = first[0].PatientName
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    return first, second


def written(folder: Path, node: Node, **remotes: dict[str, object]) -> Path:
    """candela.toml of ``node`` with ``remotes``."""
    lines = [f'data_dir = "{node.settings.data_dir}"', "[receive]", f"port = {node.port}", tables("remotes", remotes)]
    path = folder / "candela.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def dicom_remote(port: int, ae_title: str, **more: object) -> dict[str, object]:
    return {"kind": "dicom", "peer": address(port, ae_title), "timeout": 20, **more}


PEERS = tuple(Peer(ae_title=name) for name in ("DCMQRSCP", "ORTHANC", "DICOMWEB"))


@pytest.fixture(scope="module")
def dcmtk_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    require_dcmtk()
    folder = tmp_path_factory.mktemp("dcmtk-house")
    study = two_series("dcmtk")
    with running_receiver(folder, allow=PEERS) as node:
        scp = running_dcmqrscp(folder / "pacs", args=("+xv",), movers={"CANDELA": node.port})
        with scp as pacs:
            for number, (series, option) in enumerate(zip(study, ("-x=", "-xv"), strict=True)):
                sent = storescu(phantom.save(series, folder / f"in{number}"), pacs.port, option, called=pacs.ae_title)
                assert sent.returncode == 0, sent.stdout
            config = written(folder, node, pacs=dicom_remote(pacs.port, pacs.ae_title))
            yield House(node, config, None, study)


@pytest.fixture(scope="module")
def orthanc_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    require_orthanc()
    folder = tmp_path_factory.mktemp("orthanc-house")
    study = two_series("orthanc")
    with (
        running_receiver(folder, allow=PEERS) as node,
        running_orthanc(folder / "orthanc", candela_port=node.port) as orthanc,
    ):
        for number, series in enumerate(study):
            orthanc.upload(phantom.save(series, folder / f"in{number}"))
        config = written(
            folder,
            node,
            pacs=dicom_remote(orthanc.dicom_port, orthanc.ae_title),
            web={"kind": "dicomweb", "url": f"{orthanc.url}/dicom-web", "timeout": 30},
        )
        yield House(node, config, orthanc, study)


def check_folder(folder: Path, study: Sequence[Sequence[Dataset]]) -> None:
    """Every instance is in ``folder``, with the pixels that were sent, in the transfer syntax that it had."""
    for series in study:
        for ds in series:
            path = folder / str(ds.SeriesInstanceUID) / f"{ds.SOPInstanceUID}.dcm"
            came = pydicom.dcmread(path)
            assert came.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
            assert came.PixelData == ds.PixelData


@pytest.mark.parametrize("method", ["get", "auto"])
def test_a_study_comes_from_dcmtk_into_the_node(dcmtk_house: House, candela: Candela, method: str) -> None:
    """Both series, counted against the PACS's own list; a second time changes nothing."""
    house = dcmtk_house
    status, out, err = candela("fetch", house.study_uid, "--from", "pacs", "--by", method, "--config", house.config)
    assert (status, err) == (0, ""), out + err
    for series in house.study:
        assert f"{series[0].SeriesInstanceUID} MR: {len(series)} of {len(series)} by C-GET" in out
        assert house.has(series)
    stored = house.node.stored()
    for ds in house.study[1]:
        came = pydicom.dcmread(stored[str(ds.SOPInstanceUID)])
        assert came.file_meta.TransferSyntaxUID == JPEG2000Lossless
        assert came.PixelData == ds.PixelData
        assert came.file_meta.SourceApplicationEntityTitle == "DCMQRSCP"  # as if the PACS had sent it
    assert "7 instances of 2 series came into the node CANDELA" in out


def test_a_series_that_a_pacs_cannot_move_is_told_as_failed(dcmtk_house: House, candela: Candela) -> None:
    """dcmqrscp as started here moves uncompressed instances only: the JPEG 2000 series fails, the other comes."""
    house = dcmtk_house
    plain, compressed = house.study
    status, out, err = candela("fetch", house.study_uid, "--from", "pacs", "--by", "move", "--config", house.config)
    assert status == 1
    assert f"{plain[0].SeriesInstanceUID} MR: 4 of 4 by C-MOVE" in out
    assert f"{compressed[0].SeriesInstanceUID} MR: 0 of 3 by C-MOVE, 3 failed" in out
    assert "3 sub-operations failed" in err
    for ds in compressed:
        assert f"failed: {ds.SOPInstanceUID}" in err


def test_a_fetched_series_completes_and_is_dispatched(dcmtk_house: House, candela: Candela) -> None:
    """The association to the node ends with the series: completion goes on as for any sender."""
    house = dcmtk_house
    wanted = str(house.study[0][0].SeriesInstanceUID)
    arguments = ("--from", "pacs", "--series", wanted, "--config", house.config)
    assert candela("fetch", house.study_uid, *arguments)[0] == 0
    assert wanted in {item.series_instance_uid for item in house.node.wait()}


def test_a_series_comes_into_a_folder_without_a_node(dcmtk_house: House, candela: Candela, tmp_path: Path) -> None:
    """--out needs no receiver; only the series named comes."""
    house = dcmtk_house
    config = tmp_path / "candela.toml"
    config.write_text(house.config.read_text().replace(f"port = {house.node.port}", f"port = {free_port()}", 1))
    wanted = house.study[1]
    arguments = ("--from", "pacs", "--series", wanted[0].SeriesInstanceUID, "--out", tmp_path / "out")
    status, out, err = candela("fetch", house.study_uid, *arguments, "--config", config)
    assert (status, err) == (0, ""), out
    check_folder(tmp_path / "out", [wanted])
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == len(wanted)


@pytest.mark.parametrize(("name", "method"), [("pacs", "get"), ("pacs", "move"), ("web", "")])
def test_a_study_comes_from_orthanc_into_the_node(
    orthanc_house: House, candela: Candela, name: str, method: str
) -> None:
    """By C-GET, C-MOVE and WADO-RS."""
    house = orthanc_house
    by = ("--by", method) if method else ()
    status, out, err = candela("fetch", "--accession", "A-orthanc", "--from", name, *by, "--config", house.config)
    assert (status, err) == (0, ""), out + err
    used = {"get": "C-GET", "move": "C-MOVE", "": "WADO-RS"}[method]
    for series in house.study:
        assert f"{series[0].SeriesInstanceUID} MR: {len(series)} of {len(series)} by {used}" in out
        assert house.has(series)


def test_wado_gives_the_bytes_as_orthanc_has_them(orthanc_house: House, candela: Candela, tmp_path: Path) -> None:
    """Data sets are those that were uploaded, byte for byte, compressed ones too."""
    house = orthanc_house
    status, out, err = candela(
        "fetch", "--patient-id", "P-orthanc", "--from", "web", "--out", tmp_path, "--config", house.config
    )
    assert (status, err) == (0, ""), out + err
    for ds in (ds for series in house.study for ds in series):
        path = tmp_path / str(ds.SeriesInstanceUID) / f"{ds.SOPInstanceUID}.dcm"
        file = as_file(ds)
        assert data_set_bytes(path) == file[144 + int.from_bytes(file[140:144], "little") :]


@pytest.mark.parametrize("name", ["pacs", "web"])
def test_what_the_archive_does_not_have_is_refused(orthanc_house: House, candela: Candela, name: str) -> None:
    """Exit 3, and no instance comes."""
    for asked in (("1.2.3.4",), ("--accession", "NONE"), (orthanc_house.study_uid, "--series", "1.2.3")):
        status, _, err = candela("fetch", *asked, "--from", name, "--config", orthanc_house.config)
        assert status == 3, err
        assert "no such" in err


@pytest.mark.parametrize("name", ["pacs", "web"])
def test_find_lists_studies_and_series_with_their_numbers(orthanc_house: House, candela: Candela, name: str) -> None:
    """No patient's name or identifier is shown."""
    house = orthanc_house
    status, out, _ = candela("find", name, "--accession", "A-orthanc", "--config", house.config)
    assert status == 0
    (line,) = [line for line in out.splitlines() if house.study_uid in line]
    assert "MR" in line
    _, out, _ = candela("find", name, "--study", house.study_uid, "--config", house.config)
    for series in house.study:
        (line,) = [line for line in out.splitlines() if str(series[0].SeriesInstanceUID) in line]
        assert str(len(series)) in line
    assert "P-orthanc" not in out
    assert "Phantom" not in out


@pytest.mark.parametrize("pattern", ["*", "P-orth?nc", "A\\B"])
def test_a_pattern_in_place_of_a_patient_is_refused(orthanc_house: House, candela: Candela, pattern: str) -> None:
    """It would match other patients; the message does not repeat it."""
    status, _, err = candela("fetch", "--patient-id", pattern, "--from", "pacs", "--config", orthanc_house.config)
    assert status == 2
    assert "wildcard" in err
    assert pattern not in err.replace("(*, ? or \\)", "")


@pytest.mark.parametrize("name", ["pacs", "web"])
def test_several_studies_of_a_patient_are_not_guessed_among(orthanc_house: House, tmp_path: Path, name: str) -> None:
    """A search by patient that finds several studies is refused and names them; one by Study Instance UID finds its
    study.
    """
    assert orthanc_house.orthanc is not None
    patient, studies = f"PRIOR-{name}", {}
    for date in ("20240105", "20250301", "20251120", "20261201"):
        series = small_series(1)
        for ds in series:
            ds.PatientID, ds.StudyDate = patient, date
        studies[date] = str(series[0].StudyInstanceUID)
        orthanc_house.orthanc.upload(phantom.save(series, tmp_path / date))
    settings = node_settings.load(orthanc_house.config)
    with source_of(settings.remotes[name], "CANDELA", settings) as source:
        one = find_study(source, StudyQuery(study_instance_uid=studies["20251120"]))
        assert one.study_date == "20251120"
        with pytest.raises(MixedSeries, match=studies["20240105"]):
            find_study(source, StudyQuery(patient_id=patient))
        with pytest.raises(EmptyInput):
            find_study(source, StudyQuery(patient_id="P-orthan"))
        with pytest.raises(BadSettings):
            source.studies(StudyQuery(patient_id="P*"))


@pytest.mark.parametrize(("args", "used"), [(("--disable-get",), "C-MOVE"), (("-QS",), "C-GET"), (("-QP",), "C-GET")])
def test_what_the_pacs_offers_is_what_is_used(
    tmp_path: Path, candela: Candela, args: tuple[str, ...], used: str
) -> None:
    """C-MOVE where there is no C-GET; Patient Root where there is no Study Root."""
    require_dcmtk()
    series = small_series(2)
    with (
        running_receiver(tmp_path, allow=PEERS) as node,
        running_dcmqrscp(tmp_path / "pacs", args=args, movers={"CANDELA": node.port}) as pacs,
    ):
        storescu(phantom.save(series, tmp_path / "in"), pacs.port, called=pacs.ae_title)
        config = written(tmp_path, node, pacs=dicom_remote(pacs.port, pacs.ae_title))
        who = ("--patient-id", series[0].PatientID) if args == ("-QS",) else (series[0].StudyInstanceUID,)
        status, out, err = candela("fetch", *who, "--from", "pacs", "--config", config)
        assert (status, err) == (0, ""), out + err
        assert f"2 of 2 by {used}" in out
        assert len(node.stored()) == 2
        if used == "C-MOVE":
            status, out, err = candela("fetch", *who, "--from", "pacs", "--out", tmp_path / "out", "--config", config)
            assert status == 1
            assert "without --out" in err


def test_a_pacs_that_moves_elsewhere_is_found_out(tmp_path: Path, candela: Candela) -> None:
    """It says that all was moved, but to another machine of our name; and one that does not know us says so."""
    require_dcmtk()
    series = small_series(2)
    with (
        running_receiver(tmp_path / "a", allow=PEERS) as node,
        running_receiver(tmp_path / "b", allow=PEERS) as other,
        running_dcmqrscp(tmp_path / "p", movers={"CANDELA": other.port}) as wrong,
        running_dcmqrscp(tmp_path / "q") as unknowing,
    ):
        for pacs in (wrong, unknowing):
            storescu(phantom.save(series, tmp_path / "in"), pacs.port, called=pacs.ae_title)
        config = written(
            tmp_path,
            node,
            wrong=dicom_remote(wrong.port, "DCMQRSCP", retrieve="move"),
            unknowing=dicom_remote(unknowing.port, "DCMQRSCP", retrieve="move"),
        )
        status, out, err = candela("fetch", series[0].StudyInstanceUID, "--from", "wrong", "--config", config)
        assert status == 1
        assert "0 of 2 by C-MOVE" in out
        assert "this node has 0" in err
        status, _, err = candela("fetch", series[0].StudyInstanceUID, "--from", "unknowing", "--config", config)
        assert status == 1
        assert "0xA801" in err


def test_a_node_that_does_not_run_or_know_the_archive_is_said(
    dcmtk_house: House, candela: Candela, tmp_path: Path
) -> None:
    """Before anything is fetched, with what to do."""
    config = tmp_path / "candela.toml"
    config.write_text(
        dcmtk_house.config.read_text().replace(f"port = {dcmtk_house.node.port}", f"port = {free_port()}")
    )
    status, _, err = candela("fetch", dcmtk_house.study_uid, "--from", "pacs", "--config", config)
    assert status == 1
    assert "candela serve" in err
    with running_receiver(tmp_path) as strict:
        config.write_text(
            dcmtk_house.config.read_text().replace(f"port = {dcmtk_house.node.port}", f"port = {strict.port}")
        )
        status, _, err = candela("fetch", dcmtk_house.study_uid, "--from", "pacs", "--config", config)
    assert status == 1
    assert 'ae_title = "DCMQRSCP" in receive.allow' in err


def test_an_archive_that_is_down_or_no_archive_is_said(tmp_path: Path, candela: Candela) -> None:
    """A port where nobody listens, an HTTP server that is no DICOMweb, one that fails, one that refuses."""
    config = tmp_path / "candela.toml"
    down = dicom_remote(free_port(), "PACS")
    with HttpPeer(lambda asked: Reply(200, {"no": "list"})) as http:
        remotes = {"down": down, "web": {"kind": "dicomweb", "url": http.url}}
        lines = [f'data_dir = "{tmp_path}"', tables("remotes", remotes)]
        config.write_text("\n".join(lines))
        arguments = ("--out", tmp_path / "out", "--config", config)
        status, _, err = candela("fetch", "1.2.3", "--from", "down", *arguments)
        assert (status, "cannot be reached" in err) == (1, True)
        for answer, word in ((Reply(200, {"no": "list"}), "not QIDO-RS"), (Reply(500), "500"), (Reply(401), "token")):
            http.answer = lambda asked, answer=answer: answer
            status, _, err = candela("fetch", "1.2.3", "--from", "web", *arguments)
            assert (status, word in err) == (1, True), err
    status, _, err = candela("fetch", "1.2.3", "--from", "nobody", *arguments)
    assert (status, "known: down, web" in err) == (2, True)


def test_a_token_goes_with_each_request(tmp_path: Path, candela: Candela) -> None:
    """Authorization: Bearer, to QIDO-RS as to WADO-RS."""

    def answer(asked: Asked) -> Reply:
        return Reply(200, []) if asked.headers.get("Authorization") == "Bearer abc" else Reply(401)

    with HttpPeer(answer) as http:
        config = tmp_path / "candela.toml"
        config.write_text(
            f'data_dir = "{tmp_path}"\n[remotes.web]\nkind = "dicomweb"\nurl = "{http.url}/rs/"\nbearer_token = "abc"\n'
        )
        status, _, err = candela("fetch", "1.2.3", "--from", "web", "--out", tmp_path / "out", "--config", config)
    assert (status, "no such" in err) == (3, True), err
    assert http.asked[0].path.startswith("/rs/studies/1.2.3/series?")


def test_an_answer_for_another_instance_is_no_success(tmp_path: Path) -> None:
    """A line that garbles a UID makes a node acknowledge what was not sent: what was fetched counts as not taken."""
    path = phantom.save(small_series(slices=2), tmp_path / "series")[0]
    ds, encoded = pydicom.dcmread(path), data_set_bytes(path)
    syntax = ds.file_meta.TransferSyntaxUID
    instance = Fetched(read_header(encoded, syntax), syntax, encoded)
    uid = str(ds.SOPInstanceUID)
    with Pacs() as pacs, Misspelling(pacs.port, uid) as line:
        sink = NodeSink(Receive(port=line.port, accept_any_peer=True), "ARCHIVE")
        with sink.series() as taker, pytest.raises(PeerUnavailable, match="another instance"):
            taker.take(instance)
        assert uid not in pacs.stored
        with sink.series() as taker:
            assert taker.take(instance) == 0x0000
    assert pacs.stored[uid] == 1
