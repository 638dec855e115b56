"""Delivery of results: to a PACS by C-STORE or STOW-RS, a FHIR server, an HL7 v2 receiver, a folder. Each
module has one `Sender`.
"""
