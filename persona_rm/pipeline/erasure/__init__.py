"""Erases a user from a bundle or a run: store, users file, logs, statistics, caches and copies in Arrow or Parquet."""

from persona_rm.pipeline.erasure.erase_user import ErasureReport, erase_user

__all__ = ["ErasureReport", "erase_user"]
