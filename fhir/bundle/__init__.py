"""A report as the entries of a FHIR transaction Bundle, and as a page."""
