"""Entry point of the `sparsevit` command.

Exit codes: 0 done; 1 an error, told in one line on stderr; 2 wrong usage; 3 a live source was lost; 4 no room on the
disk; 130 stopped with Ctrl-C; 143 by SIGTERM; 129 by SIGHUP.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sparsevit_runtime.dependencies import explain
from sparsevit_runtime.errors import SparseViTError
from sparsevit_runtime.texts import printable, shown

from .commands import (
    adapt,
    batch,
    build,
    check,
    doctor,
    eval,
    export,
    export_triton,
    half,
    inspect,
    profile,
    run,
    search,
    serve,
)
from .exit_codes import ERROR, code_of
from .signals import exit_code, stop_on_signals
from .streams import fill_standard_streams, let_go_of_stdout

#: What a write to a full, closed or abandoned stdout fails with.
_STDOUT_ERRORS = (errno.ENOSPC, errno.EPIPE, errno.EBADF)
_EXIT_CODES = (
    "Exit codes: 0 done, 1 error, 2 wrong usage, 3 a live source was lost, 4 no room on the disk, 130 stopped with "
    "Ctrl-C, 143 by SIGTERM, 129 by SIGHUP."
)
#: Options of every command.
_COMMON = re.compile(r"-[vq]+|--verbose|--quiet|--debug")


class _Group(TyperGroup):
    """Takes common options wherever they stand, and turns what goes wrong into a line and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        common = [text for text in args[:end] if _COMMON.fullmatch(text)]
        rest = [text for text in args[:end] if not _COMMON.fullmatch(text)]
        return super().parse_args(ctx, [*common, *rest, *args[end:]])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (SparseViTError, ImportError, AttributeError) as error:
            # The latter two may come of an OpenCV or ONNX Runtime that is not whole.
            told = error if isinstance(error, SparseViTError) else explain(error)
            if told is None or ctx.params.get("debug"):
                raise
            from .console import print_error

            print_error(str(told))
            raise typer.Exit(code_of(told)) from error
        except OSError as error:
            if ctx.params.get("debug"):
                raise
            if error.filename is not None:  # a name that no file can have, a folder that may not be entered
                from .console import print_error

                print_error(f"cannot use {shown(str(error.filename))} ({error.strerror})")
                raise typer.Exit(ERROR) from error
            raise typer.Exit(_stdout_failed(error)) from error
        except KeyboardInterrupt as stop:
            with suppress(OSError):  # the terminal that was closed
                typer.echo("stopped", err=True)
            raise typer.Exit(exit_code(stop)) from stop
        except Exception as error:
            if hasattr(error, "format_message"):  # wrong usage, of click or of typer's own copy of it
                usage = printable(error.format_message(), keep="\n")
                error.format_message = lambda: usage
            raise


app = typer.Typer(
    name="sparsevit",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="SparseViT on cameras: train for any sparsity, export one ONNX file, run it on live frames, measure it.",
    epilog=f"Each command has its own --help; -v, -q and --debug may stand behind it. {_EXIT_CODES}",
)
app.command(name="run", epilog=_EXIT_CODES)(run.run)
app.command(name="serve", epilog=_EXIT_CODES)(serve.serve)
app.command(name="batch", epilog=_EXIT_CODES)(batch.batch)
app.command(name="inspect")(inspect.inspect)
app.command(name="profile")(profile.profile)
app.command(name="check")(check.check)
app.command(name="doctor")(doctor.doctor)
app.command(name="export")(export.export)
app.command(name="export-triton")(export_triton.export_triton)
app.command(name="half")(half.half)
app.command(name="build")(build.build)
app.command(name="eval")(eval.evaluate)
app.command(name="adapt")(adapt.adapt)
app.command(name="search")(search.search)


def _show_version(wanted: bool) -> None:
    if wanted:
        from sparsevit_runtime import __version__

        typer.echo(f"sparsevit-edge {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Tell what is done; twice, all there is.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors alone: no progress, no summary.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command, before or behind its name."""
    from .console import make_warnings_printable, set_verbosity

    make_warnings_printable()
    set_verbosity(-1 if quiet else verbose)


def _stdout_failed(error: OSError) -> int:
    """The exit code when an answer could not be written, told in a line. Raises any other error again: whatever else
    touches files has errors of its own."""
    if error.errno not in _STDOUT_ERRORS:
        raise error
    let_go_of_stdout()
    if error.errno != errno.EPIPE:  # whoever read has seen enough
        from .console import print_error

        print_error(f"cannot write to stdout ({error.strerror})")
    return 1


def main() -> None:
    """Runs the command line; the console script."""
    # OpenCV's own lines say nothing that an error does not say in words.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    fill_standard_streams()
    stop_on_signals()
    try:
        try:
            app(prog_name="sparsevit")
        finally:
            sys.stdout.flush()
    except OSError as error:  # of --help and --version, or of what was still held back
        sys.exit(_stdout_failed(error))


if __name__ == "__main__":
    main()
