-- Run once by the PostgreSQL image on an empty volume: the FHIR server's database beside the node's.
CREATE DATABASE fhir;
