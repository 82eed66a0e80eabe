"""ZOO reward methods: evidence about a user -> rewards of responses."""

from persona_rm.registry import Registry

METHODS = Registry(
    "persona_rm.methods",
    {
        "ica": "persona_rm.methods.ica:ICA",
        "pba": "persona_rm.methods.pba:PBA",
        "contrast": "persona_rm.methods.contrast:Contrast",
        "pba_linear": "persona_rm.methods.pba_linear:PBALinear",
        "bradley_terry": "persona_rm.methods.bradley_terry:BradleyTerry",
        "centroid": "persona_rm.methods.centroid:Centroid",
        "map_linear": "persona_rm.methods.map_linear:MapLinear",
        "eb_linear": "persona_rm.methods.eb_linear:EbLinear",
        "knn_users": "persona_rm.methods.knn_users:KnnUsers",
        "lore": "persona_rm.methods.lore:LoRe",
        "pref": "persona_rm.methods.pref:PRef",
        "mrm": "persona_rm.methods.mrm:MRM",
        "reward_features": "persona_rm.methods.reward_features:RewardFeatures",
        "rater_calibration": "persona_rm.methods.rater_calibration:RaterCalibration",
        "vpl": "persona_rm.methods.vpl:Vpl",
        "spl": "persona_rm.methods.spl:Spl",
        "pal_a": "persona_rm.methods.pal_a:PalA",
        "pal_b": "persona_rm.methods.pal_b:PalB",
        "micro": "persona_rm.methods.micro:Micro",
        "gated": "persona_rm.methods.gated:Gated",
    },
    "persona_rm.methods.base:Method",
)
