"""The audit trail, and its forwarding to a FHIR audit repository."""
