"""The audit trail, and its way to a FHIR audit repository."""
