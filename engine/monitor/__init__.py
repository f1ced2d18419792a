"""Sensors of the machine: GPU (NVML), CPU, RAM, disk, network, pressure; one sampler over them."""
