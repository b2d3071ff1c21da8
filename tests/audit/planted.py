"""Secrets of every kind, made from a seed: none of them is anybody's."""

import base64
import json
import random
import string
from typing import NamedTuple
from urllib.parse import quote

ALNUM = string.ascii_letters + string.digits


class Planted(NamedTuple):
    """A secret, the text in which it is recognised, and how it is.

    `kind`: `known` (it must be learnt), `member` (the value of a member called `name`), or that of a detector.
    """

    kind: str
    secret: str
    text: str
    name: str = ""


def _of(rng: random.Random, letters: str, count: int) -> str:
    made = "".join(rng.choice(letters) for _ in range(count))
    return made[:-3] + "a7Q" if letters == ALNUM else made


def _jwt(rng: random.Random) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part({'sub': _of(rng, ALNUM, 12)})}.{_of(rng, ALNUM, 43)}"


def _pem(rng: random.Random) -> str:
    lines = "\n".join(_of(rng, ALNUM + "+/", 64) for _ in range(4))
    return f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----"


def planted(many: int, seed: int = 6) -> list[Planted]:
    """So many of them, all kinds in turn."""
    rng = random.Random(seed)
    found = []
    for number in range(many):
        code, words = (
            _of(rng, ALNUM, 36),
            f"{rng.choice(['plum', 'fig'])} {_of(rng, string.ascii_lowercase, 9)} tree",
        )
        secret, hard = _of(rng, ALNUM, 24), f'p"\\{_of(rng, ALNUM, 14)}/+&é%{number}'
        upper = _of(rng, string.ascii_uppercase + string.digits, 16)
        made = [
            Planted("known", secret, secret),
            Planted("known", hard, hard),
            Planted("github", f"ghp_{code}", f"clone with ghp_{code} please"),
            Planted("github", f"github_pat_{code}_{code}", f"(github_pat_{code}_{code})"),
            Planted("aws", f"AKIA{upper}", f"id=AKIA{upper};"),
            Planted("api-key", f"sk-proj-{code}", f'"sk-proj-{code}"'),
            Planted("slack", f"xoxb-{rng.randrange(10**11)}-{code}", f"use xoxb-{rng.randrange(10)}"),
            Planted("jwt", _jwt(rng), ""),
            Planted("pem", _pem(rng), ""),
            Planted("bearer", secret, f"send Bearer {secret} along"),
            Planted("header", secret, f"curl -H 'Authorization: Basic {secret}' https://x/"),
            Planted("userinfo", secret, f"postgres://app:{secret}@db.example/x"),
            Planted("query", secret, f"https://h.example/a?access_token={secret}&b=1"),
            Planted("assigned", words, f'DB_PASSWORD="{words}" ./run'),
            Planted("json", words, json.dumps(json.dumps({"client_secret": words, "b": 1}))),
            Planted("assigned", secret, f"export api_key={secret}\n"),
            Planted("member", words, words, "password"),
            Planted("member", words, words, "X-Api-Key"),
            Planted("member", secret, secret, "refreshToken"),
        ]
        one = made[number % len(made)]
        if one.kind in ("jwt", "pem") or (one.secret not in one.text and one.kind != "json"):
            one = one._replace(text=f"it is {one.secret}\nand more")
        found.append(one)
    return found


def written(secret: str) -> dict[str, str]:
    """Every form in which a known secret may be written, with text around it that does not belong to it."""
    raw = secret.encode()
    made = {
        "plain": f"ab{secret}cd",
        "hex": f"00{raw.hex()}00",
        "HEX": raw.hex().upper(),
        "url": f"x={quote(secret, safe='')}&y",
        "every byte": "".join(f"%{byte:02x}" for byte in raw),
        "json": json.dumps({"k": secret}),
        "json utf-8": json.dumps({"k": secret}, ensure_ascii=False),
        "json in json": json.dumps(json.dumps({"k": secret}, ensure_ascii=False), ensure_ascii=False),
    }
    for offset in range(3):
        data = b"\xf7" * offset + raw + b"\xf7\xee"
        made[f"base64 {offset}"] = base64.b64encode(data).decode()
        made[f"url-safe {offset}"] = base64.urlsafe_b64encode(data).decode()
    return made


def needles(secret: str) -> set[str]:
    """What must be nowhere: the secret, its long lines, and what nobody but it makes of its forms."""
    found = {secret, *(line for line in secret.splitlines() if len(line) > 40)}
    raw = secret.encode()
    found |= {raw.hex(), raw.hex().upper(), quote(secret, safe=""), json.dumps(secret)[1:-1]}
    found.add(json.dumps(secret, ensure_ascii=False)[1:-1])
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + raw)
        inner = whole[(0, 2, 3)[offset] : (offset + len(raw)) * 8 // 6].decode()
        found |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return found
