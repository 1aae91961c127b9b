"""Which way a root is walked next."""

from __future__ import annotations

from typing import Any

import pytest

from chatferry.extractor.steps.ways import Root, root_of


def a_root(webhooks: int = 2, **said: Any) -> Root:
    views = [{"webhook": number, "ref": "chat7"} for number in range(1, webhooks + 1)]
    row = {"_id": "chats:7", "seq": 0, "views": views, "stored": True, "known": True, "walks": 0, "found": {}}
    return root_of({**row, **said})


def ended(claimed: int, listed: int) -> dict[str, Any]:
    return {"claimed": claimed, "listed": listed, "limited": False}


def walked(root: Root, *walks: tuple[int, int]) -> list[int]:
    """The webhooks through which a root is walked whose walks bring (claimed, listed), as often as it asks for."""
    through = []
    for claimed, listed in walks:
        through.append(root.webhook)
        view = root.next_view(ended(claimed, listed), 0)
        if view is None:
            break
        root.tried[root.webhook] = listed
        root.view, root.walks = view, root.walks + 1
    return through


@pytest.mark.parametrize(
    ("webhooks", "walks", "through"),
    [
        (1, [(9, 9)], [1]),
        (1, [(9, 8), (9, 8), (9, 8)], [1, 1]),
        (2, [(9, 5), (9, 9)], [1, 2]),
        (2, [(9, 5), (9, 3), (9, 5), (9, 5)], [1, 2, 1]),
        (2, [(9, 5), (9, 5), (9, 5)], [1, 2]),
        (3, [(9, 5), (9, 6), (9, 4), (9, 6), (9, 6)], [1, 2, 3, 2]),
        (2, [(5, 6), (5, 6), (5, 6)], [1, 1]),
        (2, [(9, 8), (3, 3), (8, 8)], [1, 2, 1]),
    ],
    ids=["whole", "once-more", "other", "back", "as-much", "best-of-three", "shows-more", "counts-for-itself"],
)
def test_another_webhook_is_tried_and_the_one_that_saw_most_ends(
    webhooks: int, walks: list[tuple[int, int]], through: list[int]
) -> None:
    assert walked(a_root(webhooks), *walks) == through


def test_a_webhook_that_is_refused_leaves_the_last_word_to_the_one_that_was_not() -> None:
    root = a_root(2)
    assert walked(root, (9, 5)) == [1]
    assert root.webhook == 2
    assert root.refused()
    assert root.webhook == 1
    assert walked(root, (9, 5), (9, 5)) == [1]
    assert root.best(5) == 0


def test_a_root_that_is_refused_to_every_webhook_has_no_way_left() -> None:
    root = a_root(2)
    assert [root.refused(), root.refused()] == [True, False]


def test_another_process_goes_on_through_the_same_webhook_and_knows_which_were_tried() -> None:
    root = a_root(3)
    walked(root, (9, 5), (9, 6))
    other = a_root(3, reader=1, **root.way())
    assert (other.webhook, other.walks, other.tried) == (root.webhook, root.walks, root.tried)


def test_a_walk_that_shows_less_than_another_webhook_proves_nothing_gone() -> None:
    root = a_root(2, tried=[[1, 8]], through=2)
    assert not root.saw_most(3)
    assert root.saw_most(8)
