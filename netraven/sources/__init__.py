"""Secrets that are kept elsewhere: read where their owners put them, held in memory for a short time, never stored."""
