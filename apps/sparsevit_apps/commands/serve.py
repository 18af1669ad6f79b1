"""`sparsevit serve`: sources to sinks, as a file says, for months."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to run: docs/service.md.")],
    check: Annotated[bool, typer.Option("--check", help="Only read and check the file; nothing is opened.")] = False,
    log_format: Annotated[
        str, typer.Option("--log-format", help="text, or json: one object a line on stderr.")
    ] = "text",
) -> None:
    """Run what a file says, until its sources have ended or somebody stops it.

    Sources that are live are waited for and opened anew for ever. SIGHUP reads the file again and changes to it;
    whatever is wrong with it is told, and all goes on as before. SIGTERM and Ctrl-C end it, and complete what was
    recorded.
    """
    import logging

    from sparsevit_runtime.errors import ConfigError, SparseViTError

    from ..console import is_quiet, print_error, say, verbosity
    from ..exit_codes import code_of
    from ..service.config import load_config
    from ..service.logs import FORMATS, start_logs
    from ..service.service import Service, Signals
    from ..signals import exit_code

    if log_format not in FORMATS:
        raise typer.BadParameter(f"{log_format!r} is none of {', '.join(FORMATS)}", param_hint="--log-format")
    if check:
        try:
            read = load_config(config)
        except ConfigError as error:
            for line in str(error).splitlines():
                print_error(line)
            raise typer.Exit(code_of(error)) from error
        say(f"{config} is valid: {', '.join(read.sources)} to {', '.join(read.sinks)}")
        return
    start_logs(log_format, logging.ERROR if is_quiet() else logging.DEBUG if verbosity() > 0 else logging.INFO)
    log = logging.getLogger("sparsevit_apps.service")
    try:
        signals = Signals()
        with signals.handled():
            Service(config, signals).run(load_config(config))
    except SparseViTError as error:
        for line in str(error).splitlines():
            log.error("%s", line)
        raise typer.Exit(code_of(error)) from error
    except KeyboardInterrupt as stop:
        raise typer.Exit(exit_code(stop)) from stop
    except Exception as error:
        log.exception("ended by an error of its own")
        raise typer.Exit(1) from error
