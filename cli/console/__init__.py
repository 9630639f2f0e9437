"""What people see: tables, notes, the JSON and the report, on which stream."""
