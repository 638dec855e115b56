"""Orthanc as a neighbour: client, and the configuration and scripts that Orthanc itself loads."""
