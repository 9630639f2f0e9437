"""Energy read from counters: RAPL of the processor, NVML of a device."""
