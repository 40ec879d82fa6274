"""The daemon: schedules, runs and what an operator sees of them, in one process that runs for months."""
