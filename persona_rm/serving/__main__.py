"""Reward actors, and the inference actor, on a cluster that already runs, for jobs that are submitted to it.

    python -m persona_rm.serving start BUNDLE --actors 2 --gpus 0.25     before the job reserves its GPUs
    python -m persona_rm.serving info | health | stop

It connects as Ray does (RAY_ADDRESS, or the cluster of this machine). The actors run until they are stopped. A
supervisor restarts actors that hang, and adds actors while many rows wait, up to `--max-actors`. The inference actor
is started if the bundle names a profile store; `--inference` starts it for any bundle.
"""

import argparse
import json
import sys
from pathlib import Path

from persona_rm.errors import PersonaRMError
from persona_rm.serving.pool.pool import NAMESPACE, Policy, running, start_pool


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m persona_rm.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--namespace", default=NAMESPACE, help="PERSONA_RM_NAMESPACE of the job")
    verbs = parser.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start", help="create the actors and wait until each has scored a sentence")
    start.add_argument("bundle", type=Path, help="PERSONA_RM_BUNDLE of the job")
    start.add_argument("--actors", type=int, default=1)
    start.add_argument("--min-actors", type=int, help="size to which an idle pool shrinks; default --actors")
    start.add_argument("--max-actors", type=int, help="size to which a busy pool grows; default --actors")
    start.add_argument(
        "--stuck-after",
        type=float,
        default=Policy().stuck_after,
        metavar="SECONDS",
        help="timeout of one batch, after which its actor is restarted",
    )
    start.add_argument("--cpus", type=float, default=1, help="CPUs of each actor")
    start.add_argument("--gpus", type=float, default=0, help="GPUs of each actor; may be a fraction")
    start.add_argument("--inference", action="store_true", default=None, help="start the inference actor too")
    start.add_argument("--run", type=Path, help="folder for the log of scored samples")
    verbs.add_parser("info", help="what the actors serve, and their counters")
    verbs.add_parser("health", help="the ready actors, and what the supervisor did")
    verbs.add_parser("stop", help="end the actors")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        import ray

        ray.init(address="auto", namespace=args.namespace, log_to_driver=False, logging_level="warning")
        sys.stdout.write(json.dumps(_run(args), indent=2) + "\n")
    except (PersonaRMError, ConnectionError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _run(args: argparse.Namespace) -> object:
    if args.verb == "start":
        options = {"num_cpus": args.cpus, "num_gpus": args.gpus, "run_dir": args.run, "namespace": args.namespace}
        policy = Policy(args.min_actors or args.actors, args.max_actors or args.actors, args.stuck_after)
        return start_pool(args.bundle, args.actors, inference=args.inference, policy=policy, **options).info()
    pool = running(args.namespace)
    if args.verb == "health":
        return pool.health()
    if args.verb == "info":
        return pool.info()
    pool.stop()
    return {"stopped": list(pool.every)}


if __name__ == "__main__":
    sys.exit(main())
