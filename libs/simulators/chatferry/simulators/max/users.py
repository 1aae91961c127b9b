"""People by number: names follow from the id, so that nothing needs to be kept for each."""

from typing import Any, Final

FIRST: Final = ("Ivan", "Анна", "Oleg", "Мария", "Petr", "Ольга", "Zoé", "Фёдор", "Timur", "Jürgen", "Софья")
LAST: Final = ("Petrov", "Сидорова", "Kim", "Щукин", "García", "Ли", "Волкова")

FIRST_USER: Final = 100_000_001
FAR_USER: Final = 2**62
"""Where the ids of some begin: outside of what a double holds exactly."""

Json = dict[str, Any]


def user_json(user_id: int, *, bot: bool = False, photo: bool = False) -> Json:
    """A User object; some have no last name, an empty one, a null or absent username."""
    first = FIRST[user_id % len(FIRST)]
    last = LAST[user_id % len(LAST)]
    row: Json = {"user_id": user_id, "first_name": f"{first} Bot" if bot else first}
    spelling = user_id % 5
    if spelling == 1:
        row["last_name"] = ""
    elif spelling != 2:
        row["last_name"] = last
    if bot or spelling == 3:
        row["username"] = f"user_{user_id}{'_bot' if bot else ''}"
    elif spelling == 4:
        row["username"] = None
    row |= {
        "is_bot": bot,
        "last_activity_time": 1_780_000_000_000 + user_id % 86_400_000,
        "name": f"{row['first_name']} {row.get('last_name') or ''}".strip(),
    }
    if photo:
        row |= {"avatar_url": "https://localhost/a.png", "full_avatar_url": "https://localhost/a-full.png"}
    return row


def bot_json(bot_id: int) -> Json:
    """The bot itself, as members name it."""
    return {
        "user_id": bot_id,
        "first_name": "Counter Bot",
        "username": "counter_bot",
        "is_bot": True,
        "last_activity_time": 1_780_000_000_000,
        "name": "Counter Bot",
        "description": "counts",
    }


def me_json(bot_id: int) -> Json:
    return bot_json(bot_id) | {"commands": [{"name": "start", "description": "Start"}]}
