"""Which credential, in which order, and may it be tried."""
