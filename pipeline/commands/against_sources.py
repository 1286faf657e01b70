"""`--verify --source`: each source is opened as the dataset was made from it, and lists its clips once more.

What it was begun with (revision, options, the rule for names) is the state's word; where it lies is the command's.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.run.factory import processor_config
from pipeline.run.source_run import naming_of
from processors import PAID, create
from processors.base_processor import BaseProcessor, ProcessorConfig
from processors.engine.listed import NotListed
from utils.audit.findings import Check, heed
from utils.audit.source_names import ListedName, PublishedNames
from utils.dataset.state import SourceState
from utils.errors import SourceError, UsageError
from utils.sources.mirror_revision import names_and_sizes

log = logging.getLogger(__name__)

_ABOUT = "every clip of it is a row, a reject or counted, and no other is there"
_OPTION = "option."
_OWN = "source."
_STOP_CHECK_CLIPS = 1000


class SourceChecks:
    """A check of each source."""

    def __init__(
        self, options: Options, names: PublishedNames, token: str | None, stop: StopRequest, scratch: Path
    ) -> None:
        self.is_out_of_reach = False
        """Whether a source could not be read."""
        self._options, self._names, self._token, self._stop = options, names, token, stop
        self._scratch = scratch

    def all(self) -> list[Check]:
        """Those of the sources that the command names, else of all that the state names."""
        state = self._names.state
        if state is None or state.replaces_old_data:
            check = Check("clips of sources", _ABOUT)
            check.skip("there is no state" if state is None else "a fresh dataset was begun here, without a part yet")
            return [check]
        wanted = self._options.sources
        return [self._of(name, source) for name, source in state.sources.items() if not wanted or name in wanted]

    def _of(self, name: str, source: SourceState) -> Check:
        check = Check(f"clips of {name}", _ABOUT)
        if why := self._why_not(name, source):
            check.skip(why)
            return check
        try:
            processor = create(name, self._config(name, source), self._options.own_sources)
        except UsageError:
            check.skip("no such source is known here; of one of your own, give its --sources FILE")
            return check
        try:
            self._hold(check, processor, source)
        except NotListed as why_not:
            check.skip(str(why_not))
        except SourceError as error:
            self.is_out_of_reach = True
            check.skip(str(error))
        finally:
            processor.close()
        return check

    def _why_not(self, name: str, source: SourceState) -> str:
        """Why a source is not looked at; "" where it is."""
        own = self._options.own_sources.get(name)
        begun = {key: value for key, value in source.fingerprint.items() if key.startswith(_OWN)}
        if self._names.removed.has_source(name):
            return "it was taken out of the dataset"
        if name in PAID:
            return "it is paid for: reading it once more could cost money"
        if source.carries_own_ids:
            return "a script published it, and only that knows what there was"
        if own and begun != json.loads(json.dumps(own.definition())):
            return "its definition in the file of --sources is not the one that it was begun with"
        return ""

    def _config(self, name: str, source: SourceState) -> ProcessorConfig:
        begun = source.fingerprint
        said = {key.removeprefix(_OPTION): str(value) for key, value in begun.items() if key.startswith(_OPTION)}
        given = self._options
        at_hand = given.source_dir or (given.demo_dir if begun.get("demo") else None)
        # Without --deep a few bytes of a file are asked for, so none is downloaded for them.
        streaming = given.streaming or not given.deep
        return processor_config(
            replace(given, source_options={name: said}, source_dir=at_hand, streaming=streaming),
            name,
            self._token,
            self._stop,
        )

    def _hold(self, check: Check, processor: BaseProcessor, source: SourceState) -> None:
        if not processor.lists_what_it_reads:
            raise NotListed("its processor can't name its clips but by reading them")
        processor.naming = min(naming_of(source.fingerprint), processor.newest_naming)
        # What was read to its end has no position that other contents could shift: they are to be told by their names.
        processor.revision = names_and_sizes(source.revision) if source.finished else source.revision
        for split, books in source.splits.items():
            is_whole = books.progress.finished and source.fingerprint.get("sample_size") is None
            self._names.hold(check, processor.name, split, books, self._listed(processor, split), is_whole)

    def _listed(self, processor: BaseProcessor, split: str) -> Iterator[ListedName]:
        """The names of a split. The source is opened for the first of them: not where none is asked for."""
        log.info("%s/%s: naming its clips once more, at %s", processor.name, split, processor.files.revision)
        place = f"{processor.name}/{split}"
        for number, clip in enumerate(processor.listed(split, self._scratch / processor.name, self._options.deep)):
            if number % _STOP_CHECK_CLIPS == 0:
                heed(self._stop)
            name = f"{place}/{clip.key}" if clip.selected else None
            yield name, f"{place}/{clip.otherwise}" if clip.otherwise else ""
