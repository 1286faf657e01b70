"""What a run is made with, from its options: the target, and each source's configuration."""

from pipeline.interrupts import StopRequest
from pipeline.options import Options
from processors import PAID
from processors.base_processor import ProcessorConfig
from utils.choices import Dedup
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.target import Target
from utils.sources.source_files import SourceAccess


def make_target(options: Options, token: str | None, stop: StopRequest) -> Target:
    if options.hf_repo is None:
        return LocalTarget(options.output)
    return HubTarget(
        options.hf_repo,
        token,
        options.staging_dir,
        private=options.private,
        timeout_s=options.timeout_s,
        patience_s=options.patience_minutes * 60,
        stop_requested=stop,
    )


def processor_config(
    options: Options, source: str, token: str | None, stop: StopRequest, is_newly_begun: bool = False
) -> ProcessorConfig:
    """How a source is reached and converted, as the options say. `is_newly_begun`: it begins a dataset."""
    return ProcessorConfig(
        checkpoint_dir=options.checkpoint_dir,
        overlap=_is_read_ahead(options, source),
        fingerprints=options.dedup is Dedup.NEAR,
        num_workers=options.num_workers,
        audio=options.audio,
        text=options.text,
        access=SourceAccess(
            source_dir=options.source_dir,
            streaming=options.streaming,
            cache_dir=options.cache_dir,
            max_cache_bytes=int(options.max_cache_gb * 1000**3),
            token=token,
            timeout_s=options.timeout_s,
            fetch_ahead=options.overlap,
            unpack_archives=not options.streaming and options.sample_size is None,
            stop_requested=stop,
        ),
        options={
            **options.source_options.get(source, {}),
            **(_buying(options, is_newly_begun) if source in PAID else {}),
        },
    )


def _is_read_ahead(options: Options, source: str) -> bool:
    """Whether a thread of its own reads: not what costs money, which is bought when its turn comes, and not for one
    worker a folder's files, which nobody has to wait for: two threads in turns take a tenth more CPU than one."""
    is_at_hand = options.source_dir is not None and options.num_workers == 1
    return options.overlap and source not in PAID and not is_at_hand


def _buying(options: Options, is_newly_begun: bool) -> dict[str, str]:
    """A fresh start begins a new collection, be it by the resume of one that died; all else goes on with the newest."""
    fresh = {"fresh": "yes"} if is_newly_begun else {}
    return {**options.paid_options, **fresh, "folder": str(options.raw_dir)}
