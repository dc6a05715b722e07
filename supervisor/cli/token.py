"""token: manage the tokens for HTTP."""

from __future__ import annotations

import click

from ..store.state_dir import Home
from ..web.tokens import ROLES, NoSuchToken, Role, Tokens
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput

__all__ = ["token"]


@local_command
@click.argument("action", type=click.Choice(["list", "add", "remove"]), default="list")
@click.argument("name", default="")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="viewer",
    show_default=True,
    help="add: a viewer sees everything, an operator may also change everything.",
)
def token(context: CommandContext, action: str, name: str, role: Role) -> Done:
    """List the tokens for HTTP and the web page, or change them.

    \b
    token                            shows names and roles
    token add NAME                   makes a viewer's token, shown only once
    token add NAME --role operator   makes an operator's token: may deploy, pause and stop
    token remove NAME                revokes the token

    The address is in [web] in the configuration. Changes take effect at once, also while the bot runs.
    """
    # A change creates the home and closes it to others, as `up` does.
    home = context.home if action == "list" else Home.open(context.home.path)
    tokens = Tokens(home.tokens)
    if action != "list" and not name:
        raise BadInput(f"token {action} takes a name: neverblink token {action} NAME")
    made: dict[str, str] = {}
    try:
        secret = tokens.add(name, role) if action == "add" else ""
        if action == "remove":
            tokens.remove(name)
    except NoSuchToken as problem:
        raise BadInput(problem.message) from None
    if secret:
        context.screen.line(f"{context.screen.good('made')}  {secret}")
        context.screen.line(
            f"      the token of {name}, {role}: it is not shown again, so keep it like a password"
        )
        made = {"name": name, "role": role, "token": secret}
    known = tokens.list()
    if action == "list":
        for token in known:
            context.screen.line(f"{token.role:<9} {token.name}")
        if not known:
            context.screen.line("there are no tokens: neverblink token add NAME --role operator")
    return Done(
        {**made, "tokens": [{"name": token.name, "role": token.role, "made": token.made} for token in known]}
    )
