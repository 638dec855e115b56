"""What the node states about itself to a hospital, made from the tables of the code: docs/conformance.md and the FHIR
CapabilityStatement. ``python -m dicom_node.conformance.page`` writes them.
"""
