"""The data on disk: received instances, their index, durable files, the layout of data_dir."""
