"""Reports to EHRs without FHIR: HL7 v2 ORU^R01 over MLLP."""
