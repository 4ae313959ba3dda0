"""What a request to a served model may say, and the sentence that refuses it otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from urllib.parse import parse_qsl

from tlstudio.api import MODALITIES, Modality
from tlstudio.data.names import plain_text

MOST_BYTES = 64 * 2**20
"""Largest image or recording that is taken."""
MOST_JSON_BYTES = 8 * 2**20
"""Largest JSON: read into memory it takes many times as much."""
MOST_TEXTS = 1000
"""Most texts in one request."""
MOST_CHARACTERS = 1_000_000
"""Longest text; models read the beginning alone."""


class RequestError(Exception):
    """A request that is not answered, and why.

    Args:
        status: The HTTP status.
        sentence: What is wrong and what to do, for the person who wrote the request.
        headers: HTTP headers that say the same to programs.
    """

    def __init__(self, status: HTTPStatus, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be predicted: one image or recording, or texts.

    Attributes:
        file: The bytes of an image or sound file, for a model that takes images or recordings.
        texts: The texts, each with its second text or `None`, for a model that takes texts.
        top: How many classes are told, the most probable first; `None`: all.
    """

    file: bytes | None = None
    texts: tuple[tuple[str, str | None], ...] = ()
    top: int | None = None


def check_caller(headers: Message, port: int) -> None:
    """Let in only who means this server: other web pages in the user's browser could reach it, too.

    A page of another site may bring its own name to point to this machine (DNS rebinding), which the header ``Host``
    tells, or send a request across sites, which ``Origin`` tells.

    Raises:
        RequestError: The request was meant for another host, or comes from a web page of another site.
    """
    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    if port == 80:
        hosts |= {host.removesuffix(":80") for host in hosts}
    said = headers.get_all("Host", [])
    if len(said) != 1:
        raise RequestError(HTTPStatus.BAD_REQUEST, "The request needs one Host header.")
    if said[0].strip().lower() not in hosts:
        raise RequestError(
            HTTPStatus.FORBIDDEN, f"This server answers only as http://127.0.0.1:{port}; ask it by that address."
        )
    if any(
        origin.strip().lower() not in {f"http://{host}" for host in hosts} for origin in headers.get_all("Origin", [])
    ):
        raise RequestError(HTTPStatus.FORBIDDEN, "Web pages of other sites may not use this server.")


_KINDS: Mapping[Modality, str] = {"image": "image/png, image/jpeg", "audio": "audio/wav, audio/flac"}


def body_size(headers: Message, modality: Modality) -> int:
    """Return the number of bytes of a body that a model can take, before any of it is read.

    Raises:
        RequestError: It is of another kind, of unknown length or too large.
    """
    kind = headers.get_content_type() if "Content-Type" in headers else ""
    if modality in ("image", "audio"):
        known = MODALITIES[modality]
        fits, limit = kind.startswith(f"{modality}/") or kind == "application/octet-stream", MOST_BYTES
        wanted = f"This model takes {known.items}: send the {known.item} file itself as the body, with the "
        wanted += f"Content-Type {_KINDS[modality]} or the like, or application/octet-stream."
    else:
        fits, limit = kind == "application/json", MOST_JSON_BYTES
        wanted = 'This model takes texts: send {"text": "..."} or {"texts": ["...", "..."]} with the Content-Type '
        wanted += "application/json."
    if not fits:
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, wanted)
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or not lengths:
        raise RequestError(
            HTTPStatus.LENGTH_REQUIRED, "Send the body as a whole, with a Content-Length, not in chunks."
        )
    length = lengths[0].strip()
    if len(lengths) > 1 or not (length.isascii() and length.isdigit()):
        raise RequestError(HTTPStatus.BAD_REQUEST, "The Content-Length is no single number.")
    if len(length) > 15 or int(length) > limit:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is larger than {limit // 2**20} MiB, the most that is taken.",
        )
    if int(length) == 0:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"The body is empty. {wanted}")
    return int(length)


def read_top(query: str) -> int | None:
    """Read ``top=K``, the only thing that may stand behind the question mark.

    Raises:
        RequestError: Something else stands there, or no whole number from 1 on.
    """
    try:
        values = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8)
    except ValueError:
        values = [("", "")]
    if any(name != "top" for name, _ in values) or len(values) > 1:
        raise RequestError(
            HTTPStatus.BAD_REQUEST, "The address takes nothing but ?top=K, the number of classes to tell."
        )
    if not values:
        return None
    said = values[0][1]
    if not (said.isascii() and said.isdigit() and len(said) < 10 and int(said) > 0):
        raise RequestError(HTTPStatus.BAD_REQUEST, "top must be a whole number from 1 on.")
    return int(said)


_SHAPES = ({"text"}, {"texts"}, {"text", "pair"}, {"texts", "pairs"})


def read_texts(body: bytes) -> tuple[tuple[str, str | None], ...]:
    """Read ``{"text": "..."}`` or ``{"texts": [...]}``, each also with a ``pair`` or ``pairs``: the second texts.

    Raises:
        RequestError: It is no such JSON, or there is too much of it.
    """
    try:
        said = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise RequestError(HTTPStatus.BAD_REQUEST, "The body is no JSON in UTF-8.") from None
    if not isinstance(said, dict) or said.keys() not in _SHAPES:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            'The JSON must be {"text": "..."} or {"texts": ["...", "..."]}, with "pair" or "pairs" for a model that '
            "takes two texts, and nothing else; "
            "files and addresses are never opened for a request.",
        )
    texts = [said["text"]] if "text" in said else said["texts"]
    pairs = [said["pair"]] if "pair" in said else said.get("pairs", [])
    for listed in (texts, pairs or texts):
        if not isinstance(listed, list) or not listed or not all(isinstance(text, str) for text in listed):
            what = '"text" and "pair" must be a text, "texts" and "pairs" a list of at least one text.'
            raise RequestError(HTTPStatus.BAD_REQUEST, what)
    if pairs and len(pairs) != len(texts):
        raise RequestError(HTTPStatus.BAD_REQUEST, '"pairs" must have as many texts as "texts".')
    if len(texts) > MOST_TEXTS:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"There are {len(texts):,} texts; send {MOST_TEXTS:,} at a time at most.",
        )
    if any(len(text) > MOST_CHARACTERS for text in (*texts, *pairs)):
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A text may have {MOST_CHARACTERS:,} characters at most; shorten it."
        )
    seconds = [plain_text(text) for text in pairs] if pairs else [None] * len(texts)
    return tuple(zip(map(plain_text, texts), seconds, strict=True))
