"""keys: the clients that may connect over TCP."""

from __future__ import annotations

from pathlib import Path

import click

from ..sockets.client_keys import (
    ClientKey,
    ClientKeys,
    client_keys,
    key_of,
    new_secret,
)
from ..sockets.worker_keys import public_of
from ..store.state_dir import Home
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput

__all__ = ["keys"]


@local_command
@click.argument("action", type=click.Choice(["list", "generate", "add", "remove"]), default="list")
@click.argument("name", default="")
@click.argument("public", metavar="[KEY]", default="")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="generate: the client's key file. Default: NAME.key in ~/.config/neverblink/keys, outside of any project.",
)
@click.option(
    "--for-server", default="", metavar="KEY", help="generate: a key for the server with this public key."
)
@click.option(
    "--replace", is_flag=True, help="generate: another key for the server; all clients need it anew."
)
def keys(
    context: CommandContext,
    action: str,
    name: str,
    public: str,
    out: Path | None,
    for_server: str,
    replace: bool,
) -> Done:
    """Show or change the server's key and the clients that may connect over TCP.

    \b
    keys                    shows them
    keys generate           makes the server's key pair
    keys generate NAME      makes a client's key file, and authorizes that client
    keys add NAME KEY       authorizes a client that has made its own key file, with
                            keys generate NAME --for-server KEY, on its own machine
    keys remove NAME        removes a client's authorization

    The address is [listen] in the configuration. Changes of keys take effect at once, also while the bot runs.
    """
    if for_server:
        return _for_server(context, name, key_of(for_server), out)
    # A change creates the home if necessary, and makes it private, as `up` does.
    home = context.home if action == "list" else Home.open(context.home.path)
    access = ClientKeys(home.keys)
    note = ""
    match action:
        case "generate" if name:
            secret = access.server()
            server = access.generate() if secret is None else _public(access)
            note = _client(context, ClientKey(name, new_secret(), server), out, access)
        case "generate":
            access.generate(replace=replace)
        case "add":
            if not name or not public:
                raise BadInput(
                    "keys add takes a client's name and its public key: neverblink keys add NAME KEY"
                )
            access.add(name, key_of(public))
        case "remove":
            if not name:
                raise BadInput("keys remove takes a client's name: neverblink keys remove NAME")
            access.remove(name)
        case _:
            pass
    return _shown(context, access, note)


def _for_server(context: CommandContext, name: str, server: bytes, out: Path | None) -> Done:
    if not name:
        raise BadInput("a client has a name: neverblink keys generate NAME --for-server KEY")
    key = ClientKey(name, new_secret(), server)
    file = _client(context, key, out, None)
    context.screen.line(f"and on the server:  neverblink keys add {name} {key.public.hex()}")
    return Done({"client": name, "public": key.public.hex(), "file": file})


def _client(context: CommandContext, key: ClientKey, out: Path | None, access: ClientKeys | None) -> str:
    file = context.path(out) if out is not None else _directory(context) / f"{key.name}.key"
    if access is not None:
        access.add(key.name, key.public)
    try:
        key.write(file)
    except BaseException:
        if access is not None:
            access.remove(key.name)
        raise
    context.screen.line(
        f"{context.screen.good('made')}  {file}: its owner can do all that you can, so keep it private"
    )
    return str(file)


def _directory(context: CommandContext) -> Path:
    """The directory for client keys, created if it does not exist."""
    found = client_keys(context.environment)
    if not found:
        raise BadInput("neither HOME nor XDG_CONFIG_HOME is set: name the key's file with --out")
    directory = found[0]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(
            f"{directory} cannot be created ({problem.strerror}): name the key's file with --out"
        ) from None
    return directory


def _shown(context: CommandContext, access: ClientKeys, file: str) -> Done:
    server = _public(access).hex() if access.server() is not None else ""
    clients = {name: key.hex() for name, key in access.clients().items()}
    context.screen.line(f"server   {server or 'no key yet: neverblink keys generate'}")
    for name, key in clients.items():
        context.screen.line(f"client   {key}  {name}")
    if not clients:
        context.screen.line("no client may connect over TCP: neverblink keys generate NAME")
    return Done({"server": server, "clients": clients, **({"file": file} if file else {})})


def _public(access: ClientKeys) -> bytes:
    secret = access.server()
    assert secret is not None
    return public_of(secret)
