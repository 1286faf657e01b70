"""The command line: arguments -> Options. Anything that can't be carried out is a UsageError, before anything runs."""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pipeline.options import Command, Options, cores
from pipeline.terminal.say import safe
from processors import ALIASES, IN_DEMO, PAID, REGISTRY, OwnSources, source_name
from utils.choices import DEFAULT_DEDUP, AudioOptions, Dedup, TextOptions
from utils.errors import COMMAND, PROGRAM, UsageError

DEFAULT_SAMPLE_SIZE = 5
COMMON_VOICE = "MozillaCommonVoice"

EXAMPLES = """\
examples:
  python main.py --fresh --all --demo                    try it: made-up sources, a dataset in data/thai-voice
  python main.py --fresh GigaSpeech2 --sample            five clips, to see what they look like
  python main.py --fresh GigaSpeech2 ProcessedVoiceTH --hf-repo me/thai-voice --private
                                                         publish sources to the Hub
  python main.py --fresh GigaSpeech2 ProcessedVoiceTH --hf-repo me/thai-voice --private --resume
                                                         go on after a crash, here or on another machine
  python main.py --append MozillaCV --source-dir mirrors --hf-repo me/thai-voice --private
                                                         add a source from a local mirror
  python main.py --status --hf-repo me/thai-voice        what is published, and where reading stopped
  python main.py --verify --hf-repo me/thai-voice        recompute every promise from what is published
  python main.py --find interview.wav --hf-repo me/thai-voice
                                                         which clips are this recording; or a name, or words
  python main.py --remove-id withdrawn.txt --hf-repo me/thai-voice
                                                         take clips out, and never collect them again
  python main.py --prune --dry-run                       which old files of earlier runs may go
  python main.py --fresh Apify --queries queries.yaml --target 2000 --max-cost 20
                                                         buy dialogue: posts and their replies

exit codes:
  0 done   1 our bug   2 usage   3 authentication   4 a source could not be read (the others are done)
  5 stopped, run it again with --resume   6 target refused   7 not sound (--verify)
  130 interrupted, after a clean checkpoint
"""


def parse(arguments: Sequence[str]) -> Options:
    """The options that `arguments` ask for. Raises UsageError, or SystemExit(2) where argparse does."""
    parser = build_parser()
    given = parser.parse_intermixed_args(arguments)  # names of sources may stand anywhere
    own = _own_sources(given.sources)
    command = _command(given, own)
    if command is Command.RUN:
        _check_run(given, own)
    if given.hf_repo and not _is_repo_name(given.hf_repo):
        raise UsageError(f"--hf-repo {given.hf_repo!r} is not of the form USER/NAME.")
    if given.hf_repo and given.output:
        raise UsageError("--hf-repo and --output name two targets: give one of them.")
    return _options(given, command, own)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(safe(message))


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} (--fresh | --append) (--all | NAME ...) [options], or {PROGRAM} COMMAND [options]; "
        "--help has all",
        description="Many Thai speech sources in, one clean Hugging Face dataset out: every sample exactly once, "
        "whatever dies on the way. Running again with --resume is always right.",
        epilog=_examples(COMMAND),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_what(parser)
    _add_resuming(parser)
    _add_sources(parser)
    _add_buying(parser)
    _add_target(parser)
    _add_audio(parser)
    _add_text(parser)
    _add_other(parser)
    return parser


def _examples(command: str) -> str:
    """`EXAMPLES` with another command; what stands in the column beside it stays there."""
    shorter = " " * (len("python main.py") - len(command))
    aligned = re.sub(r"(?m)^(  python main\.py .*?  +)(?=\S)", rf"\1{shorter}", EXAMPLES)
    return aligned.replace("python main.py", command)


def _add_what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to do (one of --fresh and --append, or a command)")
    group.add_argument("--fresh", action="store_true", help="start a new dataset; an old one there stays reachable")
    group.add_argument(
        "--append", action="store_true", help="add to the dataset that is there, or begin one where there is none"
    )
    group.add_argument("--list", action="store_true", help="command: the sources, with licence, hours, access")
    group.add_argument(
        "--status", action="store_true", help="command: what the target holds, and where reading stopped"
    )
    group.add_argument(
        "--verify",
        action="store_true",
        help="command: check all that is published, from the files alone; changes nothing",
    )
    group.add_argument("--deep", action="store_true", help="with --verify: decode every clip, too")
    group.add_argument(
        "--source",
        action="store_true",
        help="with --verify: name every clip of the sources once more and look for it, too (of tar archives with "
        "--deep); NAME ... for some of them. With --find, NAME ...: look through these alone",
    )
    group.add_argument("--json", action="store_true", help="with --verify and --find: what was found, for machines")
    group.add_argument(
        "--find",
        metavar="WHAT",
        help="command: look for an ID, a source id or its end, a speaker, words of a transcript, or, by its sound, the "
        "recording in a file; changes nothing",
    )
    group.add_argument(
        "--repair",
        action="store_true",
        help="command: remove copies of rows, mend the books; the old data stays reachable",
    )
    group.add_argument(
        "--remove",
        action="append",
        default=[],
        metavar="NAME",
        help="command: take a source out for good: all its clips, and they are never collected again",
    )
    group.add_argument(
        "--remove-speaker",
        action="append",
        default=[],
        metavar="SPK_ID",
        help="command: the same for a speaker's clips",
    )
    group.add_argument(
        "--remove-id", type=Path, metavar="FILE", help="command: the same for clips: source ids or IDs, one a line"
    )
    group.add_argument(
        "--dry-run", action="store_true", help="with --repair, --remove ... or --prune: only say what it would do"
    )
    group.add_argument(
        "--with-copies",
        action="store_true",
        help="with --remove ...: rows of the same recordings go, too, whoever they are of",
    )
    group.add_argument(
        "--source-only",
        action="store_true",
        help="with --remove: keep the source away, and not its recordings from others (a licence ended)",
    )
    group.add_argument(
        "--allow-missing",
        action="store_true",
        help="with --remove ...: go on where the dataset has nothing of a name: it is kept away from now on",
    )
    group.add_argument(
        "--keep-old",
        action="store_true",
        help="with --remove ...: keep the old dataset in a folder that is a mount point, too (elsewhere it always is)",
    )
    group.add_argument(
        "--same-audio", action="store_true", help="with --repair: the same audio is a copy, whatever its ID"
    )
    group.add_argument(
        "--prune",
        action="store_true",
        help="command: delete old checkpoints, archives, set-aside files and logs, as each run does at its end",
    )
    group.add_argument(
        "--merge", type=Path, metavar="OUT.jsonl", help="command: all pairs ever bought, each once, in one new file"
    )
    group.add_argument("--clear-cache", action="store_true", help="command: delete the downloaded source files")
    group.add_argument(
        "--version", action="store_true", help="command: this program, its Python, the libraries that decide the bytes"
    )


def _add_resuming(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("going on after an interruption")
    group.add_argument(
        "--resume", action="store_true", help="go on from where the last run stopped, on this machine or another"
    )
    group.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="go on, checking this checkpoint file against what is published"
    )
    group.add_argument(
        "--checkpoint-interval",
        type=_positive,
        default=1000,
        metavar="N",
        help="a checkpoint every N clips (%(default)s)",
    )
    group.add_argument(
        "--num-workers",
        type=_positive,
        metavar="N",
        help="threads that convert clips (the number of cores); the dataset is the same with any number. With 1 the "
        "same thread reads and builds, too, where nothing is waited for: the least CPU",
    )
    group.add_argument(
        "--no-overlap",
        action="store_true",
        help="read, convert and publish one after the other, in one thread: slower, for looking for errors",
    )


def _add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sources")
    group.add_argument("names", nargs="*", metavar="NAME", help=f"sources: {', '.join(REGISTRY)}")
    group.add_argument("--all", action="store_true", help="every speech source that can be reached")
    group.add_argument(
        "--sources", type=Path, metavar="FILE", help="sources of your own (YAML): their names count like any other"
    )
    group.add_argument(
        "--demo", action="store_true", help=f"use small made-up mirrors of {', '.join(IN_DEMO)}; no network needed"
    )
    group.add_argument(
        "--source-dir", type=Path, metavar="DIR", help="read local mirrors, DIR/<owner>/<name>/..., instead of the Hub"
    )
    group.add_argument(
        "--streaming", action="store_true", help="read source files as they arrive, keeping no copy on disk"
    )
    group.add_argument(
        "--sample", action="store_true", help="only the first few samples of each source; always streams"
    )
    group.add_argument(
        "--sample-size",
        type=_positive,
        metavar="N",
        help="--sample, but N (5) of each source: a fifth to each evaluation split, the rest to train",
    )
    _add_what_is_taken(group)
    _add_bounds(group)


def _add_what_is_taken(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--source-option",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="an option of one source, such as GigaSpeech2.transcripts=raw",
    )
    group.add_argument(
        "--dedup",
        choices=tuple(mode.value for mode in Dedup),
        help="which clips come twice, so are rejects: none, those with the same audio, or the same recording in any "
        f"form (as the dataset was begun with; {DEFAULT_DEDUP} for a new one)",
    )
    group.add_argument(
        "--cv-split",
        choices=("official", "validated"),
        help="train of MozillaCommonVoice: the official one, or all that is validated but what dev and test hold "
        "(by sentence and by speaker)",
    )
    group.add_argument(
        "--accept-terms",
        default="",
        metavar="NAME,...",
        help="publish these sources to a public repo although their terms restrict that",
    )


def _add_bounds(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-cache-gb",
        type=_positive_float,
        default=100.0,
        metavar="N",
        help="bound of the download cache (%(default)s)",
    )
    group.add_argument(
        "--max-staging-gb",
        type=_positive_float,
        default=4.0,
        metavar="N",
        help="how much may wait to be uploaded before reading waits, too (%(default)s)",
    )
    group.add_argument(
        "--min-free-gb",
        type=_not_negative_float,
        metavar="N",
        help="stop cleanly where less is free on the disk (2, or a tenth of one under 20 GB; 0: never)",
    )


def _add_buying(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the paid source (Apify; never part of --all)")
    group.add_argument("--queries", type=Path, metavar="FILE", help="what to buy (YAML)")
    group.add_argument(
        "--target", type=_positive, metavar="N", help="buy no further query once there are N pairs (all queries)"
    )
    group.add_argument(
        "--max-cost", type=_positive_float, metavar="USD", help="buy nothing beyond this, earlier runs included"
    )
    group.add_argument(
        "--flush-interval", type=_positive, metavar="N", help="pairs at most that wait for the master file (50)"
    )
    group.add_argument(
        "--buy-again", metavar="NAME,...", help="buy these queries once more: they failed, or have another input now"
    )
    group.add_argument(
        "--refilter", action="store_true", help="with --fresh: new filters for what is here already; buys nothing"
    )
    group.add_argument("--apify-url", metavar="URL", help="where Apify is (or APIFY_API_BASE_URL), for a proxy")


def _add_target(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("target")
    group.add_argument("--hf-repo", metavar="USER/NAME", help="publish to this dataset repo on the Hub")
    group.add_argument("--private", action="store_true", help="make the repo private")
    group.add_argument("--output", type=Path, metavar="DIR", help="publish to a local folder (data/thai-voice)")
    group.add_argument("--no-upload", action="store_true", help="publish to the local folder, even with --hf-repo")
    group.add_argument(
        "--upload-batch-size",
        type=_positive,
        default=5000,
        metavar="N",
        help="a shard closes at N samples (%(default)s)",
    )
    group.add_argument(
        "--max-shard-mb", type=_positive, default=400, metavar="M", help="... or at M MB of audio (%(default)s)"
    )
    group.add_argument(
        "--patience",
        type=_positive_float,
        default=10.0,
        metavar="MINUTES",
        help="how long to keep trying an unreachable Hub (%(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=_positive_float,
        default=60.0,
        metavar="SECONDS",
        help="of one answer of the Hub (%(default)s)",
    )


def _add_audio(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("audio")
    group.add_argument("--sample-rate", type=_positive, default=16_000, metavar="HZ", help="(%(default)s)")
    group.add_argument("--target-db", type=float, default=-20.0, metavar="DBFS", help="RMS level (%(default)s)")
    group.add_argument("--no-volume-norm", action="store_true", help="leave the level as it is")
    group.add_argument("--no-standardization", action="store_true", help="keep the clips' original bytes")
    group.add_argument("--audio-format", choices=("flac", "wav"), default="flac", help="(%(default)s)")


def _add_text(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("transcripts")
    group.add_argument(
        "--strip-punctuation", action="store_true", help="no punctuation in `transcript`; nothing else is touched"
    )
    group.add_argument(
        "--keep-raw",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what the source has written in `transcript_raw` (the default), or leave that column empty",
    )
    group.add_argument("--require-transcript", action="store_true", help="reject clips without a transcript")
    group.add_argument(
        "--max-foreign-share",
        type=float,
        metavar="S",
        help="reject transcripts with more than this share of characters that are neither Thai nor Latin nor digits",
    )
    group.add_argument(
        "--max-chars-per-second", type=float, metavar="N", help="reject clips whose text nobody can speak so fast"
    )
    group.add_argument("--min-chars-per-second", type=float, metavar="N", help="... and those with far too little text")


def _add_other(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("messages")
    group.add_argument("--verbose", action="store_true", help="log every step, here and in logs/")
    group.add_argument("--quiet", action="store_true", help="only warnings and the summary")


def _own_sources(path: Path | None) -> OwnSources:
    if path is None:
        return {}
    from processors.configured.sources_file import load_sources  # it loads YAML

    return load_sources(path, [*REGISTRY, *ALIASES, *PAID])


def _command(given: argparse.Namespace, own: OwnSources) -> Command:
    asked = [
        command
        for command, flag in (
            (Command.LIST, given.list),
            (Command.VERSION, given.version),
            (Command.STATUS, given.status),
            (Command.VERIFY, given.verify),
            (Command.FIND, given.find is not None),
            (Command.REPAIR, given.repair),
            (Command.REMOVE, bool(given.remove or given.remove_speaker or given.remove_id)),
            (Command.PRUNE, given.prune),
            (Command.MERGE, given.merge is not None),
            (Command.CLEAR_CACHE, given.clear_cache),
        )
        if flag
    ]
    command = asked[0] if asked else Command.RUN
    _refuse(
        (
            len(asked) > 1,
            "--list, --version, --status, --verify, --find, --repair, --remove ..., --prune, --merge and --clear-cache "
            "are commands of their own: give one of them.",
        ),
        (
            asked and (given.fresh or given.append),
            f"--{command.value} is a command of its own: leave out --fresh and --append.",
        ),
    )
    _check_options_of_commands(given, command)
    if buying := _paid_options(given):
        _check_buying(given, bool(asked), next(iter(buying)), own)
    return command


def _refuse(*cases: tuple[object, str]) -> None:
    """UsageError with the words of the first case that is true."""
    for is_so, words in cases:
        if is_so:
            raise UsageError(words)


def _check_options_of_commands(given: argparse.Namespace, command: Command) -> None:
    """UsageError for an option that belongs to another command than the one that was given."""
    _refuse(
        (given.deep and not given.verify, "--deep belongs to --verify."),
        (
            (given.json or given.source) and command not in (Command.VERIFY, Command.FIND),
            "--source and --json belong to --verify or --find.",
        ),
        (
            command is Command.FIND and not given.find.strip(),
            "--find needs what to look for: an ID, a source id, a speaker, words, or the path of a recording.",
        ),
        (
            command is Command.FIND and bool(given.names) != given.source,
            "--find takes one thing, in quotes where it has spaces. Sources to look through are named behind --source.",
        ),
        (
            given.dry_run and command not in (Command.REPAIR, Command.REMOVE, Command.PRUNE),
            "--dry-run belongs to --repair, --remove ... or --prune.",
        ),
        (
            command is Command.REMOVE and (given.names or given.all),
            "--remove takes one name each time (--remove A --remove B), and nothing is named beside it. Nothing was "
            "changed.",
        ),
        (
            not all(speaker.strip() for speaker in given.remove_speaker),
            "--remove-speaker needs a speaker's id, as in the column speaker_id: SPK_...",
        ),
        (given.with_copies and command is not Command.REMOVE, "--with-copies belongs to --remove ..."),
        (given.source_only and not given.remove, "--source-only belongs to --remove NAME."),
        (given.allow_missing and command is not Command.REMOVE, "--allow-missing belongs to --remove ..."),
        (given.same_audio and not given.repair, "--same-audio belongs to --repair."),
        (given.keep_old and command is not Command.REMOVE, "--keep-old belongs to --remove ..."),
    )


def _paid_options(given: argparse.Namespace) -> dict[str, str]:
    """What was given for the paid source, as its processor takes it."""
    values = {
        "queries": given.queries,
        "target": 0 if given.refilter else given.target,
        "max_cost": given.max_cost,
        "flush_interval": given.flush_interval,
        "buy_again": given.buy_again,
        "refilter": "yes" if given.refilter else None,
        "url": given.apify_url,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _check_buying(given: argparse.Namespace, is_command: bool, first: str, own: OwnSources) -> None:
    flag = {"url": "apify-url"}.get(first, first.replace("_", "-"))
    if is_command or not any(source_name(name, own) in PAID for name in given.names):
        raise UsageError(
            f"--{flag} is about the paid source. Nothing was bought. Name it: --fresh Apify --queries queries.yaml."
        )
    if given.refilter and not given.fresh:
        raise UsageError(
            "--refilter makes other rows of what is here, so they are a new dataset: give --fresh with it. The old one "
            "stays reachable."
        )
    if given.refilter and (given.target or given.buy_again):
        raise UsageError("--refilter buys nothing: leave out --target and --buy-again, and give them with --resume.")


_TYPED_AS_NAMES = ("--all", "--list", "--status", "--verify", "--repair", "--prune", "--resume", "--demo", "--version")
"""Options that people type without their dashes; no registered source is called so."""


def _check_run(given: argparse.Namespace, own: OwnSources) -> None:
    typed = (name.lower() for name in given.names if name not in own)
    meant = next((name for name in typed if f"--{name}" in _TYPED_AS_NAMES), "")
    _refuse(
        (meant, f"{meant!r} is no source: did you mean --{meant}?"),
        (
            given.fresh == given.append,
            "Give exactly one of --fresh (a new dataset) and --append (add to the one that is there). To try it: "
            f"{COMMAND} --fresh --all --demo. All there is: {COMMAND} --help.",
        ),
        (given.all and given.names, "Give --all or the names of sources, not both."),
        (
            not given.all and not given.names,
            f"Which sources? Give --all, or names: {', '.join([*REGISTRY, *own])}.",
        ),
        (given.resume and given.checkpoint, "--resume and --checkpoint are two ways to go on: give one of them."),
        (given.demo and given.source_dir, "--demo makes its own --source-dir: give one of them."),
        (given.private and not given.hf_repo, "--private is about a repo on the Hub: name it with --hf-repo."),
        (given.verbose and given.quiet, "Give --verbose or --quiet, not both."),
        (
            given.checkpoint and not given.checkpoint.is_file(),
            f"There is no checkpoint file {given.checkpoint}. Nothing was changed.",
        ),
    )
    _check_named_sources(given, [source_name(name, own) for name in given.names])
    _refuse(
        (
            given.source_dir and not given.source_dir.is_dir(),
            f"There is no folder {given.source_dir} (--source-dir). Nothing was changed.",
        )
    )


def _check_named_sources(given: argparse.Namespace, named: Sequence[str]) -> None:
    """UsageError where the demo has no such source, or a paid one lacks what it needs."""
    not_in_demo = [name for name in named if name not in (*IN_DEMO, *PAID)]
    is_paid = any(name in PAID for name in named)
    _refuse(
        (
            given.demo and not_in_demo,
            f"--demo has no {', '.join(not_in_demo)}: it makes up {', '.join(IN_DEMO)}.",
        ),
        (
            is_paid and given.queries is None,
            "Apify needs to know what to buy. Nothing was bought. Name a file: --queries queries.yaml.",
        ),
        (is_paid and given.demo, "--demo costs nothing, so it has no Apify: leave out one of them."),
    )


def _options(given: argparse.Namespace, command: Command, own: OwnSources) -> Options:
    every = IN_DEMO if given.demo else (*REGISTRY, *own)
    is_found = command is Command.FIND  # the target's sources count there, not those that could be read
    chosen = set(every) if given.all else {source_name(name, own) for name in given.names if not is_found}
    defaults = Options()
    sample_size = given.sample_size or (DEFAULT_SAMPLE_SIZE if given.sample else None)
    return Options(
        command=command,
        fresh=given.fresh,
        resume=given.resume or given.checkpoint is not None,
        sources=tuple(name for name in (*REGISTRY, *own, *PAID) if name in chosen),
        all_sources=given.all,
        own_sources=own,
        checkpoint=given.checkpoint,
        checkpoint_interval=given.checkpoint_interval,
        num_workers=given.num_workers or cores(),
        overlap=not given.no_overlap,
        streaming=given.streaming or sample_size is not None,
        sample_size=sample_size,
        hf_repo=None if given.no_upload else given.hf_repo,
        private=given.private,
        output=given.output or defaults.output,
        upload_batch_size=given.upload_batch_size,
        max_shard_mb=given.max_shard_mb,
        source_dir=defaults.demo_dir if given.demo else given.source_dir,
        source_options=_source_options([*given.source_option, *_cv_split(given.cv_split, chosen)], own),
        paid_options=_paid_options(given),
        merge=given.merge,
        demo=given.demo,
        audio=AudioOptions(
            sample_rate_hz=given.sample_rate,
            target_dbfs=given.target_db,
            volume_norm=not given.no_volume_norm,
            standardize=not given.no_standardization,
            audio_format=given.audio_format,
        ),
        dedup=Dedup(given.dedup) if given.dedup else None,
        text=TextOptions(
            strip_punctuation=given.strip_punctuation,
            keep_raw=given.keep_raw,
            require_transcript=given.require_transcript,
            max_foreign_share=given.max_foreign_share,
            max_chars_per_second=given.max_chars_per_second,
            min_chars_per_second=given.min_chars_per_second,
        ),
        accept_terms=frozenset(source_name(name, own) for name in given.accept_terms.split(",") if name),
        max_cache_gb=given.max_cache_gb,
        max_staging_gb=given.max_staging_gb,
        min_free_gb=given.min_free_gb,
        patience_minutes=given.patience,
        timeout_s=given.timeout,
        deep=given.deep,
        against_sources=given.source,
        as_json=given.json,
        find=given.find or "",
        find_in=tuple(given.names) if is_found else (),
        dry_run=given.dry_run,
        with_copies=given.with_copies,
        source_only=given.source_only,
        allow_missing=given.allow_missing,
        same_audio=given.same_audio,
        keep_old=given.keep_old,
        remove=tuple(given.remove),
        remove_speakers=tuple(given.remove_speaker),
        remove_ids=given.remove_id,
        verbose=given.verbose,
        quiet=given.quiet,
    )


def _cv_split(split: str | None, chosen: set[str]) -> list[str]:
    """`--cv-split` as the source's own option; as it is by default, it says nothing."""
    if split is not None and COMMON_VOICE not in chosen:
        raise UsageError(f"--cv-split is about {COMMON_VOICE}, which this command does not name.")
    return [f"{COMMON_VOICE}.split={split}"] if split not in (None, "official") else []


def _is_repo_name(text: str) -> bool:
    """As the Hub takes them: letters, digits, `-`, `_`, `.`; none of `-` and `.` at an end or twice in a row."""
    parts = text.split("/")
    plain = all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?", part) for part in parts)
    return len(parts) == 2 and plain and not re.search(r"--|\.\.|\.git$", text)


def _source_options(given: list[str], own: OwnSources) -> dict[str, dict[str, str]]:
    options: dict[str, dict[str, str]] = {}
    for text in given:
        match = re.fullmatch(r"([^.=]+)\.([^.=]+)=(.*)", text)
        if not match:
            raise UsageError(f"--source-option {json.dumps(text)} is not of the form NAME.KEY=VALUE.")
        source, key, value = source_name(match[1], own), match[2], match[3]
        its_own = {} if source in own else REGISTRY[source].options
        if value not in its_own.get(key, ()):
            known = "; ".join(f"{name}={'|'.join(allowed)}" for name, allowed in its_own.items())
            raise UsageError(f"--source-option {text!r} is not an option of {source}. It has: {known or 'none'}.")
        options.setdefault(source, {})[key] = value
    return options


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def _positive_float(text: str) -> float:
    if (number := _number(text)) is None or not number > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def _not_negative_float(text: str) -> float:
    if (number := _number(text)) is None or not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
