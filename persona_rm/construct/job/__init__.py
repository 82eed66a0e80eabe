"""Construction on Ray Data: where the stages run, and when they run again. `construct.stages` computes them."""

from persona_rm.cluster.ray_start import local_ray
from persona_rm.construct.job.actors import AnnotatorSpec
from persona_rm.construct.job.build import build
from persona_rm.construct.job.order import BuildJob, BuildResult

__all__ = ["AnnotatorSpec", "BuildJob", "BuildResult", "build", "local_ray"]
