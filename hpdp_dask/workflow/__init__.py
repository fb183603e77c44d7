"""What a command leaves behind: its folder, whole or not at all, `run.json` and the report."""
