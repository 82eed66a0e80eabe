"""The preference space: dimensions, poles and wordings as data."""

from persona_rm.space.space import Dimension, Pole, PreferenceSpace, table
from persona_rm.space.space_file import load_space

__all__ = ["Dimension", "Pole", "PreferenceSpace", "load_space", "table"]
