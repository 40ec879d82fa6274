"""The whole history in one file, to take along: written, looked over, and read in again.

A zstd stream of JSON lines: a header, the devices by name, every text once by its digest, the versions by device, kind
and number, and an end that counts them and has a digest of all that came before it.
"""
