"""A run: devices in, outcomes out."""
