"""ZOO persona -> posterior over preference directions."""

from persona_rm.registry import Registry

INFERRERS = Registry(
    "persona_rm.inferrers",
    {
        "vote": "persona_rm.inferrers.vote:VoteInferrer",
        "posterior": "persona_rm.inferrers.posterior:PosteriorInferrer",
        "golden": "persona_rm.inferrers.golden:Golden",
        "retrieval": "persona_rm.inferrers.retrieval:Retrieval",
        "tastes": "persona_rm.inferrers.tastes:Tastes",
        "llm": "persona_rm.inferrers.llm:Llm",
        "summary": "persona_rm.inferrers.summary:Summary",
    },
    "persona_rm.inferrers.base:Inferrer",
)
