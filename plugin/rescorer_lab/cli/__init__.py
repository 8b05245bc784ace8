"""The command ``rescorer``: one module per group of commands, one border where errors become one line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import rescorer
from rescorer.errors import RescorerError
from rescorer_lab.cli import (
    calibrate,
    compare,
    demo,
    doctor,
    engine,
    evaluate,
    judgments,
    models,
    plan,
    sidecar,
    templates,
    tune,
    watch,
)
from rescorer_lab.errors import Interrupted

FAILED = 2
INTERRUPTED = 130

app = typer.Typer(
    name="rescorer",
    help="Cross-encoder rescoring for the OpenSearch or Elasticsearch you already run.",
    epilog="Start with: rescorer demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


app.add_typer(engine.app, name="engine")
app.add_typer(templates.app, name="templates")
app.add_typer(models.app, name="models")
app.add_typer(sidecar.app, name="sidecar")
app.add_typer(judgments.app, name="judgments")
app.command(epilog="Example: rescorer demo --queries 100 --report /tmp/report.json")(demo.demo)
app.command(epilog="Example: rescorer doctor --index articles")(doctor.doctor)
app.command(epilog='Example: rescorer plan articles --query "cancel a flight"')(plan.plan)
app.command(epilog="Example: rescorer evaluate articles --collection beir/scifact --system bm25 --system bm25+rescore")(
    evaluate.evaluate
)
app.command(
    epilog="Example: rescorer compare bm25 bm25+rescore --index articles --collection my-judgments --at-most 3"
)(compare.compare)
app.command(epilog="Example: rescorer watch outcomes.jsonl --hours 24 --most-fallback 0.02")(watch.watch)
app.command(epilog="Example: rescorer calibrate evaluation/runs/bm25+rescore.trec --qrels my-judgments/qrels/test.tsv")(
    calibrate.calibrate
)
app.command(epilog="Example: rescorer tune articles --collection my-judgments --within-ms 150")(tune.tune)


@app.callback()
def options(
    verbose: Annotated[  # noqa: ARG001  # stands here for --help; `run` takes it out, wherever it stands
        bool, typer.Option("--verbose", "-v", help="Show the whole traceback of an error.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options that stand before every command."""
    if version:
        typer.echo(f"rescorer {rescorer.__version__}")
        raise typer.Exit


def run(arguments: list[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code.

    An error of ours is one line on standard error and exit code 2, as wrong usage is; 1 is left to commands that look
    and find something wrong. ``--verbose`` or ``-v`` anywhere adds the traceback.
    """
    given = sys.argv[1:] if arguments is None else arguments
    verbose = any(argument in ("--verbose", "-v") for argument in given)
    ours = [argument for argument in given if argument not in ("--verbose", "-v")]
    try:
        code = app(args=ours, prog_name="rescorer", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
        if message:  # without arguments the help was printed already, and says it all
            _error(f"{message.rstrip('.')}; see: rescorer --help")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Interrupted as stopped:
        _stopped(str(stopped))
        return INTERRUPTED
    except RescorerError as error:
        if verbose:
            raise
        _error(str(error))
        return FAILED
    if code == INTERRUPTED:  # typer makes it of Ctrl-C, too
        _stopped("stopped")
    return int(code or 0)


def _stopped(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, style="yellow", highlight=False)


def _error(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[red]error[/red] {escape(line)}", highlight=False)
