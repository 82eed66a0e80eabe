"""The preference space: dimensions, poles and wordings as data."""

from persona_rm.space.load import load_space
from persona_rm.space.space import Dimension, Pole, PreferenceSpace, table

__all__ = ["Dimension", "Pole", "PreferenceSpace", "load_space", "table"]
