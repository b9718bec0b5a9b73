"""`nilometer serve`: the collector, in the foreground, until it is told to end."""

from __future__ import annotations

from typing import Any

import click

from nilometer.cli.exits import Exit
from nilometer.cli.terminal import stop
from nilometer.errors import ConfigError, to_install


@click.command()
@click.option(
    "--store",
    default="nilometer-store",
    show_default=True,
    metavar="DIR|URL",
    help="Where the tables lie; made if missing.",
)
@click.option(
    "--listen",
    default="127.0.0.1:4318",
    show_default=True,
    metavar="HOST:PORT",
    help="OTLP and REST. Beyond loopback only with --token-file.",
)
@click.option(
    "--statsd",
    default="127.0.0.1:8125",
    show_default=True,
    metavar="HOST:PORT",
    help="statsd over UDP, in every dialect; unix:/path or off.",
)
@click.option(
    "--statsd-open",
    is_flag=True,
    help="Let --statsd listen beyond loopback: datagrams carry no token.",
)
@click.option(
    "--notifications",
    multiple=True,
    metavar="URL|FILE",
    envvar="NILOMETER_NOTIFICATIONS",
    help="oslo.messaging's, from rabbit://..., or URLs in a file. [NILOMETER_NOTIFICATIONS]",
)
@click.option(
    "--kafka",
    multiple=True,
    metavar="URL|FILE",
    envvar="NILOMETER_KAFKA",
    help="OTLP out of topics, kafka://host:9092/topic, or URLs in a file. [NILOMETER_KAFKA]",
)
@click.option(
    "--admin",
    default="off",
    show_default=True,
    metavar="HOST:PORT",
    help="DropWizard's admin paths at the root of a port, of all services together.",
)
@click.option(
    "--keep", default="14d", show_default=True, help="How long; 1h at least, or forever."
)
@click.option(
    "--token-file",
    metavar="FILE",
    envvar="NILOMETER_TOKEN_FILE",
    help="One token a line; every request then needs one. [NILOMETER_TOKEN_FILE]",
)
@click.option(
    "--keystone",
    metavar="FILE",
    envvar="NILOMETER_KEYSTONE",
    help="With [keystone_authtoken], for Monasca's API. [NILOMETER_KEYSTONE]",
)
@click.option(
    "--durability",
    default="disk",
    show_default=True,
    metavar="disk|os",
    help="Acknowledge once on the disk, or once with the operating system.",
)
@click.option(
    "--window", default="1s", show_default=True, help="Commits are grouped for so long."
)
@click.option(
    "--flush", default="10s", show_default=True, help="statsd is summed up for so long."
)
def serve(**flags: Any) -> None:
    """Take batches in, keep them in tables, and answer questions about them.

    Speaks OTLP/HTTP (protobuf and JSON) and REST on one port, statsd on another. Without tokens
    it is reachable from this machine only. Ends on SIGTERM or Ctrl-C with everything committed.

    \b
    Examples:
      nilometer serve
      nilometer serve --store /var/lib/nilometer --keep 30d
      nilometer serve --listen 0.0.0.0:4318 --token-file tokens
      nilometer serve --notifications 'rabbit://user:password@bus/?exchange=nova&topic=profiler'
      nilometer serve --kafka 'kafka://kafka-1:9092/nilometer?group=nilometer'
    """
    need_collector()
    from nilometer.collect import daemon
    from nilometer.collect.settings import CollectorSettings

    try:
        settings = CollectorSettings.parse(**flags)
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    raise SystemExit(daemon.serve(settings))


def need_collector() -> None:
    """End the command where the collector's libraries are missing, and say how to get them."""
    try:
        import nilometer.collect.daemon  # noqa: F401
    except ModuleNotFoundError as error:
        stop(
            f"the collector needs {error.name}: {to_install('collector')} "
            "[collector-not-installed]",
            Exit.USAGE,
        )
