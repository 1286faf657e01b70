"""Thai corpora that are pure configuration: `processors/catalog.py` says what each is, its class how it is laid out.

Most of these layouts are known at second hand: so likely names of columns are tried one after the other, splits are
told by the words in file names where nothing says more, and what does not fit is an error that shows what was found.
"""

from processors.catalog import CATALOG
from processors.configured.clip_tables import ClipTables
from processors.configured.parquet_source import ParquetSource
from processors.configured.table_source import TableSource
from processors.listing.tables import TableListing
from processors.lotus import LotusListing, LotusTables
from processors.readers.spec import Columns, ParquetSpec, TableSpec

_TEXT = ("sentence", "transcription", "transcript", "text")
_SPEAKER = ("speaker_id", "speaker", "client_id")

_DIALECT = ParquetSpec(
    Columns(
        audio=("audio",),
        transcript=_TEXT,
        speaker=_SPEAKER,
        id=("utterance", "utt_id"),
        metadata=("thai_sentence", "dialect_type"),
    )
)
_TSYNC = TableSpec(
    tables=("wrd_ph/*.txt", "*index*.txt", "*trans*.txt", "*script*.txt", "*sent*.txt"),
    forms=(("wrd_ph/*.txt", "first_line"), ("*.txt", "lines")),
    splits={"train": ("*",)},
    remove="|",
)
"""A text for each clip, its words divided by bars, and below it how they sound (TSync-2); or an index, a line for each
clip."""


class FLEURSProcessor(ParquetSource):
    """th_th/fleurs-train-0000N-of-0000M.parquet or th_th/train/0000.parquet, in the branch that the Hub converts."""

    name = "FLEURS"
    info = CATALOG["FLEURS"]
    branch = "refs/convert/parquet"
    spec = ParquetSpec(
        Columns(
            audio=("audio",),
            transcript=("transcription", "raw_transcription", *_TEXT),
            metadata=("raw_transcription", "gender"),
        ),
        within="th_th/*",
    )


class PorjaiCentralProcessor(ParquetSource):
    """data/train-0000N-of-00016.parquet: audio, sentence."""

    name = "PorjaiCentral"
    info = CATALOG["PorjaiCentral"]
    spec = ParquetSpec(Columns(audio=("audio",), transcript=_TEXT, speaker=_SPEAKER, id=("utterance", "utt_id")))


class ThaiDialectKoratProcessor(ParquetSource):
    """data/train-0000N-of-00002.parquet: audio, utterance, sentence, thai_sentence, dialect_type."""

    name = "ThaiDialectKorat"
    info = CATALOG["ThaiDialectKorat"]
    spec = _DIALECT


class ThaiDialectKhummuangProcessor(ParquetSource):
    name = "ThaiDialectKhummuang"
    info = CATALOG["ThaiDialectKhummuang"]
    spec = _DIALECT


class ThaiDialectPattaniProcessor(ParquetSource):
    name = "ThaiDialectPattani"
    info = CATALOG["ThaiDialectPattani"]
    spec = _DIALECT


class ThaiElderlyProcessor(TableSource):
    """Dataset.zip, or what is in it: {Healthcare,Smarthome}/{Record/*.wav,transcription.json}. It has no splits."""

    name = "ThaiElderly"
    info = CATALOG["ThaiElderly"]
    spec = TableSpec(
        Columns(
            audio=("filename", "file_name", "audio", "path", "key"),
            transcript=(*_TEXT, "value"),
            speaker=_SPEAKER,
            metadata=("age", "gender"),
        ),
        {"train": ("transcription.json",)},
        key_has_folder=True,
    )


class GowajeeProcessor(TableSource):
    """gowajee_v0-9-3.zip, or what is in it: {train,dev,test}/{text,utt2spk,wav.scp}, as Kaldi has them."""

    name = "Gowajee"
    info = CATALOG["Gowajee"]
    spec = TableSpec(
        splits={"train": ("train/text",), "validation": ("dev/text", "valid/text"), "test": ("test/text",)},
        form="kaldi",
    )


class LOTUSProcessor(TableSource):
    """A zip, or what is in it: PD/**/*.wav, Supplement/{index,PDsen}.txt. It has no splits."""

    name = "LOTUS"
    info = CATALOG["LOTUS"]
    spec = TableSpec(tables=("index.txt", "PDsen.txt"), splits={"train": ("*",)})
    tables_class: type[ClipTables] = LotusTables
    listing_class: type[TableListing] = LotusListing


class TSync1Processor(TableSource):
    name = "TSync1"
    info = CATALOG["TSync1"]
    spec = _TSYNC


class TSync2Processor(TableSource):
    """A zip, or what is in it: wav/*.wav, wrd_ph/*.txt. One speaker, whom it does not name."""

    name = "TSync2"
    info = CATALOG["TSync2"]
    spec = _TSYNC


class ThaiSERProcessor(ParquetSource):
    """FLAC of 44.1 kHz; script_sent is empty where an actor improvised."""

    name = "ThaiSER"
    info = CATALOG["ThaiSER"]
    spec = ParquetSpec(
        Columns(
            audio=("audio",),
            transcript=("script_sent", *_TEXT),
            speaker=("actor_id", "actor", *_SPEAKER),
            metadata=(
                *("majority_emo", "assigned_emo", "emotion", "agreement", "session", "env", "mic"),
                *("gender", "age"),
            ),
        )
    )


class YODAS2Processor(ParquetSource):
    name = "YODAS2"
    info = CATALOG["YODAS2"]
    spec = ParquetSpec(
        Columns(audio=("audio",), transcript=("text", *_TEXT), speaker=_SPEAKER, id=("utt_id", "id")),
    )


class TVSpeechProcessor(ParquetSource):
    """Clips of some 30 s, meant for testing: all of it is test."""

    name = "TVSpeech"
    info = CATALOG["TVSpeech"]
    spec = ParquetSpec(
        Columns(audio=("audio",), transcript=_TEXT, speaker=_SPEAKER, id=("utt_id", "id")), {"test": ("*.parquet",)}
    )
