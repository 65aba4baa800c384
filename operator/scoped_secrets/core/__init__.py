"""The pure core: values in, values out. No I/O, clock, randomness, framework or logging (DESIGN section 10)."""
