"""See `flash_attn` beside this."""
