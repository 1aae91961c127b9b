"""What a service says of itself over HTTP."""

from __future__ import annotations

import ssl

import httpx

from chatferry.common.settings import is_http_url

_ANSWERS_S = 2.0


def unready(url: str) -> dict[str, str]:
    """What keeps it from its work, by part; empty when nothing does. Whatever answers at its base URL, or nobody."""
    if not is_http_url(url):
        return {"service": "its address is none like http://host:port; correct CHATFERRY_SERVICE_URLS"}
    try:
        answer = httpx.get(f"{url}/readyz", timeout=_ANSWERS_S, trust_env=False, verify=ssl.create_default_context())
        return {str(part): str(sentence) for part, sentence in answer.json()["wrong"].items()}
    except httpx.HTTPError as failure:
        return {"service": f"it does not answer ({type(failure).__name__})"}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {"service": "something else answers at its address: no /readyz of ours"}
