"""Cleaning of threads before construction: length, bots, language, blocklist, duplicates and personal identifiers."""

from persona_rm.construct.cleaning.cleaner import Cleaned, Cleaner
from persona_rm.construct.cleaning.config import CleanConfig

__all__ = ["CleanConfig", "Cleaned", "Cleaner"]
