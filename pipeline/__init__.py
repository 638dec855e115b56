"""The core: types, geometry, volume building and result objects. No network, no database, no clock of its own."""
