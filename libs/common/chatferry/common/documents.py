"""What the project's database holds (design: data.md §7), and who may write which field (§3).

A record's document, in the collection named as its entity:

    _id              idempotency key, `source:chat:msg:84869`
    seq              the record's id as a number: order inside its parent
    parent           the parent record's id, null for a root
    payload          canonical record; null for one that could not be read (its raw form is the dead letter)
    payload_hash     SHA-256 of the canonical JSON (of the raw form, when payload is null)
    version          read_seq of the read that first saw this content
    due              true until the broker has answered for this version; absent afterwards, and where the root's
                     `unsent_from` says it
    flags            what had to be altered or assumed: `altered`, `assumed_offset`
    missed           number of the last read of a page that lacks it, though its interval covers its id
    met              number of the last read that showed it again; of a reject without an id, which no interval covers
    status           NEW | IMPORT_OK | IMPORT_ERR | ERROR_RETRY | SKIPPED
    skip_reason      why, when SKIPPED: by an operator's word, with its parent, or gone before it could be read
    imported_version, imported_hash, target_id, attempts, last_error     what the importer knows

`source_inventory`, one row per root record that the portal is known to have (`_id` = the record's key):

    family, entity   the family's name, the root entity's name
    seq              the root record's id
    run, epoch       the run that listed it last, and the lease under which it was written
    views            [{webhook, ref}]: which webhooks see it, and under which id there (`chat1489`, `547`)
    state            listed -> walking -> closed | failed (3 attempts) | unreadable (no webhook may)
    stored           true once the root record itself is stored
    watermark, claimed     the portal's last_message_id and message_count when the walk started
    low, high, closed_low, closed_high, method     the walk: where it goes on, and by which method
    listed, absent, rejected    distinct ids read; stored ids that the portal lacks now; unreadable records
    gap, reason      claimed - listed, and why
    reader           the webhook that saw most the last time: the next run begins with it
    walks, through, tried     walks of this run before this one, its webhook, and [webhook, seen] of each (-1: refused)
    accepted         {by, at, reason, gap, state}: who took the gap; it holds while `gap` and `state` are what was
                     accepted, and never for a walk that is still open. Written by `chatferry accept` alone
    unsent_from      a root that is new: its children above this id are due, until the broker has answered for all
    known            true when an earlier run has read here: stored records have to be compared

and one per stranger (`_id` = `stranger:<user key>`, kind `stranger`, state wanted | resolved: the portal showed them,
be it unreadably | unresolvable: nobody knows them | unreadable: refused | failed: refused for now, 3 attempts): a user
that records mention and the listing lacks; `asked`: the run that asked for it last, `raw`: how a page shows it, until
then. The users' own listing is the row `listing:users`. A listed row that names no root has the row `reject:<key>`
(kind `reject`, of, family, run, epoch, stored): its record is a reject without an id, which nobody can walk.

`page_log`, one entry per page read (`_id` = run/parent/hi): run, entity, parent, lo (included), hi (excluded), count,
absent, rejected, read_seq, webhook, method, at, duration_ms.

`runs`: _id, project, portal, family, phases, options {test_limit, max_rate, republish (an entity whose records are sent
again; such a run has no phase)}, state (requested | running | blocked | completed | verified | incomplete |
stopped), phase, preflight [{name, ok, detail}], timings {get, set, verify: {started_at, finished_at}}, counts {entity:
{listed, extracted, published, imported, ...}}, method (which one read the messages), requested_at, resumed_at,
finished_at, reason, epoch, verified, published (records that the broker answered for; a chunk whose answer a killed
process never saw counts twice), portal_usage, stop {at, reason} (an operator asks for the end), progress_at,
republished [parent, seq] (the place up to which records were sent again).

`entities`: _id = family; set_open (the importer may deliver), run, verified_run, imported_run (completed, not a test),
get {run, whole} (the newest Get; whole: it has ended, and had no test limit), blocked (a sentence, from the importer),
halted (a sentence, from the importer: too many dead letters; an operator takes it back).
The row `target`: quiet_until, the end of a pause that the target asked for, on MongoDB's clock.

`dead_letters`: _id = topic/partition/offset, or key@version from the extractor; entity, key, version, parent, topic,
partition, offset, error_class, code, message, attempts, state (dead | replaying | replayed | superseded | discarded),
reason, by, at, copied (the copy on `dlq` is answered for), service, raw {key, value, headers} until it is copied;
line, seq (what orders replays; of an unreadable record what its headers tell, or null), size (bytes of the body),
replay_of (the row whose replay ended here). From the operator: copy {partition, offset} (where the bytes lie on
`dlq`), replay (its name), unsent (that replay's copy is not answered for yet), sent_at.

`leases`: _id (`portal:<host>`, `verify:<run>`, `dlq:replay`: of discards, too), owner, until (MongoDB's clock
decides), epoch.

`verify_verdicts`, one per comparison: `_id` = run/entity/parent key; `asked_at` (the request it was made for), `tally`
{compared, different, ...}.

`parked`: _id = topic/partition/offset; entity, key, version, parent, topic, partition, offset, timestamp, reason
(parent | retry | behind), not_before, replay (whether it is one), raw_key, value, headers [[name, value]].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chatferry.common.adapters.mongo import ASCENDING, Database, OperationFailure, mongo_outage
from chatferry.common.entities import ENTITIES

NEW, IMPORT_OK, IMPORT_ERR, ERROR_RETRY, SKIPPED = "NEW", "IMPORT_OK", "IMPORT_ERR", "ERROR_RETRY", "SKIPPED"
WAITING = (NEW, ERROR_RETRY)
PARENT_DISCARDED = "parent discarded"
"""`skip_reason` of what belongs to a record that an operator discarded before the target had it."""
GONE = "the portal shows it no more"
"""`skip_reason` of a row without an id that could not be read, and that a walk through all there is has not met."""

RUNS, LEASES, ENTITY_STATES = "runs", "leases", "entities"
INVENTORY, PAGE_LOG, ID_MAP = "source_inventory", "page_log", "id_map"
REJECT = "reject:"
"""Before the key of a reject, its `_id` in `source_inventory`."""
PARKED, DEAD_LETTERS = "parked", "dead_letters"
VERIFY_REPORTS, VERIFY_VERDICTS, MISMATCHES = "verify_reports", "verify_verdicts", "mismatches"


# MongoDB's codes: one of this name has other options, or other fields; there is none of this name; somebody who
# replaces it too has dropped it while it was built.
_DEFINED_OTHERWISE, _NO_SUCH_INDEX, _BUILD_ABORTED = frozenset({85, 86}), 27, 276
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Index:
    """One index; `only` makes it partial."""

    collection: str
    name: str
    fields: tuple[str, ...]
    only: dict[str, object] | None = None
    unique: bool = False


def indexes() -> list[Index]:
    """Every index of the project's database. Partial ones hold work that is due, so they stay small."""
    wanted = [
        Index(INVENTORY, "by_run", ("family", "run", "state", "seq")),
        Index(INVENTORY, "unsent", ("entity", "seq", "unsent_from"), {"unsent_from": {"$gte": 0}}),
        Index(INVENTORY, "strangers", ("of", "seq"), {"kind": "stranger"}),
        Index(PAGE_LOG, "by_walk", ("parent", "run")),
        Index(PARKED, "by_line", ("topic", "partition", "parent", "offset")),
        Index(PARKED, "retrying", ("topic", "partition"), {"reason": "retry"}),
        Index(PARKED, "replays", ("topic", "partition", "parent", "offset"), {"replay": True}),
        Index(PARKED, "by_key", ("entity", "key")),
        Index(DEAD_LETTERS, "by_state", ("entity", "state", "parent")),
        Index(DEAD_LETTERS, "by_key", ("key", "state")),
        Index(DEAD_LETTERS, "by_offset", ("topic", "partition", "offset")),
        Index(DEAD_LETTERS, "unsent", ("topic", "partition", "line", "seq", "offset"), {"unsent": True}),
        Index(DEAD_LETTERS, "by_replay", ("replay", "state"), {"replay": {"$gt": ""}}),
        Index(DEAD_LETTERS, "replays", ("replay_of",), {"replay_of": {"$gt": ""}}),
        Index(DEAD_LETTERS, "uncopied", ("service", "copied"), {"copied": False}),
        Index(RUNS, "by_state", ("state", "requested_at")),
        Index(MISMATCHES, "by_report", ("report", "entity")),
        Index(VERIFY_REPORTS, "by_run", ("run",)),
    ]
    for entity in ENTITIES:
        wanted += [
            Index(entity, "in_order", ("parent", "seq")),
            Index(entity, "due", ("parent", "seq", "due"), {"due": True}),
            Index(entity, "skipped", ("status", "skip_reason"), {"status": SKIPPED}),
            Index(entity, "missed", ("parent", "missed"), {"missed": {"$gt": 0}}),
            Index(entity, "forgotten", ("last_error",), {"status": IMPORT_OK, "last_error": {"$gt": ""}}),
            Index(entity, "waiting", ("status", "parent"), {"status": {"$in": list(WAITING)}}),
        ]
    return wanted


async def create_indexes(database: Database) -> None:
    """Create what is missing, and replace what an earlier version defined otherwise. Safe to repeat, and beside others
    who do the same. OutageError when MongoDB is away.
    """
    with mongo_outage():
        for index in indexes():
            await _create(database, index)


async def _create(database: Database, index: Index) -> None:
    fields = [(name, ASCENDING) for name in index.fields]
    options: dict[str, Any] = {} if index.only is None else {"partialFilterExpression": index.only}
    for left in reversed(range(_TRIES)):
        try:
            await database[index.collection].create_index(fields, name=index.name, unique=index.unique, **options)
        except OperationFailure as failure:
            if not left or failure.code not in {*_DEFINED_OTHERWISE, _BUILD_ABORTED}:
                raise
            if failure.code in _DEFINED_OTHERWISE:
                await _drop(database, index)
        else:
            return


async def _drop(database: Database, index: Index) -> None:
    try:
        await database[index.collection].drop_index(index.name)
    except OperationFailure as failure:
        if failure.code != _NO_SUCH_INDEX:
            raise
