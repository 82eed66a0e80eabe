"""Verbs over preference data for DPO: relabel and pairs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from persona_rm.cli.app import app, console, told
from persona_rm.cli.users_input import ColumnMap
from persona_rm.errors import RecipeError

BAD_ROWS = 3
"""The exit code if rows were written and some input was quarantined, as `build` has it."""
BundleFolder = Annotated[
    Path, typer.Option(help="The bundle folder whose rewards decide, such as RUN/ppo/SECTION/bundle of a run.")
]
Out = Annotated[Path, typer.Option(help="The file for the rows (JSON lines). The report is written beside it.")]
UserColumn = Annotated[str, typer.Option(help="The column that names the user of a row.")]
Users = Annotated[
    Path | None, typer.Option(help="A users file: every row is used for each user in it, whatever the row names.")
]
MinMargin = Annotated[
    float, typer.Option(min=0, help="The smallest difference of two rewards that counts as a preference.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at a user that the bundle does not know, instead of a warning.")
]
Mode = Annotated[
    str,
    typer.Option(
        help="What happens to a pair whose user prefers the rejected response. keep: nothing. swap: the responses "
        "change places. drop: it is left out. weight: as swap, and a sure preference is written more often."
    ),
]
Batch = Annotated[int, typer.Option(min=1, help="How many rows are worked on together.")]
Seed = Annotated[int, typer.Option(help="The seed of all random draws.")]


@app.command()
def relabel(
    prefs: Annotated[
        Path,
        typer.Argument(
            help="Preference data (JSON lines, Parquet or CSV): prompt, chosen and rejected, texts or chat messages."
        ),
    ],
    bundle: BundleFolder,
    out: Out,
    user_column: UserColumn = "user",
    columns: ColumnMap = None,
    users: Users = None,
    mode: Mode = "swap",
    min_margin: MinMargin = 0.0,
    copies: Annotated[
        int, typer.Option(min=1, help="With --mode weight: how often a sure preference is written.")
    ] = 4,
    prompts: Annotated[
        str,
        typer.Option(
            help="What the rows hold. policy: the prompt that the policy reads for the user, as text. given: prompt "
            "and responses as they came, for a job with a chat template of its own."
        ),
    ] = "policy",
    strict: Strict = False,
    batch: Batch = 256,
    seed: Seed = 0,
) -> None:
    """Let each user's own reward decide which response of a pair is chosen, for DPO with the same bundle.

    The reward of `chosen` minus that of `rejected` is the pair's margin. It is written as `margin`, where OpenRLHF
    reads it: its reward-model trainer uses it (`--model.margin_loss_enable`), its DPO trainer ignores it, and there
    `--mode weight` has an effect because pairs are repeated. Ties are counted. OUT_report.json has all counts by user.

    Rows that cannot be read or scored are written to OUT_quarantine.jsonl with file, row and key; then the exit code
    is 3. A run that was interrupted goes on where it stopped.

    Example: `persona-rm relabel prefs.jsonl --bundle my_bundle --out dpo.jsonl --mode swap`
    """
    with told():
        from persona_rm.bundle import load_bundle
        from persona_rm.pipeline.stages.relabel import RelabelConfig
        from persona_rm.pipeline.stages.relabel import relabel as run_relabel

        loaded = load_bundle(bundle)
        config = _settings(
            RelabelConfig, loaded, users, columns, mode=mode, copies=copies, prompts=prompts, user_column=user_column,
            min_margin=min_margin, strict=strict, batch=batch, seed=seed,
        )  # fmt: skip
        try:
            report = run_relabel(str(prefs), loaded, out, config, console)
        finally:
            loaded.close()
        _show(report, out, f"{prefs.name}: pairs by user ({mode})")
    raise typer.Exit(BAD_ROWS if report.bad_rows else 0)


@app.command()
def pairs(
    prompts: Annotated[
        Path,
        typer.Argument(help="Prompt data (JSON lines, Parquet or CSV): prompt, a text or chat messages."),
    ],
    bundle: BundleFolder,
    model: Annotated[str, typer.Option(help="The policy that answers: a folder in Hugging Face format.")],
    out: Out,
    n: Annotated[int, typer.Option(min=2, help="Answers for each prompt and user.")] = 4,
    user_column: UserColumn = "user",
    columns: ColumnMap = None,
    users: Users = None,
    min_margin: MinMargin = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="The largest number of tokens of an answer.")] = 256,
    temperature: Annotated[float, typer.Option(help="The temperature of sampling.")] = 1.0,
    cut_answers: Annotated[
        bool, typer.Option("--cut-answers", help="Use answers that were cut at --max-tokens too.")
    ] = False,
    strict: Strict = False,
    batch: Batch = 256,
    seed: Seed = 0,
) -> None:
    """Write DPO pairs from a policy's own answers: the best of n against the worst, by each user's reward.

    The policy reads the prompt as the bundle renders it for the user, and answers through vLLM. Prompts whose answers
    all get the same reward, or differ by less than --min-margin, are counted and left out. OUT_report.json has all
    counts by user; bad rows, the exit code and interruptions are as for `relabel`.

    Example: `persona-rm pairs prompts.jsonl --bundle my_bundle --model my_model --n 4 --out dpo.jsonl`
    """
    with told():
        from persona_rm.bundle import load_bundle
        from persona_rm.hosts.common import device
        from persona_rm.pipeline.members import model_folder
        from persona_rm.pipeline.stages.sampled_pairs import PairsConfig, engine_of, make_pairs

        folder, loaded = model_folder(model), load_bundle(bundle)
        config = _settings(
            PairsConfig, loaded, users, columns, n=n, max_tokens=max_tokens, temperature=temperature,
            cut_answers=cut_answers, user_column=user_column, min_margin=min_margin, strict=strict, batch=batch,
            seed=seed,
        )  # fmt: skip
        engine = engine_of(folder, device())
        try:
            report = make_pairs(str(prompts), loaded, engine, out, config, console, model=folder)
        finally:
            engine.close()
            loaded.close()
        _show(report, out, f"{prompts.name}: pairs by user")
    raise typer.Exit(BAD_ROWS if report.bad_rows else 0)


def _settings(kind: Any, bundle: Any, users: Path | None, columns: list[str] | None, **settings: Any) -> Any:
    """The settings of a verb, with the ids of the users in a users file. Raises `RecipeError` naming the option."""
    from pydantic import ValidationError

    from persona_rm.config import problems
    from persona_rm.users.columns import parse_map
    from persona_rm.users.read_file import read_users_data

    listed = read_users_data(users, space=bundle.space).users if users else ()
    ids = tuple(user.persona.user_id for user in listed)
    try:
        return kind(users=ids, columns=parse_map(columns or ()), **settings)
    except ValidationError as error:
        wrong = [f"--{problem.key.replace('_', '-')}: {problem.text}" for problem in problems(error, kind)]
        raise RecipeError("; ".join(wrong)) from error


def _show(report: Any, out: Path, title: str) -> None:
    """The counts as a table, what is loud, and how the host reads the file."""
    from persona_rm.hosts import load_host

    console.print(report.table(title))
    for warning in report.warnings():
        console.print(f"Warning: {warning}", style="yellow")
    flags = " ".join(f"--{key} {value}" for key, value in load_host().preference_flags(out).items())
    console.print(f"{report.total['rows']:,} rows in {out}. The host reads them by: {flags}", highlight=False)
