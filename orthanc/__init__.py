"""Orthanc as a peer: its client, and the configuration and scripts that Orthanc itself loads."""
