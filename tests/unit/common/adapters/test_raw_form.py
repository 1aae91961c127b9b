from __future__ import annotations

import pytest

from chatferry.common.adapters.mongo import encode_document
from chatferry.common.adapters.raw_form import RawForm, keep_raw, read_raw

_LARGE = 20 * 1024 * 1024


@pytest.mark.parametrize(
    "record",
    [
        RawForm(None, None, ()),
        RawForm(b"\xff7", b"\x00{", (("name", b"\xfe"), ("name", None))),
        RawForm(b"7", b"a" * _LARGE, (("x", b"1"),)),
        RawForm(b"k" * _LARGE, None, ()),
        RawForm(b"7", b"{}", (("x", b"h" * _LARGE),)),
    ],
    ids=["nothing", "odd", "large value", "large key", "large header"],
)
def test_a_record_is_kept_byte_for_byte_in_less_than_a_document_may_hold(record: RawForm) -> None:
    kept = keep_raw(*record)
    assert len(encode_document(kept)) < 15 * 1024 * 1024
    assert read_raw(kept) == record
