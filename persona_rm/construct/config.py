"""The settings of construction."""

from persona_rm.config import Config


class ConstructConfig(Config):
    """The published setting (paper, section 4 and appendix A), and what a laptop needs."""

    n_clusters: int = 3
    threshold: float = 0.6
    n_ugc: int = 16
    n_pairs: int = 16
    min_items: int = 4
    """A persona component (UGC, PAIR) with fewer items is left empty; an example with both empty is dropped."""
    mirror: bool = False
    """Also an example of somebody of the opposite views, who chooses the rejected response: in mirrored.jsonl."""
    candidates: int = 64
    """A search stops after so many similar posts; `n_ugc` or `n_pairs` of them are drawn."""
    min_chars: int = 10
    max_chars: int = 4000
    max_threads: int | None = None
    workers: int | None = None
    """Annotator actors; None is one per core."""
    annotate_batch: int = 256
    """Threads per call of the annotator."""
