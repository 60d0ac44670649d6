"""The figures of a report, one kind a file. Each is a column wide and has its caption."""
