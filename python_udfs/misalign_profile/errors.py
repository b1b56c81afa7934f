"""What can go wrong, as a small tree. Every class says whether trying again may help, and what to do.

MisalignError
|- InputError          the user's prompts, labels or vocabulary are unusable
|- ConfigError         a var, role or model row is wrong
|- EngineError         a model could not be loaded or asked
|  |- ModelNotFound    the path or hub id does not lead to a checkpoint
|  |- EngineMissing    an optional package is not installed
|  `- EngineBusy       a served endpoint refused for now (retryable)
|- BudgetSpent         the run would spend more than it may
|- Stopped             the user stopped the run
|- JournalError        the record of model calls could not be read or written
|- WarehouseBusy       another process holds the warehouse
`- CheckError          the gate or the report could not look at what it must look at

Knows nothing about dbt, DuckDB or torch.
"""

from __future__ import annotations


class MisalignError(Exception):
    """Base of all errors that a user may see. ``str(error)`` is one line: what, where, what to do."""

    retryable = False
    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = " ".join(what.split())
        self.where = " ".join(where.split())  # a file name may hold a line break
        self.hint = " ".join(hint.split())
        line = self.what
        if self.where:
            line += f" [{self.where}]"
        if self.hint:
            line += f" -> {self.hint}"
        super().__init__(line)


class InputError(MisalignError):
    """The user's prompts, labels or vocabulary are unusable."""


class ConfigError(MisalignError):
    """A var, a role or a model row is wrong."""


class EngineError(MisalignError):
    """A model could not be loaded or asked."""


class ModelNotFound(EngineError):
    """The path or hub id of a model does not lead to a checkpoint."""


class EngineMissing(EngineError):
    """An engine needs a package that is not installed; the hint names the install command."""


class EngineBusy(EngineError):
    """A served endpoint refused for now."""

    retryable = True


class BudgetSpent(MisalignError):
    """The run would spend more than a budget allows; what was answered is in the journal."""


class Stopped(MisalignError):
    """The user stopped the run; what was answered is in the journal."""

    exit_code = 130


class JournalError(MisalignError):
    """The record of model calls could not be read or written."""


class WarehouseBusy(MisalignError):
    """Another process holds the warehouse."""

    retryable = True


class CheckError(MisalignError):
    """The gate or the report could not look at what it must look at."""
