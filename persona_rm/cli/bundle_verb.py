"""The verb bundle: a reward bundle from a team's own users."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from persona_rm.cli.app import app, console, told
from persona_rm.cli.check import print_check
from persona_rm.cli.users_input import ColumnMap, UsersFile, read_input

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
    bundle is loaded and scored before the two lines for the host are printed.

    Example: `persona-rm bundle users.jsonl --out my_bundle --tokenizer my_policy`
    """
    with told():
        from persona_rm.backends.base import Backends
        from persona_rm.backends.minilm import MiniLM, MiniLMConfig
        from persona_rm.bundle.fit_bundle import fit_bundle
        from persona_rm.io.progress_bar import progress_bar
        from persona_rm.pipeline.members import tokenizer_folder
        from persona_rm.users.candidates import check_users, settings_of

        named = tokenizer_folder(tokenizer) if tokenizer is not None else None
        if method != "auto":
            settings_of(method)
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


def _chosen(result: Any) -> str:
    """The method that `auto` takes, said aloud with the reason."""
    from persona_rm.users.candidates import PERSONAL, POOLED_METHOD

    if result.verdict.answer == "helps":
        console.print(
            f"--method auto takes {PERSONAL}, because the check above shows a gain: both lower bounds are above 0, a "
            "rule that was fixed beforehand. The same comparisons made this choice, so the gain above is optimistic; "
            "expect less on new ones.",
            highlight=False,
        )
        return PERSONAL
    pooled = str(POOLED_METHOD["name"])
    console.print(
        f"--method auto takes {pooled}, the same reward for all users, because the check did not show that a personal "
        f"reward helps. --method {PERSONAL} fits one all the same.",
        highlight=False,
    )
    return pooled


def _lacking(fitted: Any) -> str:
    """What the users lack for whom the prior answers."""
    from persona_rm.users.candidates import ANNOTATED

    return "no text in which the annotator reads a preference" if fitted.method == ANNOTATED else "no comparison"


def _print_bundle(fitted: Any, tokenizer: Path | None) -> None:
    from persona_rm.users.candidates import PERSONAL

    scored = ", ".join(f"{what} {reward:+.3f}" for what, reward in fitted.scored.items())
    console.print(f"\n{fitted.folder}: {fitted.method}, {fitted.users:,} users. Rewards at start-up: {scored}.")
    if fitted.method == PERSONAL and fitted.scored["known user"] == fitted.scored["unknown user"]:
        console.print(
            "warning: a known user gets the reward of an unknown one. The fit gave the personal part no weight: "
            "it predicts these users' choices under other prompts no better. More comparisons under more prompts may "
            "change that; until then this bundle rewards every user alike.",
            style="yellow",
        )
    if fitted.without_evidence:
        console.print(f"{fitted.without_evidence:,} users have {_lacking(fitted)}, so the prior answers for them.")
    if fitted.erased:
        console.print(f"{fitted.erased:,} users of the file were erased from this bundle before and are left out.")
    texts = "holds the users' texts" if fitted.kept_texts else "holds no texts, only their ids"
    folder = shlex.quote(str(fitted.folder.resolve()))
    console.print(f"The bundle {texts}. For OpenRLHF:\n", highlight=False)
    console.print(f"  export PERSONA_RM_BUNDLE={folder}", highlight=False, soft_wrap=True)
    console.print('  --reward.remote_url "$(persona-rm where openrlhf)"', highlight=False, soft_wrap=True)
    if tokenizer is None:
        console.print(
            "\nnote: the bundle names no tokenizer, so with this line the ends of answers are known by common "
            "spellings only, and prompts in a chat template are not recognised. --tokenizer FOLDER names your "
            "policy's; "
            '--train.agent_func_path "$(persona-rm where openrlhf --agent)" has the tokenizer of the job.',
            highlight=False,
        )
    else:
        console.print(f"\nAnswers end, and chats are written, as the tokenizer in {tokenizer} says.", highlight=False)
