"""Things people at work write to each other: Cyrillic, BBCode, emoji, links, quotes, code."""

from random import Random

FIRST_NAMES = (
    ("Анна", "F"), ("Пётр", "M"), ("Ольга", "F"), ("Иван", "M"), ("Мария", "F"), ("Сергей", "M"), ("Елена", "F"),
    ("Дмитрий", "M"), ("Наталья", "F"), ("Алексей", "M"), ("Светлана", "F"), ("Klaus", "M"), ("Emily", "F"),
)  # fmt: skip
LAST_NAMES = (
    "Иванов", "Петров", "Сидоренко", "Ким", "Шевчук", "Мельник", "Weber", "Johnson", "Ли", "Дубинских", "Черных",
    "О'Коннор", "Гурцкая", "Живаго", "Седых",
)  # fmt: skip
POSITIONS = ("", "Аналитик", "Разработчик", "Менеджер по продажам", "Бухгалтер", "Директор", "QA engineer")
TITLES = (
    "Отдел продаж", "Релиз", "Бухгалтерия", "Новый офис", "Дизайн \"кабинета\"", "Поддержка 24/7", "Тендер",
    "Customer success",
    "Переезд в облако", "Обеды & кофе", "Инциденты", "Совещания",
)  # fmt: skip
FILE_NAMES = (
    "договор.pdf",
    "скриншот.png",
    "Отчёт за март.xlsx",
    "photo.jpg",
    "архив.tar.gz",
    "заметка",
    "план v2.docx",
)

_OPENINGS = (
    "Коллеги, ", "Привет! ", "Добрый день. ", "", "", "", "Смотрите: ", "Кстати, ", "+1, ", "Hi, ", "Напоминаю: ",
)  # fmt: skip
_MIDDLES = (
    "отчёт готов", "нужно согласовать договор с юристами", "сервер опять недоступен", "встреча переносится на 15:00",
    "кто сегодня дежурит", "клиент просит скидку 7%", "обновил макеты", "the build is green again", "оплата прошла",
    "не могу войти в систему после смены пароля", "все правки внесены, проверьте, пожалуйста", "документы у Ольги",
    "по задаче № 348 есть вопросы", "завтра с утра созвон", "спасибо", "согласовано", "жду ответа до конца дня",
)  # fmt: skip
_ENDINGS = (
    ".", ".", "!", "?", "…", " 🙂", " 👍🏽", " 🎉🎉", ")))", ".\nПодробности ниже.\n— раз\n— два", " «как обычно»",
    " [B]срочно[/B]", " [I]до пятницы[/I]", " [URL=https://example.com/a?b=1&c=2]ссылка[/URL]", " https://example.com/x_y",
    "\n[CODE]if (a < b && c > \"d\") { return 'ok\\n'; }[/CODE]",
    " [QUOTE]так и было[/QUOTE]", " 👩‍💻", ", \u00a0да\u200b.",
)  # fmt: skip


def sentences(random: Random, count: int) -> list[str]:
    """A pool to draw messages from: all three parts vary independently."""
    return [random.choice(_OPENINGS) + random.choice(_MIDDLES) + random.choice(_ENDINGS) for _ in range(count)]


def mention(user_id: int, name: str) -> str:
    return f"[USER={user_id}]{name}[/USER], "


def joined(owner_id: int, owner: str, user_id: int, user: str) -> str:
    """The system message of an invitation."""
    return f"[USER={owner_id} REPLACE]{owner}[/USER] пригласил в чат [USER={user_id} REPLACE]{user}[/USER]"


def left(user_id: int, user: str) -> str:
    return f"[USER={user_id} REPLACE]{user}[/USER] покинул чат"
