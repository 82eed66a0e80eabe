"""The verb bundle: a reward bundle from a team's own users."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from persona_rm.cli.app import app, console, told
from persona_rm.cli.check_table import interval, print_check
from persona_rm.cli.users_input import ColumnMap, UsersFile, read_input
from persona_rm.io.text import counted

KeepTexts = Annotated[
    bool | None,
    typer.Option(
        "--keep-texts/--no-keep-texts",
        help="Write the users' texts into the bundle. By default only if they are less than 5 million characters.",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="The folder of your policy's tokenizer, or of the policy. It says where an answer ends, which prompts "
        "arrive in the chat template, and how prompts of several turns are written."
    ),
]


@app.command()
def bundle(
    users: UsersFile,
    out: Annotated[Path, typer.Option(help="The folder of the bundle.")],
    method: Annotated[
        str,
        typer.Option(
            help="The method: centroid, bradley_terry, pba_linear (directions that an annotator of English text "
            "reads), or auto: centroid if `check` says that it helps."
        ),
    ] = "auto",
    columns: ColumnMap = None,
    sample: Annotated[
        int, typer.Option(min=0, help="At most so many users are evaluated for `auto`; 0 takes all. All are fitted.")
    ] = 1000,
    keep_texts: KeepTexts = None,
    tokenizer: Tokenizer = None,
) -> None:
    """Fit a reward on your users and write its bundle: the pooled reward, and every user's state.

    `auto` runs `persona-rm check` first. It takes `centroid` if the check says that it helps (the lower 95 % bounds of
    its gains are above 0), and else the pooled reward, the same for all users. Nothing but these users is read. The
    bundle is loaded and scored, and then every command up to the job is printed.

    Example: `persona-rm bundle users.jsonl --out my_bundle --tokenizer my_policy`
    """
    with told():
        from persona_rm.backends.base import Backends
        from persona_rm.backends.minilm import MiniLM, MiniLMConfig
        from persona_rm.bundle.fit_bundle import check_folder, fit_bundle
        from persona_rm.io.progress_bar import progress_bar
        from persona_rm.pipeline.members import tokenizer_folder
        from persona_rm.users.candidates import check_users, settings_of

        named = tokenizer_folder(tokenizer) if tokenizer is not None else None
        if method != "auto":
            settings_of(method)
        check_folder(out)
        people = read_input(users, columns).users
        encoder = MiniLM(MiniLMConfig(memory=1_000_000))
        if method == "auto":
            with progress_bar(console, "check", 100) as update:
                result = check_users(
                    people, sample=sample or None, backends=Backends(encoder=encoder), annotate=False,
                    progress=lambda done, of: update(100 * done // of),
                )  # fmt: skip
            print_check(result)
        chosen = _chosen(result) if method == "auto" else method
        if method != "auto":
            console.print(f"The method is {method}, as --method says; `persona-rm check` tells whether it helps.")
        with progress_bar(console, "states", len(people)) as update:
            fitted = fit_bundle(
                people, out, chosen, keep_texts=keep_texts, encoder=encoder, tokenizer=named,
                progress=lambda done, of: update(done),
            )  # fmt: skip
        _print_bundle(fitted, named)
        verdict = f"Verdict: {result.verdict.answer}. " if method == "auto" else ""
        console.print(f"{verdict}Written: {fitted.method} in {fitted.folder}", style="bold", highlight=False)


def _chosen(result: Any) -> str:
    """The method that `auto` takes, said aloud with the reason."""
    from persona_rm.users.candidates import PERSONAL, taken_by_auto

    taken = taken_by_auto(result)
    right = f", which is right on {interval(taken.figure)} of the held-out comparisons" if taken.figure else ""
    if taken.method == PERSONAL:
        reason = (
            "because the check above shows a gain: both lower bounds are above 0, a rule that was fixed beforehand. "
            "The same comparisons made this choice, so the gain above is optimistic; expect less on new ones."
        )
    else:
        reason = (
            "because the check did not show that a personal reward helps. It is the same for all users; "
            f"--method {PERSONAL} fits a personal one all the same."
        )
    console.print(f"--method auto takes {taken.words}{right}, {reason}", highlight=False)
    return taken.method


def _lacking(fitted: Any) -> str:
    """What is lacking about the users for whom the prior answers."""
    from persona_rm.users.candidates import ANNOTATED

    return "no text in which the annotator reads a preference" if fitted.method == ANNOTATED else "no comparison"


def _print_bundle(fitted: Any, tokenizer: Path | None) -> None:
    from persona_rm.users.candidates import PERSONAL

    scored = ", ".join(f"{what} {reward:+.3f}" for what, reward in fitted.scored.items())
    console.print(
        f"\n{fitted.folder}: {fitted.method}, {counted(fitted.users, 'user')}. Rewards at start-up: {scored}.",
        highlight=False,
    )
    if fitted.method == PERSONAL and fitted.scored["known user"] == fitted.scored["unknown user"]:
        console.print(
            "warning: a known user gets the reward of an unknown one. The fit gave the personal part no weight: "
            "it predicts these users' choices under other prompts no better. More comparisons under more prompts may "
            "change that; until then this bundle rewards every user alike.",
            style="yellow",
        )
    if fitted.cut:
        console.print(f"note: {fitted.cut}.", highlight=False)
    if fitted.without_evidence:
        console.print(f"The prior answers for {counted(fitted.without_evidence, 'user')} with {_lacking(fitted)}.")
    if fitted.erased:
        console.print(f"Left out: {counted(fitted.erased, 'user')} of the file, erased from this bundle before.")
    texts = "holds the users' texts" if fitted.kept_texts else "holds no texts, only their ids"
    console.print(f"The bundle {texts}.", highlight=False)
    _print_next_steps(fitted, tokenizer)


def _print_next_steps(fitted: Any, tokenizer: Path | None) -> None:
    """The commands that follow, in the order in which they are typed."""
    from persona_rm.hosts import load_host

    folder = shlex.quote(str(fitted.folder.resolve()))
    user = shlex.quote(fitted.example)
    start, _ = load_host().lines(fitted.folder.resolve())
    lines = [
        "\nTry it:",
        f"  persona-rm score {folder} --user {user} --prompt 'Hello?' --response 'Hi!' --response 'Good day.'",
        "Rehearse your own job, small, on a CPU (prompts.jsonl: rows with a prompt and a user):",
        f"  persona-rm rehearse --bundle {folder} --prompts prompts.jsonl -- \\",
        "    python -m openrlhf.cli.train_ppo_ray ... --data.input_key prompt --data.label_key user",
        "Run it. The job starts no reward actors: start them on its Ray cluster before it.",
        f"  {start}",
        "  # for the job: in your shell, or in env_vars of its runtime_env if the cluster runs already",
        f"  export PERSONA_RM_BUNDLE={folder}",
        "  # flags of the job; the label key is the column of your prompts that names the user",
        '  --reward.remote_url "$(persona-rm where openrlhf)" --data.label_key user',
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if tokenizer is None:
        console.print(
            "note: the bundle names no tokenizer, so with this line the ends of answers are known by common "
            "spellings only, and prompts in a chat template are not recognised. --tokenizer FOLDER names your "
            "policy's; "
            '--train.agent_func_path "$(persona-rm where openrlhf --agent)" has the tokenizer of the job.',
            highlight=False,
        )
    else:
        console.print(f"Answers end, and chats are written, as the tokenizer in {tokenizer} says.", highlight=False)
