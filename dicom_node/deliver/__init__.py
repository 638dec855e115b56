"""Results to their destinations: a PACS by C-STORE, a FHIR server, a folder. Each module offers one `Sender`."""
