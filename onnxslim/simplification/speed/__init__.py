"""What exact rewrites cost or save in time: claims about the runtime's kernels, and the reasons that rules decline with."""
