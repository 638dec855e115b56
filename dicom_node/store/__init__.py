"""What is on disk: received instances, their index, files that are whole or absent, the layout of data_dir."""
