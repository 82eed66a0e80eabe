"""Files: JSON rows, Parquet, the AlignX format and atomic writes."""
