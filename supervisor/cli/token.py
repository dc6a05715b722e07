"""token: who may ask over HTTP."""

from __future__ import annotations

import click

from ..store.state_dir import Home
from ..web.tokens import ROLES, NoSuchToken, Role, Tokens
from .command import Done, local_command
from .context import CommandContext
from .errors import BadInput

__all__ = ["token"]


@local_command
@click.argument("action", type=click.Choice(["list", "add", "remove"]), default="list")
@click.argument("name", default="")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="viewer",
    show_default=True,
    help="add: a viewer sees everything, an operator may do all that you may.",
)
def token(context: CommandContext, action: str, name: str, role: Role) -> Done:
    """Show who may ask over HTTP and open the web page, or change who may.

    \b
    token                            shows names and roles
    token add NAME                   makes a viewer's token, and shows it this once
    token add NAME --role operator   makes one that may deploy, pause and stop
    token remove NAME                revokes the token

    Where to listen is [web] in the configuration. All of it takes effect at once, also while the bot runs.
    """
    # To change something, the home is made and closed, as `up` does it.
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
            f"      the token of {name}, {role}: shown this once, so keep it as you keep a password"
        )
        made = {"name": name, "role": role, "token": secret}
    known = tokens.list()
    if action == "list":
        for one in known:
            context.screen.line(f"{one.role:<9} {one.name}")
        if not known:
            context.screen.line("there are no tokens: neverblink token add NAME --role operator")
    return Done({**made, "tokens": [{"name": one.name, "role": one.role, "made": one.made} for one in known]})
