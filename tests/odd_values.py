"""Series whose headers hold odd values, read through the whole pipeline with a stand-in for the model, and judged.

What must hold of any header: results, or a typed refusal with a summary. Every result is valid in its format.
"""

from __future__ import annotations

import copy
import functools
import io
import itertools
import json
import time
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import hl7
import numpy as np
import pydicom
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian
from pydicom.valuerep import validate_value

from dicom_node.deliver.hl7v2 import er7, oru
from dicom_node.settings.hl7v2 import Hl7v2Destination
from fhir import report
from fhir.release import Release
from fhir.resources.R4B.bundle import Bundle
from pipeline import phantom
from pipeline.caveats import CaveatCode
from pipeline.errors import Refused, Rejected
from pipeline.findings.identity import RunIdentity
from pipeline.findings.model import ClassProbability, ModelIdentity, Outcome, Prediction
from pipeline.geometry.volume import Volume
from pipeline.process import Processed, process
from pipeline.reading.files import Series, read_parts
from pipeline.reading.validation import is_uid
from pipeline.report.content import ReportContent, content_of_refusal
from pipeline.report.findings import Refusal
from pipeline.report.sentences import Language
from pipeline.report.stored import from_json, to_json
from pipeline.results.profile import KINDS, Profile
from pipeline.results.sc import refusal as refusal_page
from pipeline.routing.protocol import ProtocolContract, check_protocol
from pipeline.summary import refusal_summary, summary
from tests.conformance.synthetic import ANSWERS, MODEL

RECORDED = datetime(2026, 1, 5, 11, 30, tzinfo=UTC)
CONTRACT = ProtocolContract(modality="MR", body_parts=("BRAIN", "HEAD"), weightings=("T1",), contrast_expected=True)
TO_HL7 = Hl7v2Destination(kind="hl7v2", host="127.0.0.1", port=1, accession_fields=("OBR-2", "OBR-18"))
FULL: Mapping[str, Profile] = {"full": Profile(objects=KINDS, report_flavour="both", heatmap_planes="all")}
UNDRAWN: Mapping[str, Profile] = {
    "undrawn": Profile(
        objects=("segmentation", "report", "presentation", "heatmap", "keyobjects"), report_flavour="planar"
    )
}
"""Without the pictures, whose drawing takes most of the time."""

CHARACTER_SET = "SpecificCharacterSet"
CHARACTER_SET_BYTES = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"
"""As every instance of the phantom has it."""

Odd = tuple[str, bytes | tuple[str, bytes] | list[Dataset] | None]
"""A name, and the value: bytes in the attribute's own VR, bytes with another VR, items, or None to delete it."""

ODD: tuple[Odd, ...] = (
    ("absent", None),
    ("empty", b""),
    ("blanks", b"    "),
    ("nothing but NUL", b"\0\0"),
    ("NUL inside", b"A\0B "),
    ("controls", b"A\x07\r\n\x7f\t"),
    ("backslash", b"A\\B "),
    ("backslashes alone", b"\\\\\\\\"),
    ("300 characters", b"X" * 300),
    ("70 characters", b"Y" * 70),
    ("40,000 characters", b"Z" * 40000),
    ("broken UTF-8", b"\xc3\x28\xff\xfe"),
    ("a surrogate in UTF-8", b"A\xed\xa0\x80B"),
    ("overrides of direction", "A\u202eB\u2066".encode()),
    ("markup", b"<script>&\"'</script>"),
    ("delimiters of HL7", b"|^~&=$,"),
    ("minus one", b"-1"),
    ("10 to the 11th", b"100000000000"),
    ("NaN", b"NaN "),
    ("infinity", b"1e999 "),
    ("a tiny number", b"1e-300"),
    ("a hexadecimal number", b"0x10"),
    ("a number with comma", b"1,5 "),
    ("month 13", b"20261301"),
    ("zeros", b"00000000"),
    ("year 0", b"00000101"),
    ("far future", b"99991231"),
    ("a day no month has", b"20260231"),
    ("an hour no day has", b"250000"),
    ("zone +9999", b"+9999 "),
    ("escapes of ISO 2022", b"\x1b$B;3ED\x1b(B"),
    ("a broken escape", b"\x1b$"),
    ("not ASCII", "Ünïcode٣".encode()),
    ("emoji", "😀".encode()),
    ("as UT", ("UT", b"text of another VR")),
    ("as UN", ("UN", b"\x01\x02\x03\x00")),
    ("as US", ("US", b"\x01\x00")),
    ("as FD", ("FD", b"\0\0\0\0\0\0\xf8\x7f")),
    ("as OB", ("OB", b"\x00\x01\x02\x03")),
    ("as AT", ("AT", b"\x08\x00\x60\x00")),
    ("as an empty sequence", []),
    ("as a sequence", [Dataset()]),
    ("too short for its VR", ("FD", b"\0\0")),
)


def may_be_damaged(keyword: str, name: str) -> bool:
    """Whether intake may take the whole instance for damaged: the element cannot be parsed."""
    return name == "too short for its VR" or (name in ("as UN", "as AT") and dictionary_VR(keyword) == "SQ")


NESTED = (
    "CodeValue",
    "CodeMeaning",
    "CodingSchemeDesignator",
    "UniversalEntityID",
    "UniversalEntityIDType",
    "PatientID",
)


UNWRITABLE = "unwritable"
"""Outcome of a case of which pydicom makes no file: nothing was tried."""


class Unwritable(Exception):
    """pydicom writes no file with this value."""


@dataclass(frozen=True)
class StandIn:
    """A model whose answer is the phantom's lesion, at once: the header checks are those of real models."""

    mask: np.ndarray
    identity: ModelIdentity = MODEL
    classes: tuple[str, ...] = tuple(ANSWERS[Outcome.FINDING][1])

    def check(self, header: Dataset) -> tuple[str, ...]:
        return check_protocol(header, CONTRACT)

    def predict(self, volume: Volume) -> Prediction:
        name, shares = ANSWERS[Outcome.FINDING]
        mask = self.mask if self.mask.shape == volume.shape else np.zeros(volume.shape, bool)
        return Prediction(
            outcome=Outcome.FINDING,
            predicted_class=name,
            probabilities=tuple(ClassProbability(key, value) for key, value in shares.items()),
            mask=mask,
            heatmap=np.maximum(mask, 0.05).astype(np.float32),
            key_slice=volume.shape[0] // 2,
        )


@functools.cache
def _base() -> tuple[tuple[Dataset, ...], StandIn]:
    header = phantom.Header(key="odd values")
    datasets = phantom.head_phantom(slices=6, matrix=24, header=header)
    for ds in datasets:
        ds.TimezoneOffsetFromUTC = "+0100"
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionRatio = "8"
        ds.LossyImageCompressionMethod = "ISO_10918_1"
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "2", "0", "US"
    return datasets, StandIn(phantom.lesion_mask(datasets))


def element(keyword: str, value: bytes | tuple[str, bytes] | list[Dataset]) -> DataElement | RawDataElement:
    """The element as a file has it, whatever its bytes are."""
    tag = Tag(keyword)
    if isinstance(value, list):
        return DataElement(tag, "SQ", value)
    vr, data = value if isinstance(value, tuple) else (dictionary_VR(tag), value)
    if vr == "SQ":  # bytes where items belong
        vr = "UN"
    data += b" " * (len(data) % 2)
    return RawDataElement(tag, vr, len(data), data, 0, False, True, True)


def nested(keyword: str, value: bytes | tuple[str, bytes] | list[Dataset] | None) -> list[Dataset]:
    """A sequence's item that has the odd value in each of its attributes, and as another sequence's item in itself."""
    item, inner = Dataset(), Dataset()
    for name in NESTED:
        if value is not None:
            for ds in (item, inner):
                ds[Tag(name)] = element(name, copy.deepcopy(value))
    for ds in (item, inner):
        ds.set_original_encoding(False, True, ["utf8"])
    item.add_new("PurposeOfReferenceCodeSequence", "SQ", [inner])
    return [item]


def series_with(values: Mapping[str, Any], *, implicit: bool = False) -> Series:
    """The phantom read from files in which every instance has ``values``; raises as `reading.files.read_parts`."""
    parts = []
    for number, original in enumerate(_base()[0]):
        ds = copy.deepcopy(original)
        for keyword, value in values.items():
            if keyword == CHARACTER_SET:
                continue  # pydicom writes no file whose character set it cannot read
            if value is None:
                ds.pop(Tag(keyword), None)
            else:
                ds[Tag(keyword)] = element(keyword, copy.deepcopy(value))
        if implicit:
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        buffer = io.BytesIO()
        ds.set_original_encoding(implicit, True, ds._character_set)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
            except Exception as error:
                raise Unwritable from error
        data = buffer.getvalue()
        if CHARACTER_SET in values and not implicit:
            data = data.replace(CHARACTER_SET_BYTES, _character_set_element(values[CHARACTER_SET]), 1)
        parts.append((f"{number}.dcm", data))
    return read_parts(parts, where="sweep")


def _character_set_element(value: Any) -> bytes:
    """Specific Character Set in explicit little endian, whatever it holds (PS3.5 7.1.2)."""
    if value is None:
        return b""
    empty_item = b"\xfe\xff\x00\xe0\0\0\0\0"
    vr, data = ("SQ", empty_item * len(value)) if isinstance(value, list) else ("CS", value)
    if isinstance(value, tuple):
        vr, data = value
    data += b" " * (len(data) % 2)
    long_form = vr in ("OB", "SQ", "UN", "UT")
    size = b"\0\0" + len(data).to_bytes(4, "little") if long_form else len(data).to_bytes(2, "little")
    return CHARACTER_SET_BYTES[:4] + vr.encode() + size + data


def outcome_of(
    values: Mapping[str, Any], *, profiles: Mapping[str, Profile] = UNDRAWN, implicit: bool = False, pdf: bool = False
) -> str:
    """ "results", or the code of the refusal. Any other exception, and any result that is not valid, is a failure."""
    series: Series | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            series = series_with(values, implicit=implicit)
            processed = process(
                series,
                _base()[1],
                now=time.monotonic,
                recorded=RECORDED,
                profiles=profiles,
                languages=tuple(Language) if pdf else (),
            )
        except Unwritable:
            return UNWRITABLE
        except Refused as refusal:
            _check_refusal(refusal, series)
            return refusal.code
        check(processed)
    return "results"


def _check_refusal(refusal: Refused, series: Series | None) -> None:
    page: tuple[Any, ...] = ()
    if series is not None:
        page = refusal_page.build(series.datasets, refusal, MODEL)
        try:
            uid = str(series.datasets[0].SeriesInstanceUID)
            run = RunIdentity(uid, "0" * 64, MODEL.digest)
            told = content_of_refusal(series, Refusal(refusal.code, str(refusal)), MODEL, run, recorded=RECORDED)
            _check_reports(told)
        except Refused:
            pass
        for item in page:
            check_object(item.dataset, carried=())
    json.dumps(refusal_summary("1.2", refusal.code, str(refusal), page), ensure_ascii=False).encode()
    assert refusal.what.strip()
    assert refusal.todo.strip()


def check(processed: Processed) -> None:
    """Every result of the run is valid in its format."""
    told = json.dumps(summary(processed), ensure_ascii=False).encode().decode()
    repeated = (item for item in processed.findings.caveats if item.code is CaveatCode.IRREGULAR_VALUES_REPEATED)
    carried = next((cast("tuple[str, ...]", item.values["names"]) for item in repeated), ())
    assert all(keyword in told for keyword in carried)
    for item in processed.objects:
        check_object(item.dataset, carried)
    for page in processed.pages.values():
        assert page.startswith(b"%PDF")
    _check_bundle(report.build(processed.content.listed_for()))
    _check_reports(processed.content)


def _check_reports(content: ReportContent) -> None:
    assert from_json(to_json(content)) == content
    for release in Release:
        _check_bundle(report.build(content, release=release, language=Language.FRENCH), release)
    try:
        message = oru.build(content, TO_HL7)
    except Rejected:  # no Patient ID
        assert content.patient.identifier is None or len(content.patient.identifier.value) > 200
        return
    parsed = hl7.parse(message.data.decode(er7.ENCODINGS[TO_HL7.character_set].codec))
    assert content.patient.identifier is not None
    assert parsed.unescape(str(parsed.segment("PID")[3][0][0])) == content.patient.identifier.value
    assert len(str(parsed.segment("OBR")[2])) <= 22


def _check_bundle(bundle: Mapping[str, Any], release: Release = Release.R4) -> None:
    text = json.dumps(bundle, ensure_ascii=False, allow_nan=False).encode().decode()
    again = json.loads(text)
    if release is Release.R4:
        Bundle.model_validate(again)
    for value in _strings(again):
        assert value.strip(), "FHIR has no empty strings"
        odd = [mark for mark in value if unicodedata.category(mark) in ("Cc", "Cs", "Cf") and mark not in "\r\n\t"]
        assert not odd, odd


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def check_object(ds: Dataset, carried: Iterable[str]) -> None:
    """The object can be written and read, and holds no value that its VR forbids, but for what is ``carried``."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    again = pydicom.dcmread(buffer)
    for element_ in again.iterall():
        if element_.keyword in carried or element_.VR == "SQ" or element_.tag.group == 0x7FE0:
            continue
        values = element_.value if element_.VM > 1 else [element_.value]
        for value in values:
            if value in (None, "", b""):
                continue
            if element_.VR == "UI":  # leading zeros are carried (ADR 15)
                assert is_uid(str(value)), element_.keyword
                continue
            plain = str(value) if element_.VR in ("PN", "DS", "IS", "DA", "TM") else value
            validate_value(element_.VR, plain, config.RAISE)
            if isinstance(plain, str):
                assert "\0" not in plain
                lines = element_.VR in ("ST", "LT", "UT")
                assert lines or not any(unicodedata.category(mark) == "Cc" for mark in plain), element_.keyword
    assert again.SOPInstanceUID == ds.SOPInstanceUID


@dataclass
class Sweep:
    """Runs cases and gathers what failed, so that one run tells all."""

    failures: list[str] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, values: Mapping[str, Any], **options: Any) -> str:
        try:
            found = outcome_of(values, **options)
        except Exception as error:  # noqa: BLE001  (whatever it is, the sweep goes on and reports it)
            found = f"{type(error).__name__}: {error}"
            self.failures.append(f"{name}: {found[:300]}")
        self.outcomes[name] = found
        return found


def rotation(keywords: Iterable[str], turn: int) -> dict[str, Any]:
    """Each of ``keywords`` with an odd value, another one each ``turn``."""
    odd = itertools.islice(itertools.cycle(ODD), turn, None)
    found: dict[str, Any] = {}
    for keyword in keywords:
        name, value = next(pair for pair in odd if not may_be_damaged(keyword, pair[0]))
        found[keyword] = odd_value(keyword, name, value)
    return found


def odd_value(keyword: str, name: str, value: Any) -> Any:
    """``value`` for ``keyword``: within an item where that is a sequence."""
    return nested(keyword, value) if dictionary_VR(keyword) == "SQ" and not name.startswith("as ") else value
