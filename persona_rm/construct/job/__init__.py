"""Construction on Ray Data. This package says where things run; what is computed stands in the modules beside it."""

from persona_rm.construct.job.build import build
from persona_rm.construct.job.order import BuildJob, BuildResult
from persona_rm.construct.job.ray_start import local_ray
from persona_rm.construct.job.workers import AnnotatorSpec

__all__ = ["AnnotatorSpec", "BuildJob", "BuildResult", "build", "local_ray"]
