"""When jobs are due: cron lines, zones, windows, and what becomes of due times that went by."""
