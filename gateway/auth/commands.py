"""`python -m gateway keys`: adds, lists and removes keys. The running gateway follows the file within a second."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.auth.keys import DEFAULT_LIMIT, SCOPES, BuyerTokens, NewKey, add_key, read_document, remove_key
from gateway.auth.tokens import ALGORITHMS
from gateway.settings import GatewaySettings
from twotower.errors import SettingsError
from twotower.serving.settings import read_settings


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 for a wrong option, setting or file."""
    options = _parser().parse_args(arguments)
    try:
        file = options.file or read_settings(GatewaySettings, "gateway").keys_file
        if file is None:
            raise SettingsError("which keys file? Give --file FILE, or set TWOTOWER_GATEWAY_KEYS_FILE")
        {"add": _add, "list": _list, "remove": _remove}[options.command](file, options)
    except SettingsError as error:
        print(f"gateway keys: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="make a key and print it; the file keeps its hash alone")
    add.add_argument("--name", default="shop", help="what the key is for (default: shop)")
    add.add_argument(
        "--scopes", nargs="+", choices=SCOPES, default=["read", "write"], help="what it may do (default: read write)"
    )
    add.add_argument("--limit", default=DEFAULT_LIMIT, help=f'rate limit, or "none" (default: {DEFAULT_LIMIT})')
    add.add_argument("--token-key", metavar="FILE", help="verifies buyers' tokens; relative to the keys file's folder")
    add.add_argument("--token-algorithm", choices=ALGORITHMS, default="HS256", help="of these tokens (default: HS256)")
    commands.add_parser("list", help="list the keys, without their secrets")
    remove = commands.add_parser("remove", help="remove a key; it is refused from the next second on")
    remove.add_argument("id", help="the twelve digits after tt_")
    for command in commands.choices.values():
        command.add_argument("--file", type=Path, help="the keys file (default: TWOTOWER_GATEWAY_KEYS_FILE)")
    return parser


def _add(file: Path, options: argparse.Namespace) -> None:
    tokens = None
    if options.token_key:
        tokens = BuyerTokens(algorithm=options.token_algorithm, key_file=options.token_key)
    limit = None if options.limit == "none" else options.limit
    key = add_key(file, NewKey(options.name, tuple(options.scopes), limit, tokens))
    print(key)
    print(
        f"written to {file}: the hash alone, so this is the only time that the key is shown. Send it as\n"
        f"  curl -H 'Authorization: Bearer {key}' ...",
        file=sys.stderr,
    )


def _list(file: Path, options: argparse.Namespace) -> None:
    for entry in read_document(file).keys:
        tokens = f"  tokens {entry.buyer_tokens.algorithm}" if entry.buyer_tokens else ""
        limit = entry.limit or "no limit"
        print(f"{entry.id}  {entry.created_at:%Y-%m-%d}  {','.join(entry.scopes)}  {limit}  {entry.name}{tokens}")


def _remove(file: Path, options: argparse.Namespace) -> None:
    removed = remove_key(file, options.id)
    print(f"removed {removed.id} ({removed.name})")
