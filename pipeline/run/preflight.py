"""What a run looks at before it changes anything, and what it refuses there."""

import os

from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.run.factory import processor_config
from pipeline.run.source_run import has_clips
from processors import PAID, create, describe
from utils.dataset.hub_repo import HubTarget
from utils.dataset.state import State
from utils.dataset.target import Target
from utils.errors import SourceError, TargetRefused, UsageError
from utils.upload.staging import refuse_other_fingerprint


def reachable(options: Options) -> tuple[str, ...]:
    """The sources to read: of `--all` without those that are not here and nothing can fetch, if any is left."""
    if not options.all_sources:
        return options.sources
    found = tuple(name for name in options.sources if _can_be_reached(name, options))
    return found or options.sources


def _can_be_reached(name: str, options: Options) -> bool:
    info = describe(name, options.own_sources)
    if name in options.own_sources and options.own_sources[name].location is not None:
        return True
    if options.source_dir is not None:
        return (options.source_dir / info.mirror).is_dir()
    return not info.is_by_hand or bool(info.key_variable and os.environ.get(info.key_variable))


def refuse_restricted_terms(options: Options, target: Target) -> None:
    """UsageError where a source whose terms restrict it would go to a public repo without the user's word."""
    if not isinstance(target, HubTarget) or options.demo:
        return
    restricted = {name: terms for name in options.sources if (terms := describe(name, options.own_sources).terms)}
    missing = {name: terms for name, terms in restricted.items() if name not in options.accept_terms}
    if missing and _will_be_public(options, target):
        listed = "\n".join(f"  {name}: {terms}" for name, terms in missing.items())
        raise UsageError(
            f"{target.name} is public, and the terms of these sources restrict publishing them:\n{listed}\n"
            "Nothing was changed. Make the repo private (--private), or publish to a folder (--output), or, if you "
            f"may publish them, say so with --accept-terms {','.join(missing)}."
        )


def _will_be_public(options: Options, target: HubTarget) -> bool:
    public = target.is_public()
    return not options.private if public is None else public


def refuse_unreadable_sources(options: Options, token: str | None, stop: StopRequest) -> None:
    """SourceError where not one source can be opened: a mistyped folder must not put a good dataset away. One that
    costs money is asked in any case: what it refuses, the new dataset would be stuck with."""
    problems: dict[str, str] = {}
    is_one_readable = False
    for name in sorted(options.sources, key=lambda name: name not in PAID):
        if is_one_readable and name not in PAID:
            break
        try:
            create(name, processor_config(options, name, token, stop), options.own_sources).check_can_be_read()
        except SourceError as error:
            problems[name] = str(error)
        else:
            is_one_readable = True
    if is_one_readable:
        return
    listed = "\n".join(f"  {name}: {problem}" for name, problem in problems.items())
    raise SourceError(f"No source can be read, so no new dataset was begun and nothing was changed:\n{listed}")


def check_sample_rate(options: Options, state: State) -> None:
    if state.sample_rate_hz != options.published_rate_hz:
        refuse_other_fingerprint(
            "This dataset",
            {"audio.sample_rate_hz": options.published_rate_hz},
            {"audio.sample_rate_hz": state.sample_rate_hz},
        )


def keep_demo_apart(options: Options, state: State) -> None:
    """TargetRefused where made-up clips would come among real ones, or real ones among those."""
    other = [name for name, source in state.sources.items() if source.fingerprint.get("demo") is (not options.demo)]
    if other:
        held, ours = ("real clips", "the demo's") if options.demo else ("the demo's made-up clips", "real ones")
        raise TargetRefused(
            f"{options.target_name} holds {held} ({', '.join(other)}): {ours} do not belong among them. Nothing was "
            "changed. Name another target (--output, --hf-repo), or begin anew with --fresh (the old dataset is kept)."
        )


def refuse_to_mix(options: Options, state: State, is_begun_here: bool) -> None:
    """TargetRefused where `--fresh --resume` would go on with an older dataset than the one that was to be begun.

    Nothing tells for sure: a machine may be lost, and another goes on. But a dataset that has sources which this
    command does not name, and that no fresh start on this machine began, is hardly the one that is meant.
    """
    others = [name for name, source in state.sources.items() if name not in options.sources and has_clips(source)]
    if is_begun_here or not others:
        return
    named = " ".join(options.sources)
    raise TargetRefused(
        f"{options.target_name} holds a dataset of {state.rows:,} rows with {', '.join(others)}, which this command "
        "does not name, and no --fresh on this machine has begun it. So it is not clear what is to be resumed. Nothing "
        f"was changed. To add {named} to it: --append {named}. To begin a new dataset (the old one is kept): --fresh "
        f"{named}, without --resume."
    )
