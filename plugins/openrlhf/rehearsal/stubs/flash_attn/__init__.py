"""Names that OpenRLHF imports at start-up (models/ring_attn_utils.py:3-4) where flash-attn cannot be built.

Only packing and ring attention call them, and both are off in a rehearsal.
"""
