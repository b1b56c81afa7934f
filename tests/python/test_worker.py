"""An engine in a process of its own answers as the engine does, ends as it should and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine_fixtures as fx
import worker_engines as we
from conftest import ROOT
from misalign_profile import errors
from misalign_profile.engines import open_engine, worker
from misalign_profile.engines.worker import WorkerEngine
from misalign_profile.errors import EngineError, ModelNotFound
from misalign_profile.inference import Inference
from misalign_profile.interrupt import LINE
from misalign_profile.journal import Journal
from misalign_profile.types import Completion, Engine, ModelSpec
from stub_engine import SPEC, choice, request
from test_interrupt import session, soon

ASKED = [request(n) for n in range(10)]
PATIENCE = 2.0  # seconds after which a death is known
Opened = Callable[..., WorkerEngine]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open a worker with an engine of ``worker_engines``; it is closed at the end."""
    engines: list[WorkerEngine] = []

    def make(kind: Any, **options: Any) -> WorkerEngine:
        engines.append(WorkerEngine(SPEC, opener=kind, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
        assert engine.pid is None


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def group(leader: int) -> list[int]:
    """The processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[2]) == leader and after_name[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def flat(batches: Iterator[list[Completion]]) -> list[Completion]:
    return [completion for batch in batches for completion in batch]


def pid_of(engine: WorkerEngine) -> int:
    assert engine.pid is not None
    return engine.pid


# --- answers ------------------------------------------------------------------------------------


def test_the_answers_and_their_keys_are_those_of_the_engine_in_this_process(
    tmp_path: Path,
) -> None:
    spec = fx.checkpoint(tmp_path, "gemma2")
    choices = [
        fx.question(spec, model=spec, body=body, tail=tail, options=fx.OPTIONS)
        for body in fx.BODIES
        for tail in fx.TAILS
    ]
    asked = choices + [fx.draw(spec, str(n), 12, model=spec) for n in range(8)]
    answers = []
    for own_process in (True, False):

        def opener(model: ModelSpec, own: bool = own_process, **options: Any) -> Engine:
            return open_engine(model, own_process=own, threads=1, **options)

        with Inference(Journal(tmp_path / str(own_process)), opener=opener) as inference:
            got = inference.ask(asked, label="test")
            assert isinstance(inference.engines[spec], WorkerEngine) is own_process
        answers.append([(c.call_id, c.text, c.option_logprobs, c.finish_reason) for c in got])
    assert answers[0] == answers[1]

    def nobody(*_: Any, **__: Any) -> Engine:
        raise AssertionError("the journal knows all of it")

    with Inference(Journal(tmp_path / "True"), opener=nobody) as inference:
        assert [c.call_id for c in inference.ask(asked, label="again")] == [
            r.call_id for r in asked
        ]


def test_texts_arrive_unchanged_in_order_and_batch_by_batch(opened: Opened) -> None:
    texts = ["", "é漢😀", "a\ud800b", "line\nline", "long " * 20000]
    asked = [request(n, body=text, prefix="é" * 9) for n, text in enumerate(texts)]
    batches = list(opened(we.Steps).generate(asked))
    assert [len(batch) for batch in batches] == [4, 1]
    assert [c.text for c in flat(iter(batches))] == [r.prefix + r.body + r.tail for r in asked]
    assert [c.call_id for c in flat(iter(batches))] == [r.call_id for r in asked]


def test_many_requests_share_their_texts_on_the_way() -> None:
    rules = "é" * 100_000
    asked = [request(n, prefix="".join(rules)) for n in range(500)]
    assert len(worker.framed(worker.packed(asked))) < 10 * len(rules)


def test_two_calls_may_be_under_way_at_once(opened: Opened) -> None:
    engine = opened(we.Steps)
    mixed = list(
        zip(engine.generate(ASKED), engine.choose([choice(n) for n in range(10)]), strict=True)
    )
    assert [c.call_id for batch, _ in mixed for c in batch] == [r.call_id for r in ASKED]
    assert all(c.option_logprobs for _, batch in mixed for c in batch)


# --- stopping early -----------------------------------------------------------------------------


def test_whoever_stops_early_has_asked_for_nothing_in_advance(
    opened: Opened, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    engine = opened(we.Steps, log=str(log))
    assert engine.pid is None  # nothing is started before the first call
    batches = engine.generate(ASKED)
    next(batches)
    first = pid_of(engine)
    batches.close()  # type: ignore[attr-defined]
    time.sleep(0.3)
    assert log.read_text().splitlines() == [f"{first} 0"]
    assert len(flat(engine.generate(ASKED[:3]))) == 3
    assert pid_of(engine) == first


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [c.__name__ for c in errors.MisalignError.__subclasses__()] + ["EngineBusy"]
)
def test_an_error_arrives_as_it_was_raised(opened: Opened, kind: str) -> None:
    cls = getattr(errors, kind)
    with pytest.raises(cls) as caught:
        flat(opened(we.Failing, error=kind).generate(ASKED))
    assert type(caught.value) is cls
    assert str(caught.value) == "what went wrong [a place] -> do that"
    assert caught.value.hint == "do that"


def test_another_error_is_one_line_and_leaves_its_traceback(
    opened: Opened, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = opened(we.Failing, error="")
    with pytest.raises(EngineError, match="KeyError") as caught:
        flat(engine.generate(ASKED))
    assert "\n" not in str(caught.value)
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "worker_engines.py" in err


def test_a_model_that_cannot_be_opened_is_said_as_in_this_process(opened: Opened) -> None:
    engine = opened(we.refused)
    with pytest.raises(ModelNotFound, match="no such model folder"):
        flat(engine.generate(ASKED))
    assert engine.pid is None
    with pytest.raises(ModelNotFound, match="no such model folder"):
        open_engine(ModelSpec("m", "./nowhere"), own_process=True)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (-signal.SIGKILL, "killed by SIGKILL .*run out of memory"),
        (-signal.SIGABRT, "killed by SIGABRT"),
        ("null pointer", "killed by SIGSEGV"),
        (3, "exit code 3"),
    ],
)
def test_a_process_that_dies_is_said_at_once_and_replaced(
    opened: Opened, tmp_path: Path, how: Any, said: str
) -> None:
    engine = opened(we.Dying, how=how, mark=str(tmp_path / "mark"))
    batches = engine.generate(ASKED)
    next(batches)
    before, began = pid_of(engine), time.monotonic()
    with pytest.raises(EngineError, match=said) as caught:
        next(batches)
    assert time.monotonic() - began < PATIENCE
    assert "\n" not in str(caught.value)
    assert engine.pid is None
    assert len(flat(engine.generate(ASKED))) == 10
    assert pid_of(engine) != before


@pytest.mark.parametrize("busy", [True, False])
def test_a_process_that_is_killed_from_outside_is_no_hang(opened: Opened, busy: bool) -> None:
    """Although a process that the engine started lives on in its group."""
    engine = opened(we.Slow, seconds=600, helper=True)
    batches = engine.generate(ASKED)
    next(batches)
    pid = pid_of(engine)
    assert len(group(pid)) == 2
    killer = threading.Timer(0.5 if busy else 0, os.kill, (pid, signal.SIGKILL))
    killer.start()
    if not busy:
        killer.join()
    began = time.monotonic()
    with pytest.raises(EngineError, match="SIGKILL"):
        next(batches)
    assert time.monotonic() - began < PATIENCE
    assert soon(lambda: group(pid) == [], 2)


# --- what it inherits and prints ----------------------------------------------------------------


def test_it_inherits_the_environment_and_prints_to_standard_error_alone(
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.chdir(tmp_path)
    (answer,) = flat(opened(we.Chatty).generate(ASKED[:1]))
    assert answer.text == f"7 {tmp_path} ''"
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("said ") == 3


@pytest.mark.parametrize("way", ["file", "-c", "standard input"])
def test_the_main_script_is_not_run_again(tmp_path: Path, way: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.append({str(ROOT / 'tests/python')!r}); print('main')\n"
        "import worker_engines as we\n"
        "from misalign_profile.engines.worker import WorkerEngine\n"
        "from stub_engine import SPEC, request\n"
        "engine = WorkerEngine(SPEC, opener=we.Steps)\n"
        "print(sum(map(len, engine.generate([request(n) for n in range(9)]))))\n"
    )  # no guard, and nothing is closed
    text = script.read_text()
    arguments = {"file": [str(script)], "-c": ["-c", text], "standard input": ["-"]}[way]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "main\n9\n"
    assert done.stderr == ""


# --- ending -------------------------------------------------------------------------------------


def test_close_lets_the_engine_close_and_ends_its_process(opened: Opened, tmp_path: Path) -> None:
    engine = opened(we.Steps, log=str(tmp_path / "log"))
    flat(engine.generate(ASKED))
    pid = pid_of(engine)
    engine.close()
    assert not alive(pid)
    assert (tmp_path / "log.closed").exists()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        flat(engine.generate(ASKED))


def test_an_engine_that_does_not_close_is_killed(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRACE", 0.3)
    engine = opened(we.Slam)
    flat(engine.generate(ASKED))
    pid = pid_of(engine)
    engine.close()
    assert not alive(pid)


def test_close_ends_a_batch_that_another_thread_waits_for(opened: Opened) -> None:
    engine = opened(we.Slow, seconds=600, helper=True)
    batches = engine.generate(ASKED)
    next(batches)
    pid, began = pid_of(engine), time.monotonic()
    threading.Timer(0.5, engine.close).start()
    with pytest.raises(EngineError, match="closed"):
        next(batches)
    assert time.monotonic() - began < PATIENCE
    assert soon(lambda: group(pid) == [], 2)


RUN = f"""
import sys, threading
sys.path.insert(0, {str(ROOT / "tests/python")!r})
import worker_engines as we
from misalign_profile import interrupt
from misalign_profile.engines.worker import WorkerEngine
from misalign_profile.errors import MisalignError
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from stub_engine import request

def stage():
    def opener(spec, **_):
        return WorkerEngine(spec, opener=we.Slow, seconds=float(sys.argv[2]), helper=True)
    try:
        with Inference(Journal(sys.argv[1]), opener=opener) as inference:
            inference.ask([request(n) for n in range(4000)], label="test")
    except MisalignError as error:
        print(error)

with interrupt.stops_on_signal():
    thread = threading.Thread(target=stage)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        thread.join()
        print(interrupt.LINE, file=sys.stderr)
        sys.exit(130)
"""


@pytest.fixture(params=[0.1, 600.0], ids=["quick batches", "an endless batch"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a session of its own, whose model is in the second batch."""
    command = [sys.executable, "-c", RUN, str(tmp_path), str(request.param)]
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert soon(lambda: len(Journal(tmp_path).segments()) >= 1, 60)
        time.sleep(0.5)
        assert len(session(run.pid)) == 3  # with the model's process and its helper
        yield run
    finally:
        run.kill()
        run.wait()
        assert soon(lambda: session(run.pid) == [], 5)


def test_ctrl_c_ends_run_and_model(running: subprocess.Popen[str]) -> None:
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert running.returncode == 130
    assert err.rstrip().endswith(LINE)
    assert "Traceback" not in out + err
    assert "EngineError" not in out + err
    assert soon(lambda: session(running.pid) == [], 1)


def test_a_run_that_is_killed_takes_its_model_along(running: subprocess.Popen[str]) -> None:
    running.kill()
    running.wait()
    assert soon(lambda: session(running.pid) == [], 2)
