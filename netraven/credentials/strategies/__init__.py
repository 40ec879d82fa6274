"""The orders that NetRaven brings along, one file each."""
