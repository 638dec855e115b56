"""Findings as HL7 FHIR resources, and the client that posts them (shares its name with PyPI's ``fhir.resources``)."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
