"""The tables of docs/conformance.md, each from what the code itself negotiates, answers and sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydicom import uid
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]  # made at import

from dicom_node.commitment.scp import StorageCommitment
from dicom_node.conformance.fhir_client import fhir_exchanges
from dicom_node.conformance.hl7v2 import hl7_fields
from dicom_node.conformance.markdown import ranges, stated, table
from dicom_node.conformance.objects import COMMON, OBJECTS
from dicom_node.deliver import presence
from dicom_node.deliver.negotiation import CONTEXTS_MOST, Instance, proposals
from dicom_node.deliver.store_status import StatusMeaning, status_text, verdict
from dicom_node.fetch import dimse as fetching
from dicom_node.network.entity import application_entity
from dicom_node.network.find import MODELS, Finder
from dicom_node.network.found import FoundSeries, StudyQuery
from dicom_node.network.tls import CIPHERS
from dicom_node.receive.ingest import transfer_syntaxes
from dicom_node.receive.listener import ACSE_TIMEOUT, Listener, supported_contexts
from dicom_node.receive.storage_classes import storage_classes
from dicom_node.receive.stow import service
from dicom_node.receive.stow.request import COMMENTS
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.quantities import size_text, time_text
from dicom_node.settings.receive import Receive
from dicom_node.settings.remotes import DicomRemote
from pipeline.patient.attributes import PATIENT_AND_STUDY, PATIENT_AND_STUDY_SEQUENCES
from pipeline.results.profile import PRESETS, Profile
from pipeline.results.provenance import SERIES_NUMBERS

MEANINGS: Final[Mapping[StatusMeaning, str]] = {
    StatusMeaning.STORED: "stored",
    StatusMeaning.NOTED: "stored; the status is noted in the job",
    StatusMeaning.LATER: "sent again later",
    StatusMeaning.NEVER: "final: a dead letter, which an operator may send again",
}
PEER: Final = DicomPeer(ae_title="PACS", host="localhost", port=104)
REMOTE: Final = DicomRemote(kind="dicom", peer=PEER)
MATCHED: Final = "1.2.3"


def named(sop_class: str) -> str:
    """The name of a SOP class or transfer syntax; of one that the dictionary lacks none."""
    known = [item.name for item in OBJECTS.values() if item.sop_class == sop_class]
    name = UID(sop_class).name
    return known[0] if known else "" if name == sop_class else name


def syntaxes_in() -> list[str]:
    """Transfer syntaxes that the listener accepts, in the order in which it prefers them."""
    return table(("transfer syntax", "UID"), [(item.name, f"`{item}`") for item in transfer_syntaxes()])


def syntaxes_out() -> list[str]:
    """Transfer syntaxes that are proposed for results, by preset."""
    rows = []
    for preset, profile in PRESETS.items():
        alike: dict[str, list[str]] = {}
        for kind in profile.objects:
            offered = "; ".join(UID(syntax).name for _, syntax in proposed(kind, profile))
            alike.setdefault(offered, []).append(kind)
        rows += [(f"`{preset}`", ", ".join(kinds), offered) for offered, kinds in alike.items()]
    return table(("profile", "objects", "proposed, a presentation context each"), rows)


def proposed(kind: str, profile: Profile) -> list[tuple[UID, UID]]:
    """(SOP class, transfer syntax) of each context that is proposed for an object of ``kind``."""
    return proposals([Instance(Path(), OBJECTS[kind].sop_class, UID(""), encoded_as(kind, profile))])


def encoded_as(kind: str, profile: Profile) -> UID:
    """The transfer syntax of an object of ``kind`` on disk: codecs take whole bytes of pixels alone."""
    whole = kind == "overlay" or (kind == "segmentation" and profile.segmentation_type != "BINARY")
    own = profile.transfer_syntax_uid
    return uid.ExplicitVRLittleEndian if own.is_encapsulated and not whole else own


def objects() -> list[str]:
    """Every kind of result."""
    rows = [
        (kind, item.name, f"`{item.sop_class}`", item.modality, str(SERIES_NUMBERS[kind.split(",")[0]]), item.content)
        for kind, item in OBJECTS.items()
    ]
    return table(("object", "SOP class", "UID", "Modality", "Series Number", "content"), rows)


def modules() -> list[str]:
    """The modules of each kind of result."""
    rows = [(kind, ", ".join(item.modules)) for kind, item in OBJECTS.items()]
    return table(("object", f"modules, besides {', '.join(COMMON)}"), rows)


def accepted() -> list[str]:
    """Presentation contexts that the listener accepts."""
    groups: dict[tuple[str, str, str], int] = {}
    for context in supported_contexts(commitment=True):
        key = (_group(context), _syntaxes(context), _roles(context))
        groups[key] = groups.get(key, 0) + 1
    rows = [(f"{name} ({count})" if count > 1 else name, *rest) for (name, *rest), count in groups.items()]
    return table(("abstract syntax", "transfer syntaxes", "role of the node"), rows)


def _group(context: PresentationContext) -> str:
    name = str(context.abstract_syntax)
    return "storage SOP classes, [annex](#storage-sop-classes)" if name in storage_classes() else named(name)


def _syntaxes(context: PresentationContext) -> str:
    mine = tuple(map(UID, context.transfer_syntax or ()))
    all_of_them = set(mine) == set(transfer_syntaxes())
    return f"all {len(mine)} of [section 1](#1-overview)" if all_of_them else ", ".join(item.name for item in mine)


def _roles(context: PresentationContext) -> str:
    return "SCP and SCU, by role selection" if context.scu_role and context.scp_role else "SCP"


def rejections() -> list[str]:
    """A-ASSOCIATE-RJ: result, source, reason."""
    return table(("result, source, reason", "when"), stated(Listener._requested))  # noqa: SLF001  (its docstring)


def store_statuses() -> list[str]:
    """Statuses of C-STORE as SCP."""
    return table(("status", "meaning"), stated(Listener._store_instance))  # noqa: SLF001  (its docstring)


def action_statuses() -> list[str]:
    """Statuses of N-ACTION as SCP."""
    return table(("status", "meaning"), stated(StorageCommitment.n_action))


def event_statuses() -> list[str]:
    """Statuses of N-EVENT-REPORT, received."""
    return table(("status", "meaning"), stated(StorageCommitment.n_event_report))


def get_statuses() -> list[str]:
    """Statuses of the C-STORE sub-operations of C-GET."""
    return table(("status", "meaning"), stated(fetching._Getting.store))  # noqa: SLF001  (its docstring)


def heeded_statuses() -> list[str]:
    """What the node makes of every status that a PACS answers to C-STORE."""
    by_meaning: dict[StatusMeaning, list[int]] = {meaning: [] for meaning in MEANINGS}
    for status in range(1 << 16):
        by_meaning[verdict(status)].append(status)
    rows = []
    for meaning, codes in by_meaning.items():
        text = "every other" if meaning is StatusMeaning.NEVER else ranges(codes)
        texts = [status_text(code) for code in codes]
        words = dict.fromkeys(text.partition(" ")[2] for text in texts if " " in text)
        rows.append((text, ", ".join(words), MEANINGS[meaning]))
    return table(("status", "among them", "the result is"), rows)


def stow_statuses() -> list[str]:
    """HTTP statuses of STOW-RS as origin server."""
    return table(("status", "meaning"), stated(service.stow_router))


def stow_reasons() -> list[str]:
    """Failure reasons of STOW-RS as origin server."""
    return table(
        ("Failure Reason (0008,1197)", "meaning"), [(f"0x{code:04X}", text) for code, text in COMMENTS.items()]
    )


class _Questions:
    """Stands for an association: records the identifiers of C-FIND, and answers none."""

    def __init__(self) -> None:
        self.accepted_contexts = [build_context(MODELS[0])]
        self.asked: list[Dataset] = []

    def send_c_find(self, query: Dataset, _: str) -> Iterator[Any]:
        """Record ``query``."""
        self.asked.append(query)
        return iter(())


def find_keys() -> list[str]:
    """The keys of every C-FIND that the node sends, as `Finder` and `presence` make them."""
    asked: Any = _Questions()
    finder = Finder(asked, REMOTE)
    finder.studies(StudyQuery(MATCHED, MATCHED, MATCHED))
    finder.series(MATCHED, MATCHED)
    finder.instances(MATCHED, MATCHED)
    uses = ["`candela find` and `fetch`", "the same, and `expected_count`", "the same, where counts are not stated"]
    presence._instances(asked, MATCHED, MATCHED)  # noqa: SLF001  (what it asks)
    uses.append("before a resend: what the PACS still has")
    rows = [
        (str(query.QueryRetrieveLevel), use, _keys(query, matching=True), _keys(query, matching=False))
        for use, query in zip(uses, asked.asked, strict=True)
    ]
    return table(("level", "used for", "single value matching, where given", "return keys"), rows)


def _keys(query: Dataset, *, matching: bool) -> str:
    found = [e.keyword for e in query if e.keyword != "QueryRetrieveLevel" and bool(e.value) == matching]
    return ", ".join(f"{dictionary_description(tag_for_keyword(name) or 0)}" for name in found)


def retrieve_keys() -> list[str]:
    """The identifier of C-GET and C-MOVE."""
    query = fetching.retrieve_keys(FoundSeries(MATCHED, MATCHED, "MR", None), MATCHED)
    names = [e.name for e in query if e.keyword != "QueryRetrieveLevel"]
    return [
        f"The identifier is at level {query.QueryRetrieveLevel}: {', '.join(names)} (the patient where it is known)."
    ]


def requested() -> list[str]:
    """Presentation contexts that the node proposes, besides those of results."""
    find, get, move = (", ".join(map(named, models)) for models in (MODELS, fetching.GET, fetching.MOVE))
    plain = ", ".join(UID(item).name for item in build_context(Verification).transfer_syntax or ())
    all_of_them = (
        f"all {len(transfer_syntaxes())} of [section 1](#1-overview), a context each; the usual ones first, where"
        f" {fetching.CONTEXTS_MOST} contexts are too few"
    )
    rows = [
        (named(Verification), plain, "SCU", "`candela echo`"),
        (find, plain, "SCU", "`candela find` and `fetch`, `expected_count`, before a resend (Study Root)"),
        (get, plain, "SCU", "`candela fetch`"),
        ("the storage SOP classes of the series", all_of_them, "SCP, by role selection", "C-GET"),
        (move, plain, "SCU", "`candela fetch`, where the PACS offers no C-GET"),
        (named(StorageCommitmentPushModel), plain, "SCU", "destinations with `commitment = true`"),
        (named(StorageCommitmentPushModel), plain, "SCP, by role selection", "reports to `peers.commitment_to`"),
    ]
    return table(("abstract syntax", "transfer syntaxes", "role of the node", "used for"), rows)


def policies() -> list[str]:
    """Association policies, with the defaults of the settings."""
    receive, limits = Receive(), Receive().limits
    calling = application_entity("CANDELA")
    waits = time_text(DicomDestination(kind="dicom", peer=PEER).timeout)
    rows = [
        ("Application Context Name", "1.2.840.10008.3.1.1.1", "the same"),
        (
            "associations at once",
            f"{receive.maximum_associations}, of one AE title {limits.associations_per_peer}",
            "one for each result that is being sent; two at once from each worker",
        ),
        ("Maximum PDU Length announced", size_text(limits.pdu_bytes), f"{calling.maximum_pdu_size} B"),
        ("asynchronous operations", "not negotiated: one at a time", "not negotiated: one at a time"),
        ("Implementation Class UID", *[f"`{calling.implementation_class_uid}`"] * 2),
        ("Implementation Version Name", *[f"`{calling.implementation_version_name}`"] * 2),
        ("SCP/SCU role selection", "answered for Storage Commitment", "proposed for C-GET and commitment reports"),
        ("SOP class extended negotiation", "ignored", "not proposed"),
        ("user identity", "ignored", "not proposed"),
        ("presentation contexts", "128", f"{CONTEXTS_MOST} for results; more go by another association"),
        ("time for the association request", time_text(ACSE_TIMEOUT), f"{waits} for the answer"),
        ("idle time before A-ABORT", time_text(receive.network_timeout), waits),
        ("instances, and size of one", f"{limits.instances}, {size_text(limits.instance_bytes)}", "no limit"),
    ]
    return table(("", "the node accepts", "the node requests"), rows)


def copied() -> list[str]:
    """Attributes that results have from the source."""
    names = [dictionary_description(tag_for_keyword(name) or 0) for name in PATIENT_AND_STUDY]
    items = [dictionary_description(tag_for_keyword(name) or 0) for name in PATIENT_AND_STUDY_SEQUENCES]
    return [
        f"- **From the source, byte for byte**: {', '.join(names)}.",
        f"- **From the source, by item**: {', '.join(items)}.",
        "- Values that no format can carry are left out, and the results say so.",
    ]


def character_sets() -> list[str]:
    """Specific Character Sets that are decoded."""
    names = [f"`{name}`" for name in python_encoding if name]
    return [f"{', '.join(names)}."]


def ciphers() -> list[str]:
    """The cipher list of TLS 1.2."""
    return [f"TLS 1.3 with all its ciphers, and TLS 1.2 with `{CIPHERS}` (OpenSSL's notation)."]


def sop_classes() -> list[str]:
    """Every storage SOP class that is accepted."""
    rows = sorted((named(item) or "(retired, without a name in PS3.6)", f"`{item}`") for item in storage_classes())
    return table(("SOP class", "UID"), rows)


TABLES: Final[Mapping[str, Callable[[], list[str]]]] = {
    make.__name__: make
    for make in (
        *(syntaxes_in, syntaxes_out, objects, modules, accepted, rejections, store_statuses, action_statuses),
        *(event_statuses, get_statuses, heeded_statuses, stow_statuses, stow_reasons, find_keys, retrieve_keys),
        *(requested, policies, copied, character_sets, ciphers, sop_classes, fhir_exchanges, hl7_fields),
    )
}
"""By the name that a line ``@table NAME`` of page.md gives."""
