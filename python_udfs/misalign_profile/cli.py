"""The command line: ``misalign run | plan | gate | report | export | journal``.

Exit codes: 0 passed, 1 the data failed, 2 could not check or could not run, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from misalign_profile import interrupt
from misalign_profile.errors import InputError, MisalignError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="misalign", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    for name, text in (
        ("run", "dbt build, quality gate, report, summary"),
        ("plan", "what `run` with the same arguments would ask, cost and take; asks nothing"),
    ):
        run = commands.add_parser(name, help=text)
        run.add_argument("--target", default="embedded", help="a target of profiles.yml")
        run.add_argument("--prompts", default="", help="your prompts: file, folder or URL")
        run.add_argument("--limit", type=int, default=0, help="take this many of them (0: all)")
        run.add_argument("--text-column", default="prompt")
        run.add_argument("--label-columns", default="", help="comma-separated, optional")
        run.add_argument(
            "--pairs", default="", help="published pairs to measure models on, taken as they are"
        )
        run.add_argument("--vars", default="{}", help="more dbt vars, as YAML or JSON")

    for name, text in (("gate", "check the warehouse"), ("report", "write the report page")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--target", default="embedded")
        if name == "report":
            command.add_argument(
                "--out", default="", help="default: warehouse/<target>_report.html"
            )
            command.add_argument("--warehouse", default="", help="default: the target's file")

    export = commands.add_parser("export", help="write the dataset as files, if the gate passes")
    export.add_argument("folder", help="a folder that is not there yet, or is empty")
    export.add_argument("--target", default="embedded")
    export.add_argument(
        "--layout",
        default="pairs",
        choices=("pairs", "four"),
        help="one row a pair, or one row a prompt with four responses",
    )
    export.add_argument("--force", action="store_true", help="replace an earlier export")

    journal = commands.add_parser("journal", help="look after the record of model calls")
    journal.add_argument("action", choices=("verify", "compact"))
    journal.add_argument("--target", default="embedded")
    return parser


def _variables(options: argparse.Namespace) -> dict[str, Any]:
    import yaml

    try:
        variables = yaml.safe_load(options.vars)
    except yaml.YAMLError as error:
        raise InputError(f"--vars is not YAML: {error}") from None
    variables = {} if variables is None else variables
    if not isinstance(variables, dict):
        raise InputError(
            "--vars is not a mapping", hint="for example --vars '{label_threshold: 0.6}'"
        )
    if options.limit < 0:
        raise InputError(f"--limit is {options.limit}", hint="give 0 or a positive number")
    if options.prompts:
        variables |= {
            "prompts_source": _where(options.prompts),
            "prompts_text_column": options.text_column,
            "prompts_label_columns": [c for c in options.label_columns.split(",") if c],
            "prompts_limit": options.limit,
        }
    if options.pairs:
        if options.prompts:
            raise InputError("--prompts and --pairs exclude each other", hint="give one of them")
        variables |= {"pairs_source": _where(options.pairs), "prompts_limit": options.limit}
    return variables


def _where(path: str) -> str:
    """The path as dbt can open it from the project's root."""
    return path if "://" in path else str(Path(path).expanduser().resolve())


def _run(options: argparse.Namespace) -> int:
    from misalign_profile import runner

    variables = _variables(options)
    root = runner.project_root()
    return runner.run(root, options.target, variables)


def _plan(options: argparse.Namespace) -> int:
    from misalign_profile import runner
    from misalign_profile.plan import print_plan

    variables = _variables(options)
    print_plan(runner.project_root(), options.target, variables)
    return 0


def _gate(options: argparse.Namespace) -> int:
    from misalign_profile import runner
    from misalign_profile.gate import run_gate

    root = runner.project_root()
    return run_gate(runner.warehouse_path(root, options.target), root / "expectations")


def _report(options: argparse.Namespace) -> int:
    from misalign_profile import runner
    from misalign_profile.report import write_report

    if options.warehouse:
        warehouse = Path(options.warehouse)
    else:
        warehouse = runner.warehouse_path(runner.project_root(), options.target)
    out = Path(options.out) if options.out else warehouse.with_name(f"{options.target}_report.html")
    write_report(warehouse, out)
    print(out)
    return 0


def _export(options: argparse.Namespace) -> int:
    from misalign_profile import runner
    from misalign_profile.export import export_dataset
    from misalign_profile.gate import run_gate

    root = runner.project_root()
    warehouse = runner.warehouse_path(root, options.target)
    manifest = export_dataset(
        warehouse,
        Path(options.folder),
        target=options.target,
        gate=lambda settings: run_gate(warehouse, root / "expectations", settings),
        layout=options.layout,
        force=options.force,
    )
    counts = manifest["counts"]
    splits = ", ".join(f"{n:,} {name}" for name, n in counts["by_split"].items())
    print(f"{counts['rows']:,} rows ({splits}) with {counts['pairs']:,} pairs")
    print(options.folder)
    return 0


def _journal(options: argparse.Namespace) -> int:
    from misalign_profile import runner
    from misalign_profile.journal import Journal

    warehouse = runner.warehouse_path(runner.project_root(), options.target)
    folder = warehouse.with_name(f"{options.target}_journal")
    if not folder.is_dir():
        raise InputError("there is no journal yet", where=str(folder), hint="run `misalign run`")
    journal = Journal(folder, create=False)
    if options.action == "compact":
        merged = journal.compact(at_least=2)
        print("a run is using the journal" if merged is None else f"merged {merged} segments")
        return 2 if merged is None else 0
    calls, problems = journal.verify()
    print(f"{calls:,} calls, {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``misalign``. Foreseen errors become one line on standard error."""
    options = _parser().parse_args(arguments)
    actions = {
        "run": _run,
        "plan": _plan,
        "gate": _gate,
        "report": _report,
        "export": _export,
        "journal": _journal,
    }
    try:
        with interrupt.stops_on_signal():
            return actions[options.command](options)
    except MisalignError as error:
        print(f"misalign: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if interrupt.asked():
            interrupt.leave()
        print(interrupt.LINE, file=sys.stderr)
        return interrupt.EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
