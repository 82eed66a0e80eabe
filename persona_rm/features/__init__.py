"""The zoo of features: a prompt and a response -> a row of numbers that linear and small methods read."""

from persona_rm.registry import Registry

FEATURES = Registry(
    "persona_rm.features",
    {
        "encoder": "persona_rm.features.encoder:EncoderFeatures",
        "surface": "persona_rm.features.surface:SurfaceFeatures",
        "contrasts": "persona_rm.features.contrasts:ContrastFeatures",
    },
    "persona_rm.features.base:FeatureExtractor",
)
