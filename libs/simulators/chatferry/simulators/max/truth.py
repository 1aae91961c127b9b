"""What is really so, as plain values for judges: counts and their history, calls, events."""

from typing import Any

from chatferry.simulators.max.history import visible
from chatferry.simulators.max.model import Kind
from chatferry.simulators.max.world import World

Row = dict[str, Any]
MEMBERSHIP = ("user_added", "user_removed")


def overview(world: World) -> Row:
    """Without secrets."""
    chats = world.platform.chats.values()
    return {
        "now_ms": now_ms(world),
        "chats": len(chats),
        "chats_with_bot": sum(chat.has_bot for chat in chats),
        "dialogs": sum(chat.kind is Kind.DIALOG for chat in chats),
        "members": sum(chat.count for chat in chats),
        "script": {"running": world.script.running, "done": dict(world.script.done)},
        "calls": world.traffic.summary(),
        "faults": dict(world.faults.given),
        "events": events(world),
        "subscriptions": world.webhooks.rows(),
        "settings": world.live.now.model_dump(),
    }


def counts(world: World) -> Row:
    """Of all chats that the bot is in, dialogs included."""
    seen = ((chat.id, visible(chat)) for chat in world.platform.chats.values())
    return {"now_ms": now_ms(world), "counts": {chat_id: count for chat_id, count in seen if count is not None}}


def chats(world: World) -> list[Row]:
    """`events`: whether the bot gets those of the chat; `count`: how many there really are, the bot included."""
    return [
        {
            "chat_id": chat.id,
            "type": chat.kind.value,
            "status": chat.status.value,
            "title": chat.title,
            "count": 2 if chat.kind is Kind.DIALOG else chat.count,
            "has_bot": chat.has_bot,
            "admin": chat.permissions is not None,
            "events": chat.heard,
        }
        for chat in world.platform.chats.values()
    ]


def history(world: World, chat_id: int | None = None, since_ms: int = 0) -> Row:
    return {"now_ms": now_ms(world), "history": world.history.steps(chat_id, since_ms)}


def events(world: World) -> Row:
    """`changes`: moves of counts by what became of them; `missed`: those that no event will ever tell.

    told = an event went out; silent = on purpose without one; unheard = the bot may not hear of that chat.
    `lost` are events of which no copy arrived (dropped, given up, abandoned); `reordered` those that arrived after a
    later one; `repeated` deliveries of one that had arrived.
    """
    outbox, webhooks, changes = world.outbox.counts, world.webhooks.counts, world.history.changes
    losses = world.outbox.losses()
    missed = changes["silent"] + changes["unheard"] + sum(losses[name] for name in MEMBERSHIP)
    return {
        "changes": dict(changes) | {"missed": missed},
        "events": outbox["events"],
        "lost": sum(losses.values()),
        **{name: outbox[name] for name in ("dropped", "given_up", "abandoned", "doubled", "delayed", "held_back")},
        **{name: webhooks[name] for name in ("posts", "failed_posts", "delivered", "repeated", "reordered")},
        "unsubscribed": webhooks["unsubscribed"],
        "waiting": world.webhooks.waiting(),
        "expired": world.feed.expired,
    }


def now_ms(world: World) -> int:
    return int(world.clock() * 1000)
