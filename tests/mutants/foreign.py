"""What comes from others: it is neither believed, nor followed, nor shown as it is."""

from tests.mutants.mutant import PROTOCOL, Mutant

_LINKS = "tests/sources/test_folder_links.py"
_HTTP = "tests/sources/test_http_sources.py"
_STAND_INS = "tests/sources/test_stand_ins.py"
_LEAKS = "tests/pipeline/test_credential_leaks.py"
_NAMES = "tests/pipeline/test_hostile_names.py"
_IN_ARCHIVES = "tests/readers/test_archive_links.py"

MUTANTS = (
    Mutant(
        "link-out-of-a-corpus-followed",
        11,
        "A link in a corpus is read wherever it leads.",
        "utils/sources/folder_files.py",
        "                if entry.is_symlink():\n                    self._check_link(entry)\n",
        "",
        (f"{_LINKS}::test_a_link_out_of_the_corpus_stops_the_source",),
        quick=True,
    ),
    Mutant(
        "link-compared-as-text",
        11,
        "A folder whose name only begins like the corpus' counts as part of it.",
        "utils/sources/folder_files.py",
        "os.path.commonpath((real, place)) == place",
        "real.startswith(place)",
        (f"{_LINKS}::test_a_link_out_of_the_corpus_stops_the_source",),
    ),
    Mutant(
        "pointers-are-rejects-like-any",
        11,
        "A corpus of Git LFS pointers is read to its end, each a reject.",
        "processors/base_processor.py",
        "outcome.detail == LFS_POINTER and not progress.kept",
        "outcome.detail == LFS_POINTER and progress.kept < 0",
        (f"{_STAND_INS}::test_a_corpus_of_pointers_is_no_green_run",),
    ),
    Mutant(
        "file-without-a-version-known-by-its-size",
        6,
        "A file at an address whose server has no name for its content is known by its size alone.",
        "utils/sources/http_files.py",
        'replace(found, content=found.content_at(found.hint or ""))',
        "replace(found, hint=None)",
        ("tests/sources/test_files_without_versions.py::test_fresh_reads_a_replaced_file_with_an_index_of_its_own",),
        quick=True,
    ),
    Mutant(
        "place-without-versions-known-by-sizes",
        6,
        "Files of a place that says nothing of versions are known by their sizes alone.",
        "utils/sources/url_files.py",
        "unsaid = [name for name in sizes if not version[name]]",
        "unsaid: list[str] = []",
        (
            "tests/sources/test_files_without_versions.py"
            "::test_a_place_that_says_nothing_of_versions_is_known_by_its_content",
        ),
    ),
    Mutant(
        "version-of-a-web-file-not-compared",
        6,
        "A file at an address may change while it is read.",
        "utils/sources/http_files.py",
        "if self.told(answer) != (self.size_bytes, self.version) or",
        "if self.told(answer)[0] != self.size_bytes or",
        (f"{_HTTP}::test_a_file_that_changes_while_it_is_read_is_noticed",),
    ),
    Mutant(
        "credentials-follow-a-redirect",
        PROTOCOL,
        "Whoever a server sends us on to gets its password.",
        "utils/sources/http_files.py",
        "auth=user if _is_home(url, home) else None",
        "auth=user",
        (f"{_HTTP}::test_credentials_go_to_their_own_server_alone",),
    ),
    Mutant(
        "redirects-to-the-open-web",
        PROTOCOL,
        "A redirect leads from https to http.",
        "utils/sources/http_files.py",
        'or (url.scheme == "https" and to.scheme == "http") ',
        "",
        (f"{_HTTP}::test_no_redirect_leads_from_https_to_http",),
    ),
    Mutant(
        "signature-is-part-of-a-name",
        6,
        "A file of the web is called by all of its address: a renewed signature makes another source of it.",
        "utils/sources/http_files.py",
        'return urlsplit(public(self.url)).path.rpartition("/")[2]',
        'return self.url.rpartition("/")[2]',
        (f"{_HTTP}::test_a_renewed_signature_is_no_other_source", f"{_LEAKS}::test_a_signed_address_is_told_nowhere"),
    ),
    Mutant(
        "passwords-are-told",
        PROTOCOL,
        "What a library says of an address is told as it says it.",
        "pipeline/terminal/say.py",
        "    return visible(without_credentials(text))\n",
        "    return visible(text)\n",
        (
            f"{_LEAKS}::test_addresses_keep_what_is_no_secret",
            f"{_LEAKS}::test_what_a_library_says_is_told_without_them",
        ),
    ),
    Mutant(
        "names-steer-the-terminal",
        PROTOCOL,
        "What others call things is shown as it is.",
        "pipeline/terminal/say.py",
        "    return visible(without_credentials(text))\n",
        "    return without_credentials(text)\n",
        (f"{_NAMES}::test_no_line_of_a_log_is_made_up_by_others", f"{_NAMES}::test_arguments_are_told_harmlessly"),
        quick=True,
    ),
    Mutant(
        "link-in-a-tar-gz-comes-by-itself",
        4,
        "The row of a link waits for the link, not for the member that it names.",
        "processors/configured/clip_tables.py",
        "file if in_archive else row.path, row.to_json()",
        "row.path, row.to_json()",
        (f"{_IN_ARCHIVES}::test_a_link_to_a_member_is_that_member_under_its_own_name",),
    ),
    Mutant(
        "row-of-a-link-names-its-member",
        7,
        "A member counts as named where only a link to it is.",
        "processors/configured/clip_tables.py",
        "                if ClipRow.from_row(row).path == path:\n",
        "                if row:\n",
        (f"{_IN_ARCHIVES}::test_clips_that_no_row_names_are_counted_links_and_members_alike",),
    ),
    Mutant(
        "link-out-of-an-archive-looked-for-inside",
        11,
        "A link that leads out of its archive is looked for in it.",
        "processors/configured/contents.py",
        """to.startswith(("/", "../")) or to in ("..", "."):""",
        """to in ("..", "."):""",
        (f"{_IN_ARCHIVES}::test_links_that_name_no_member_are_rejects_that_say_why",),
    ),
    Mutant(
        "position-of-another-order-believed",
        6,
        "A position that was made where links came as they stand is gone on from.",
        "processors/configured/table_source.py",
        """if "member" in position and position.get("links") != self._order.get("links"):""",
        """if "member" in position and position["index"] < 0:""",
        (f"{_IN_ARCHIVES}::test_a_position_of_another_order_is_refused",),
    ),
)
