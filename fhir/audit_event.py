"""A line of the audit trail as a FHIR R4 AuditEvent, after the patterns of IHE's Basic Audit Log Patterns.

Activity, action and outcome are DICOM's (PS3.15 A.5), which R4's AuditEvent takes as they are. No patient is named: the
study is given by its UID, or by the hash that the trail has. R4's AuditEvent has no identifier; a tag replaces it, so
that an event which is sent twice is stored once.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final

from fhir.bundle.coding import coding
from pipeline.findings import codes
from pipeline.findings.codes import Code

DCM: Final = codes.SYSTEMS["DCM"]
URI: Final = "urn:ietf:rfc:3986"
HL7: Final = "http://terminology.hl7.org/CodeSystem"
ADDRESS_TYPES: Final = {"name": "1", "ip": "2", "uri": "5"}

Json = dict[str, Any]


def audit_event(record: Json, observer: str) -> Json:
    """The AuditEvent of one record of `dicom_node.audit.trail`; ``observer`` is the name of the node."""
    activity = record["activity"]
    event: Json = {
        "resourceType": "AuditEvent",
        "meta": {"tag": [{"system": URI, "code": f"urn:uuid:{record['id']}"}]},
        "type": {"system": DCM, "code": activity["code"], "display": activity["meaning"]},
        "action": record["action"],
        "recorded": record["time"],
        "outcome": str(record["outcome"]),
        "agent": [
            _agent(record["source"], codes.SOURCE_ROLE, requestor=record["source"]["name"] == observer),
            _agent(record["destination"], codes.DESTINATION_ROLE, requestor=record["destination"]["name"] == observer),
        ],
        "source": {
            "observer": {"display": observer},
            "type": [{"system": f"{HL7}/security-source-type", "code": "4", "display": "Application Server"}],
        },
    }
    if not any(agent["requestor"] for agent in event["agent"]):
        event["agent"][0]["requestor"] = True  # the sender asked for the association
    if record["reason"]:
        event["outcomeDesc"] = record["reason"]
    entities = list(_entities(record))
    if entities:
        event["entity"] = entities
    return event


def transaction(records: Iterable[Json], observer: str) -> Json:
    """A transaction Bundle that creates the events of ``records``, each unless the server has it."""
    entries = []
    for record in records:
        event = audit_event(record, observer)
        tag = event["meta"]["tag"][0]
        request = {"method": "POST", "url": "AuditEvent", "ifNoneExist": f"_tag={tag['system']}|{tag['code']}"}
        # Not the tag's own UUID: a server replaces what reads as an entry's fullUrl by the new resource's address.
        full_url = f"urn:uuid:{uuid.uuid5(uuid.UUID(record['id']), 'AuditEvent')}"
        entries.append({"fullUrl": full_url, "resource": event, "request": request})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _agent(party: Json, role: Code, *, requestor: bool) -> Json:
    agent: Json = {
        "type": {"coding": [coding(role)]},
        "who": {"display": party["name"]},
        "requestor": requestor,
    }
    if party["address"]:
        agent["network"] = {"address": party["address"], "type": ADDRESS_TYPES[_kind_of(party["address"])]}
    return agent


def _kind_of(address: str) -> str:
    if "://" in address:
        return "uri"
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]") or address)
    except ValueError:
        return "name"
    return "ip"


def _entities(record: Json) -> Iterator[Json]:
    """The objects of the event: the studies, and the job with its result."""
    for study in record["studies"]:
        details = [{"type": "Series Instance UID", "valueString": uid} for uid in record["series"]]
        details += [{"type": "SOP Instance UID", "valueString": uid} for uid in record.get("instances", ())]
        if record["count"] is not None:
            details.append({"type": "Number of instances or resources", "valueString": str(record["count"])})
        yield {
            "what": {"identifier": _identifier(study)},
            "type": {"system": f"{HL7}/audit-entity-type", "code": "2", "display": "System Object"},
            "role": {"system": f"{HL7}/object-role", "code": "3", "display": "Report"},
            **({"detail": details} if details else {}),
        }
    if record["job"]:
        yield {
            "what": {"identifier": {"value": record["job"]}},
            "type": {"system": f"{HL7}/audit-entity-type", "code": "4", "display": "Other"},
            "role": {"system": f"{HL7}/object-role", "code": "20", "display": "Job"},
            **({"name": record["what"]} if record["what"] else {}),
        }


def _identifier(uid: str) -> Json:
    """A UID, or the hash of one."""
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"} if "." in uid else {"value": uid}
