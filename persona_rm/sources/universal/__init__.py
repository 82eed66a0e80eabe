"""Universal-value sets (paper, Table 1), a small zoo of its own: published preference data -> `ValuePair` rows."""

from persona_rm.registry import Registry
from persona_rm.sources.universal.base import UniversalSource, ValuePair

UNIVERSAL = Registry(
    "persona_rm.universal",
    {
        "ultrafeedback": "persona_rm.sources.universal.ultrafeedback:UltraFeedback",
        "helpsteer2": "persona_rm.sources.universal.helpsteer2:HelpSteer2",
        "pku_saferlhf": "persona_rm.sources.universal.pku_saferlhf:PkuSafeRlhf",
    },
    "persona_rm.sources.universal.base:UniversalSource",
)

__all__ = ["UNIVERSAL", "UniversalSource", "ValuePair"]
