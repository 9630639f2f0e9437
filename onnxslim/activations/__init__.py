"""Running a model to learn what its inner tensors hold, part by part, so that a visit to every layer costs one run."""
