"""Names that OpenRLHF imports when it starts (models/ring_attn_utils.py:3-4), for machines without flash-attn.

Only packing and ring attention call them, and both are off in a rehearsal.
"""
