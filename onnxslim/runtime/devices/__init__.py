"""Where models are timed and their kernels looked at: here, or on another machine that they will be served on."""
