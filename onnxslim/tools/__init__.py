"""What looks at a model and changes nothing: inspect, benchmark, profile, sensitivity, record."""
