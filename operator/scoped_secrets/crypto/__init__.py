"""Sealing, keys, fingerprints and certificates: the only code that uses a cryptographic library.

Nothing here does I/O, reads a clock or logs. Randomness is drawn only where a key is generated, a certificate
gets its serial number, and inside HPKE's encapsulation.
"""
