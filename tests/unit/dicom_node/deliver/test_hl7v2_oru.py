"""The report as ORU^R01: what stands where, read back by a second HL7 library."""

from __future__ import annotations

import base64
import itertools
import os
import re
from dataclasses import replace

import hl7
import pytest
from hl7apy.core import Segment
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.deliver.hl7v2 import er7, oru
from dicom_node.settings.hl7v2 import Hl7v2Destination
from pipeline.errors import Rejected
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.model import Outcome
from pipeline.report.content import ReportContent
from pipeline.report.findings import Refusal
from pipeline.report.patient_study import Issued
from tests.peers.hl7v2 import FINDINGS, MODEL, PATIENT, REFUSED, content_of, named

TO = Hl7v2Destination(kind="hl7v2", host="127.0.0.1", port=1)


def message(of: ReportContent, pdf: bytes | None = None, **options: object) -> hl7.Message:
    to = TO.model_copy(update=options)
    return hl7.parse(oru.build(of, to, pdf).data.decode(er7.ENCODINGS[to.character_set].codec))


def observations(parsed: hl7.Message) -> dict[tuple[str, str], list[str]]:
    """(code, sub-id) of each OBX: value type, value, unit."""
    found = {}
    for obx in parsed.segments("OBX"):
        found[str(obx[3][0][0]), str(obx[4])] = [str(obx[2]), str(obx[5]), str(obx[6])]
    return found


def test_a_finding_is_told_by_code_number_unit_and_sentence() -> None:
    """The same codes and units as in SR and FHIR; what it is stands first, and nothing is final."""
    parsed = message(content_of())
    found = observations(parsed)
    assert str(parsed.segments("OBX")[0][5]).startswith("AI result, not verified, not for diagnosis")
    assert "The algorithm suggests meningioma" in found["121077", ""][1]
    assert found["705057003", ""][1].startswith("52101004^Present^SCT")
    assert found["121071", ""] == ["CWE", "302820008^Intracranial meningioma^SCT", ""]
    assert found["122157", "class 2"] == ["NM", "0.9312", "1^no units^UCUM"]
    assert found["118565006", "region 1"] == ["NM", "6023.4", "mm3^cubic millimeter^UCUM"]
    assert found["103339001", "region 1"] == ["NM", "27.3", "mm^mm^UCUM"]
    assert found["112040", "region 1"] == ["HD", "^2.25.111^ISO", ""]
    assert found["113014", ""] == ["HD", "^1.2.3.1^ISO", ""]
    assert {str(obx[11]) for obx in parsed.segments("OBX")} == {"P"}
    assert str(parsed.segment("OBR")[25]) == "P"
    assert [int(str(obx[1])) for obx in parsed.segments("OBX")] == list(range(1, len(parsed.segments("OBX")) + 1))


def test_every_statement_names_the_algorithm() -> None:
    """Method and equipment stand in each OBX, since receivers tear them apart; the equipment's UID has its own."""
    parsed = message(content_of())
    equipment = {str(obx[18]) for obx in parsed.segments("OBX")}
    assert {str(obx[17]) for obx in parsed.segments("OBX")} == {"123110^Artificial Intelligence^DCM"}
    assert len(equipment) == 1
    assert equipment.pop().endswith("^CANDELA")
    assert observations(parsed)["121012", ""] == ["HD", f"^{content_of().run.device_uid}^ISO", ""]


def test_texts_of_codes_are_those_of_their_systems() -> None:
    """A receiver compares them. The class of a probability is in the alternate of CE, and no finding."""
    obxs = message(content_of()).segments("OBX")
    found = {str(obx[4]): str(obx[3]) for obx in obxs if str(obx[3]).startswith("122157")}
    assert found["class 2"] == "122157^Probability^DCM^P-302820008^Probability of meningioma^99CANDELA"
    assert len(set(found.values())) == 4
    known = {code.value: code.meaning for code in vars(codes).values() if isinstance(code, codes.Code)}
    for obx in obxs:
        value, text = str(obx[3]).split("^")[:2]
        assert known[value] == text


def test_patient_and_order_are_the_sources() -> None:
    """Identifier with its authority, name in HL7's order of parts, birth date, sex, accession number."""
    parsed = message(content_of())
    pid, obr = parsed.segment("PID"), parsed.segment("OBR")
    assert str(pid[3]) == "4711^^^&1.2.276.0.99&ISO^MR"
    assert str(pid[5]) == "Müller-Lüdenscheidt^Änne^Maria^M.A.^Dr.^^L^A"
    assert (str(pid[7]), str(pid[8])) == ("19710228", "F")
    assert str(obr[18]) == "ACC-1"
    assert (str(obr[7]), str(obr[22])) == ("20260105102030+0100", "20260105113000+0000")


@pytest.mark.parametrize(
    ("issued", "cx"),
    [
        (Issued("1", "urn:uuid:0e1d"), "1^^^&0e1d&UUID^MR"),
        (Issued("1", "https://mary.example/mrn"), "1^^^&https://mary.example/mrn&URI^MR"),
        (Issued("1", None, "MARY & SONS"), r"1^^^MARY \T\ SONS^MR"),
        (Issued("1"), "1^^^HOSPITAL^MR"),
    ],
)
def test_who_assigned_the_number_is_told(issued: Issued, cx: str) -> None:
    """The header's issuer, else the setting's."""
    of = content_of(patient=replace(PATIENT, identifier=issued))
    assert str(message(of, assigning_authority="HOSPITAL").segment("PID")[3]) == cx


def test_without_an_accession_number_the_report_has_a_number_of_its_own() -> None:
    """No order is made up; the number stays the same over the revisions of a series."""
    first = message(content_of(accession=None)).segment("OBR")
    later = message(content_of(accession=None, findings=replace(FINDINGS, revision=2))).segment("OBR")
    assert re.fullmatch(r"[A-Z2-7]{14}\^CANDELA", str(first[3]))
    assert str(first[3]) == str(later[3])
    assert str(first[18]) == ""


def test_the_accession_number_stands_where_the_receiver_looks_for_it() -> None:
    """`accession_fields` names the fields; in OBR-3 it stands in place of our own number."""
    obr = message(content_of(), accession_fields=("OBR-2",)).segment("OBR")
    assert str(obr[2]) == "ACC-1"
    assert str(obr[3]).endswith("^CANDELA")
    assert str(obr[18]) == ""
    obr = message(content_of(), accession_fields=("OBR-3", "OBR-18")).segment("OBR")
    assert (str(obr[3]), str(obr[18])) == ("ACC-1", "ACC-1")


def test_an_accession_number_that_a_receiver_would_cut_is_left_out_and_said() -> None:
    """22 characters in OBR-2 and OBR-3, 60 in OBR-18: what is left of a longer one may be another order's."""
    for number, fields, there in (
        ("A" * 22, ("OBR-2", "OBR-18"), True),
        ("A" * 23, ("OBR-18",), True),
        ("A" * 23, ("OBR-2", "OBR-18"), False),
        ("A" * 61, ("OBR-18",), False),
    ):
        parsed = message(content_of(accession=number), accession_fields=fields)
        obr, said = parsed.segment("OBR"), observations(parsed)["121077", ""][1]
        assert (number in (str(obr[2]), str(obr[18]))) is there
        assert ("too long for HL7" in said) is not there
        assert "A" * 10 not in str(obr) or there
    assert "zu lang" in observations(message(content_of(accession="A" * 61), language="de"))["121077", ""][1]


def test_a_patient_that_has_no_room_is_not_sent_under_a_part_of_the_number() -> None:
    """Nor is a name cut: it is unknown then."""
    with pytest.raises(Rejected, match="250 characters") as caught:
        message(content_of(patient=replace(PATIENT, identifier=Issued("7" * 256))))
    assert "777" not in str(caught.value)
    long, short = "N" * 256, "山田"
    assert str(message(content_of(patient=named(f"{long}={short}"))).segment("PID")[5]).startswith(short)
    assert str(message(content_of(patient=named(long))).segment("PID")[5]) == "^^^^^^U"


def test_two_series_of_one_order_do_not_replace_each_other_but_a_later_revision_does() -> None:
    """The filler order number is the series's and the model's."""
    number = [str(message(of).segment("OBR")[3]) for of in (content_of("1"), content_of("2"))]
    revised = str(message(content_of("1", findings=replace(FINDINGS, revision=2))).segment("OBR")[3])
    assert number[0] != number[1]
    assert number[0] == revised


def test_a_series_without_patient_id_is_not_sent() -> None:
    """No EHR could file it."""
    with pytest.raises(Rejected, match="Patient ID"):
        message(content_of(patient=replace(PATIENT, identifier=None)))


def test_a_patient_without_name_keeps_the_receivers_name() -> None:
    """An explicit null would delete it; a name of unknown type does not."""
    assert str(message(content_of(patient=named(""))).segment("PID")[5]) == "^^^^^^U"


@pytest.mark.parametrize("outcome", [Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_no_finding_is_told_too(outcome: Outcome) -> None:
    """Absent or indeterminate, with the probabilities, without a finding."""
    findings = replace(FINDINGS, outcome=outcome, predicted_class="no_tumor", regions=())
    found = observations(message(content_of(findings=findings)))
    assert found["705057003", ""][1].split("^")[1] in ("Absent", "Indeterminate")
    assert ("121071", "") not in found
    assert found["122157", "class 4"][1] == "0.0100"


@pytest.mark.parametrize("fields", [("OBR-2", "OBR-3", "OBR-18"), ("OBR-18",)])
def test_a_refusal_says_that_there_is_no_result_and_cancels_no_order(fields: tuple[str, ...]) -> None:
    """Status I, the reason in words, no value; the accession number nowhere, whatever fields ask for it."""
    parsed = message(content_of(findings=REFUSED), accession_fields=fields)
    assert str(parsed.segment("OBR")[25]) == "I"
    assert {str(obx[11]) for obx in parsed.segments("OBX")} == {"P"}
    assert "ACC-1" not in str(parsed)
    assert str(parsed.segment("OBR")[3]) == str(message(content_of()).segment("OBR")[3])
    assert "too long" not in str(message(content_of(findings=REFUSED, accession="A" * 61)))
    assert not {"NM", "CWE"} & {str(obx[2]) for obx in parsed.segments("OBX")}
    assert "MISSING_SLICES" in observations(parsed)["121077", ""][1]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_the_escapes(text: str) -> None:
    """Delimiters, escapes within the text, markup, emoji: what goes into hl7apy comes out as it was, one field."""
    obr = Segment("OBR", version="2.5.1")
    obr.obr_18 = er7.escaped("A" + text)
    field = str(obr.to_er7()).split("|")[-1]
    assert not set("|^&~") & set(field)
    assert unescaped(field) == ("A" + _without_controls(text)).rstrip()


def _without_controls(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def unescaped(text: str) -> str:
    """HL7 2.7.1, read left to right."""
    marks = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}
    return re.sub(r"\\([FSTRE])\\", lambda found: marks[found[1]], text)


def test_what_reads_as_an_escape_is_not_one() -> None:
    r"""A name with ``\F\`` in it, line breaks, delimiters and an emoji."""
    name = "O'Neil\\F\\|^~\\&\r\n<b>😀"
    obr = message(content_of(accession=name)).segment("OBR")
    assert str(obr[18]) == "O'Neil\\E\\F\\E\\\\F\\\\S\\\\R\\\\E\\\\T\\ <b>😀"
    assert unescaped(str(obr[18])) == "O'Neil\\F\\|^~\\& <b>😀"


@pytest.mark.parametrize(
    ("character_set", "name", "msh_18", "encoded"),
    [
        ("UNICODE UTF-8", "Müller^Änne", "UNICODE UTF-8", "Müller".encode()),
        ("8859/1", "Müller^Änne", "8859/1", b"M\xfcller"),
        ("8859/2", "Wałęsa^Łucja", "8859/2", "Wałęsa".encode("iso8859_2")),
        ("8859/5", "Иванов^Иван", "8859/5", "Иванов".encode("iso8859_5")),
        ("8859/7", "Διονυσιος", "8859/7", "Διονυσιος".encode("iso8859_7")),
        ("GB 18030-2000", "王^小东", "GB 18030-2000", "小东".encode("gb18030")),
        ("KS X 1001", "김희중", "KS X 1001", "김희중".encode("euc_kr")),
        ("ISO IR87", "YAMADA^TARO=山田^太郎=やまだ^たろう", "~ISO IR87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    ],
)
def test_names_keep_their_characters(character_set: str, name: str, msh_18: str, encoded: bytes) -> None:
    """MSH-18 says truly what the bytes are; ISO 2022 returns to ASCII before each delimiter."""
    to = TO.model_copy(update={"character_set": character_set})
    built = oru.build(content_of(patient=named(name)), to)
    assert encoded in built.data
    parsed = hl7.parse(built.data.decode(er7.ENCODINGS[character_set].codec))
    assert str(parsed.segment("MSH")[18]) == msh_18
    for group, sent in itertools.zip_longest(name.split("="), str(parsed.segment("PID")[5]).split("~")):
        assert sent.startswith(group.rstrip("^"))


@pytest.mark.parametrize(("character_set", "name"), [("8859/1", "王^小东"), ("ASCII", "Müller"), ("8859/1", "😀")])
def test_a_name_is_never_spelt_otherwise(character_set: str, name: str) -> None:
    """Refused, with what to do, rather than question marks; the name is not in the error."""
    with pytest.raises(Rejected, match="UNICODE UTF-8") as caught:
        message(content_of(patient=named(name)), character_set=character_set)
    assert name not in str(caught.value)


def test_our_own_sentences_are_spelt_plainly_where_they_must() -> None:
    """ASCII has no multiplication sign."""
    found = observations(message(content_of(patient=named("Mueller")), character_set="ASCII"))
    assert "27 x 22 mm" in found["121077", ""][1]


def test_sentences_come_in_the_readers_language() -> None:
    assert "Hinweis des Algorithmus" in observations(message(content_of(), language="de"))["121077", ""][1]


def test_the_pdf_is_embedded_once() -> None:
    """Base64 in an ED, byte for byte, also where a text reads as the place that it is put in."""
    pdf = b"%PDF-1.7\n" + os.urandom(5000)
    of = content_of(patient=named(oru.PDF_MARK), accession=oru.CONTROL_ID_MARK)
    parsed = message(of, pdf)
    (ed,) = [obx for obx in parsed.segments("OBX") if str(obx[2]) == "ED"]
    components = str(ed[5]).split("^")
    assert components[:4] == ["CANDELA", "application", "pdf", "Base64"]
    assert base64.b64decode(components[4]) == pdf
    assert oru.PDF_MARK in str(parsed.segment("PID")[5])
    assert str(parsed.segment("OBR")[18]) == oru.CONTROL_ID_MARK


@pytest.mark.parametrize("pdf_type", ["application^pdf", "AP^PDF", "AP^Octet-stream", "AP"])
def test_the_pdf_has_the_type_by_which_the_receiver_knows_it(pdf_type: str) -> None:
    """ED-2 and ED-3; data and encoding stay in their places."""
    to = Hl7v2Destination.model_validate({"kind": "hl7v2", "host": "127.0.0.1", "port": 1, "pdf_type": pdf_type})
    parsed = hl7.parse(oru.build(content_of(), to, b"%PDF").data.decode())
    (ed,) = [obx for obx in parsed.segments("OBX") if str(obx[2]) == "ED"]
    kind, form = [*pdf_type.split("^"), ""][:2]
    assert str(ed[5]).split("^") == ["CANDELA", kind, form, "Base64", base64.b64encode(b"%PDF").decode()]


def test_a_resend_is_the_same_message_and_anything_else_another() -> None:
    """The control id is a digest of the content: equal for equal, 20 characters (MSH-10's most)."""
    built = oru.build(content_of(), TO, b"%PDF")
    assert built == oru.build(content_of(), TO, b"%PDF")
    assert len(built.control_id) == 20
    assert f"|{built.control_id}|".encode() in built.data
    others = [
        oru.build(content_of("2"), TO, b"%PDF"),
        oru.build(content_of(), TO, b"%PDF-"),
        oru.build(content_of(), TO),
        oru.build(content_of(), TO.model_copy(update={"receiving_facility": "B"}), b"%PDF"),
        oru.build(content_of(findings=replace(FINDINGS, revision=2)), TO, b"%PDF"),
    ]
    assert len({built.control_id, *(other.control_id for other in others)}) == 6


def test_the_library_does_hold_it_against_the_standard() -> None:
    """hl7apy's validation, which every message passes, does find what is wrong."""
    from hl7apy.exceptions import HL7apyException
    from hl7apy.parser import parse_message

    text = oru.build(content_of(), TO).data.decode().rstrip("\r")
    assert parse_message(text).validate()
    for harmed in (text.replace("OBR|1|", "ZZZ|1|"), text.replace("PID|1||4711^^^&1.2.276.0.99&ISO^MR", "PID|1||")):
        with pytest.raises(HL7apyException):
            parse_message(harmed).validate()


def test_a_model_of_another_kind_is_told_by_its_own_terms() -> None:
    """Private codes too: the designator begins with 99, as table 0396 has it for local ones."""
    odd = replace(MODEL, name="x|y", title="Model ^ of & mine", terms=())
    findings = replace(
        FINDINGS, model=odd, predicted_class="odd_class", regions=(), probabilities=FINDINGS.probabilities
    )
    found = observations(message(content_of(findings=replace(findings, predicted_class="meningioma"))))
    assert found["111001", ""][1] == r"Model \S\ of \T\ mine"


def test_the_procedure_is_the_studys_and_its_text_is_never_respelt() -> None:
    """Without a code of the study the bundle's; of a refused series the modality's."""
    own = replace(content_of(), study=replace(content_of().study, procedure=Code("SCH1", "99KLINIK", "MR Schädel")))
    plain = replace(own, patient=named("Doe^Jane"))
    assert str(message(own).segment("OBR")[4]) == "SCH1^MR Schädel^99KLINIK"
    assert str(message(plain, character_set="ASCII").segment("OBR")[4]) == "SCH1^^99KLINIK"
    assert str(message(content_of()).segment("OBR")[4]) == "24590-2^MR Brain^LN"
    refused = replace(FINDINGS, outcome=Outcome.REFUSED, refusal=Refusal("MISSING_SLICES", "x"))
    assert str(message(content_of(findings=refused)).segment("OBR")[4]) == "25056-3^MRI unspecified body region^LN"
