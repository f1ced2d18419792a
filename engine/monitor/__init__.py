"""Hardware monitor: GPUs (NVML), CPU, RAM, disks, network, pressure, processes."""
