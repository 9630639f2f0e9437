"""What everything stands on: errors with their exit codes, the report a step gives, progress, workers, the version."""
