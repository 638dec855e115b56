"""`candela web`: runs the dashboard alone; its accounts and API tokens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dicom_node.commands.common import ConfigOption, console, load_settings
from dicom_node.settings.web import Role

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.web.auth.accounts import Accounts

app = typer.Typer(help="The dashboard: run it alone, accounts, API tokens.", invoke_without_command=True)
users = typer.Typer(help="Accounts of people: add, list, password, role, remove.", no_args_is_help=True)
tokens = typer.Typer(help="API tokens of programs: add, list, revoke.", no_args_is_help=True)
app.add_typer(users, name="users")
app.add_typer(tokens, name="tokens")

NameArgument = Annotated[str, typer.Argument(help="Name of the account or token.")]
RoleOption = Annotated[Role, typer.Option(help="viewer, operator or admin.")]
StdinOption = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of stdin.")]


@app.callback()
def run(context: typer.Context, config_file: ConfigOption = None) -> None:
    """Run the dashboard until SIGTERM or SIGINT, or one of the commands below."""
    if context.invoked_subcommand is not None:
        return
    from dicom_node.web.server import serve_web

    raise typer.Exit(serve_web(load_settings(config_file), config_file))


@users.command("add")
def add_user(
    name: NameArgument,
    role: RoleOption = Role.VIEWER,
    from_stdin: StdinOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Make an account; asks for its password."""
    _accounts(config_file).add(name, _password(from_stdin=from_stdin), role)
    typer.echo(f"account {name} added as {role}")


@users.command("list")
def list_users(config_file: ConfigOption = None) -> None:
    """List the accounts."""
    table = Table("name", "role", "since", box=None, header_style="bold")
    for item in _accounts(config_file).accounts():
        table.add_row(escape(item.name), item.role, item.created)
    console().print(table)


@users.command()
def password(name: NameArgument, from_stdin: StdinOption = False, config_file: ConfigOption = None) -> None:
    """Set an account's password; its logins end."""
    _accounts(config_file).change(name, password=_password(from_stdin=from_stdin))
    typer.echo(f"password of {name} changed; its logins have ended")


@users.command()
def role(
    name: NameArgument, new: Annotated[Role, typer.Argument(help="The new role.")], config_file: ConfigOption = None
) -> None:
    """Set an account's role; its logins end."""
    _accounts(config_file).change(name, role=new)
    typer.echo(f"{name} is {new} now; its logins have ended")


@users.command("remove")
def remove_user(name: NameArgument, config_file: ConfigOption = None) -> None:
    """Remove an account; its logins end."""
    _accounts(config_file).remove(name)
    typer.echo(f"account {name} removed")


@tokens.command("add")
def add_token(
    name: NameArgument,
    scope: Annotated[list[str], typer.Option(help="read, identity, operate, assess or admin; may be repeated.")],
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; default: never.")] = None,
    config_file: ConfigOption = None,
) -> None:
    """Make an API token and print it, once."""
    from dicom_node.web.auth.principal import Scope

    unknown = [item for item in scope if item not in {*Scope}]
    if unknown:
        raise typer.BadParameter(f"there is no scope {unknown[0]!r} (known: {', '.join(Scope)})", param_hint="--scope")
    made = _accounts(config_file).make_token(name, tuple(Scope(item) for item in dict.fromkeys(scope)), days)
    typer.echo(made)
    typer.echo("Keep it: it cannot be shown again. Send it as `Authorization: Bearer ...`.", err=True)


@tokens.command("list")
def list_tokens(config_file: ConfigOption = None) -> None:
    """List the API tokens, without what they are."""
    table = Table("name", "scopes", "since", "expires", box=None, header_style="bold")
    for item in _accounts(config_file).tokens():
        table.add_row(escape(item.name), ", ".join(item.scopes), item.created, item.expires or "never")
    console().print(table)


@tokens.command()
def revoke(name: NameArgument, config_file: ConfigOption = None) -> None:
    """Remove an API token at once."""
    _accounts(config_file).revoke_token(name)
    typer.echo(f"token {name} revoked")


def _accounts(config_file: Path | None) -> Accounts:
    from dicom_node.web.auth.accounts import Accounts

    return Accounts(load_settings(config_file).web_dir)


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return asked
