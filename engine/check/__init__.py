"""The system check: software, GPUs, host, storage and speed of this machine."""
