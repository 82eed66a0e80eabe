"""The zoo of benchmarks: a method -> numbers with intervals."""

from persona_rm.registry import Registry

BENCHMARKS = Registry(
    "persona_rm.benchmarks",
    {
        "simulator": "persona_rm.benchmarks.simulator:SimulatorBenchmark",
        "psoups": "persona_rm.benchmarks.psoups:PSoups",
        "alignx": "persona_rm.benchmarks.alignx:AlignX",
        "ukp": "persona_rm.benchmarks.ukp:Ukp",
        "cobbler": "persona_rm.benchmarks.cobbler:Cobbler",
        "llmfao": "persona_rm.benchmarks.llmfao:Llmfao",
        "polis": "persona_rm.benchmarks.polis:Polis",
        # A users file is read by a part above this one, which the table names and nothing here imports.
        "users_file": "persona_rm.users.users_benchmark:UsersBenchmark",
    },
    "persona_rm.benchmarks.base:Benchmark",
)
