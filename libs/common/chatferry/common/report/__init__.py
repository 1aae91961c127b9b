"""The report of a verification, rendered from its `verify_reports` document: JSON, and a page for people.

The document holds what the JSON has, in Python's types: `verified`, `project`, `run`, `family`, `seconds`, `counts`
{entity: {source, extracted, imported, target}}, `sample` {checked, mismatches, seed}, `full` {compared, missing, extra,
different}, `participants` {chats, mapped_share, different}, `dead_letters` by state, `gaps`, `altered` (first 100) and
`altered_total`, `ledger` {entity: {read, done, skipped, dead, waiting}}, `ledger_per_parent` {entity: {settled,
unsettled, rows}} (the first 100 parents with a record that is not done), `reasons` (sentences, empty when verified),
`reading_method`, `test_limit`, `whole` (false: not all was read again), `not_readable`, `mismatches` (first 100) and
`mismatch_counts` by check, `phases`, `timings` {phase: {started_at, finished_at}}, `chats` (largest 200 and all that
differ) and `chats_total`, `requested_at`, `finished_at`. Titles of chats are in it, texts of messages never.
"""

from __future__ import annotations

from chatferry.common.report.as_json import report_json
from chatferry.common.report.page import gap_line, report_html

__all__ = ["gap_line", "report_html", "report_json"]
