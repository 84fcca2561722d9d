"""Amounts as people read them."""

from __future__ import annotations


def byte_count(count: float) -> str:
    """Return bytes in decimal units, as the Hub and the sellers of disks and data plans count them."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """Return a time span in the unit that fits it."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def counted(count: int, noun: str) -> str:
    """Return a number of things: 1 record, 2,000 records."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
