"""Knowledge distillation, block by block and end to end: what is taught, in which steps, judged by the runtime."""
