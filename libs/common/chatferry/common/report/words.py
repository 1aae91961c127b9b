"""Numbers, times and names as people read them."""

from __future__ import annotations

from datetime import datetime

_THIN_SPACE = "\u202f"


def number(value: int | None) -> str:
    """`32 884` with thin spaces; an unknown one is a dash."""
    return "–" if value is None else f"{value:,}".replace(",", _THIN_SPACE)


def many(count: int, word: str) -> str:
    """`1 chat`, `48 chats`, `no chats`."""
    return f"{number(count) if count else 'no'} {word if count == 1 else plural(word)}"


def plural(word: str) -> str:
    """Of the words this page uses."""
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def singular(name: str) -> str:
    """`chat message` of the entity `chat_messages`."""
    words = name.replace("_", " ")
    return words[:-1] if words.endswith("s") else words


def title(name: str) -> str:
    """`Chat messages` of the entity `chat_messages`."""
    return name.replace("_", " ").capitalize()


def duration(seconds: float) -> str:
    """`0.4 s`, `41 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(value: datetime) -> str:
    """`21 Nov 2026, 02:33:10 UTC`."""
    return f"{value:%d %b %Y, %H:%M:%S} UTC".lstrip("0")
