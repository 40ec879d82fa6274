"""Tells others what happened: by webhook, by command, by mail; once, in order for each device, until it has arrived."""
