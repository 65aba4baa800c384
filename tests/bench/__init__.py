"""Measurements of the operator beside bare floors, side by side in one run: ``make bench``.

Machines are shared and noisy, so every figure stands beside a floor that was taken in turn with it, and what counts is
the ratio of the two. Nothing here passes or fails on a time.
"""
