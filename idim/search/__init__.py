"""Decide which d to run next, and what the runs say of d90.

Every function takes the history of a search, and returns the next runs, a stop or an interval. All
are pure: this room knows no torch, no clock and no disk.
"""
