"""Configurations over time: what is noise, what is secret, what changed. Pure, but for what is read through ports."""
