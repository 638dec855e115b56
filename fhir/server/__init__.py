"""The client of one FHIR server: requests, authorisation, what it stored, and how a stored report changes or ends."""
