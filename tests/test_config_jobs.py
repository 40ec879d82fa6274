"""Jobs in files: where they may stand, and that one mistake is named and keeps all of them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netraven.config import Settings, load_settings
from netraven.errors import SettingsError
from netraven.model import What

SETTINGS = """\
[database]
url = "sqlite+aiosqlite:///netraven.db"

[jobs.nightly]
cron = "30 2 * * *"
zone = "Europe/Berlin"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "netraven.toml"
    file.write_text(SETTINGS)
    return file


def load(file: Path) -> Settings:
    return load_settings(file, environ={})


def write(file: Path, name: str, text: str) -> Path:
    written = file.parent / "jobs" / name
    written.parent.mkdir(exist_ok=True)
    written.write_text(text)
    return written


def test_jobs_stand_in_the_settings_and_in_files_of_a_folder(file: Path) -> None:
    write(file, "b.toml", '[core]\ntags = ["core"]\nevery = "6h"\n')
    write(
        file,
        "a.toml",
        '# two\n[alive]\nwhat = "reachability"\nevery = "15m"\n["by hand"]\noutputs = ["version"]\n',
    )
    write(file, ".hidden.toml", "not TOML")
    write(file, "readme.txt", "not TOML either")
    settings = load(file)
    assert list(settings.jobs) == ["nightly", "alive", "by hand", "core"]
    assert settings.jobs["nightly"].schedule.zone == "Europe/Berlin"
    assert settings.jobs["alive"].what is What.REACHABILITY
    assert settings.jobs["by hand"].schedule.by_hand
    folder = file.parent / "jobs"
    assert settings.job_places == {
        "nightly": f"{file}, line 4",
        "alive": f"{folder / 'a.toml'}, line 2",
        "by hand": f"{folder / 'a.toml'}, line 5",
        "core": f"{folder / 'b.toml'}, line 1",
    }


def test_without_a_folder_there_are_none_of_it(file: Path) -> None:
    assert list(load(file).jobs) == ["nightly"]


def test_the_folder_has_another_name_where_settings_say_so(file: Path) -> None:
    file.write_text('[daemon]\njobs_folder = "more/of-them"\n')
    (file.parent / "more" / "of-them").mkdir(parents=True)
    (file.parent / "more" / "of-them" / "x.toml").write_text('[x]\nevery = "1h"\n')
    write(file, "a.toml", "[not-looked-at]\nevery = 3\n")
    assert list(load(file).jobs) == ["x"]


def test_where_no_settings_file_is_no_folder_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "of-somebody-else.toml").write_text("version = 3\n")
    assert load_settings(environ={}).jobs == {}


GOOD = '[good]\nevery = "1h"\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[x]\ncron = "0 0 30 2 *"\n', 4, "job 'x': cron: '0 0 30 2 *' is no cron line"),
        ('[x]\n# why\ncorn = "@daily"\n', 5, "job 'x': corn: there is no such key, did you mean 'cron'?"),
        ('[x]\ncron = "@daily"\nzone = "Europe/Berlinn"\n', 5, "did you mean 'Europe/Berlin'?"),
        ('[x]\ncron = "@daily"\nevery = "1h"\n', 5, "cron and every exclude each other"),
        ('[x]\ncron = "0 12 * * *"\nstart_after = "22:00"\nfinish_by = "04:00"\n', 5, "no due time"),
        ('[x]\nstrategy = "last-godo"\n', 4, "did you mean 'last-good'?"),
        (
            '[x]\noutputs = ["runing"]\n',
            4,
            "no platform has an output of the kind 'runing', did you mean 'running'?",
        ),
        ('[x]\nplatforms = ["cisco_iosxee"]\n', 4, "unknown platform 'cisco_iosxee'"),
        ('[x]\nnot_platforms = ["cisco_iosxee"]\n', 4, "unknown platform 'cisco_iosxee'"),
        ('[" x"]\nevery = "1h"\n', 3, "must not start or end with a space"),
        ("[x]\ntags = 3\n", 4, "it must be a list of texts"),
    ],
)
def test_a_mistake_names_file_and_line_and_no_job_counts(file: Path, text: str, line: int, said: str) -> None:
    wrong = write(file, "wrong.toml", GOOD + text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{wrong}, line {line}: ")
    assert said in str(caught.value)


def test_a_mistake_in_the_settings_themselves(file: Path) -> None:
    file.write_text(SETTINGS + 'jitter = "later"\n')
    with pytest.raises(
        SettingsError, match=r"netraven.toml, line 7: job 'nightly': jitter: 'later' is no span"
    ):
        load(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs = 3\n", "jobs are sections of their own: [jobs.NAME]"),
        ("[jobs]\nnightly = 3\n", "jobs are sections of their own: [jobs.NAME]"),
    ],
)
def test_jobs_that_are_no_tables(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert said in str(caught.value)


def test_a_key_outside_of_a_table(file: Path) -> None:
    wrong = write(file, "wrong.toml", '\nevery = "1h"\n[x]\n')
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(caught.value) == f"{wrong}, line 2: a job is a table: put 'every' under its [NAME]"


def test_two_of_one_name_are_an_error_that_names_both_places(file: Path) -> None:
    first = write(file, "a.toml", GOOD)
    second = write(file, "b.toml", "\n" + GOOD)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(caught.value).startswith(
        f"{second}, line 2: there is a job 'good' already, in {first}, line 1"
    )
    second.unlink()
    third = write(file, "c.toml", "[nightly]\n")
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(caught.value).startswith(
        f"{third}, line 1: there is a job 'nightly' already, in {file}, line 4"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[x\n", "is not valid TOML"), (b"[x]\n# \xff\n", "not UTF-8"), (b"[x]\n[x]\n", "TOML")],
)
def test_a_file_that_cannot_be_read(file: Path, content: bytes, said: str) -> None:
    wrong = write(file, "wrong.toml", "")
    wrong.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as caught:
        load(file)
    assert "wrong.toml" in str(caught.value) or "jobs" in str(caught.value)


def test_the_environment_tells_no_jobs(file: Path) -> None:
    with pytest.raises(SettingsError, match="jobs are told in files only"):
        load_settings(file, environ={"NETRAVEN_JOBS__NIGHTLY__CRON": "@daily"})


def test_a_folder_of_jobs_that_is_none_is_an_error_and_not_an_empty_one(file: Path) -> None:
    (file.parent / "jobs").write_text("")
    with pytest.raises(SettingsError, match="jobs: the folder of jobs cannot be read: Not a directory"):
        load(file)


def test_a_file_that_is_not_text_is_named(file: Path) -> None:
    write(file, "a.toml", "").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"a\.toml: is not UTF-8"):
        load(file)


def test_a_pipe_among_the_files_is_not_waited_for(file: Path) -> None:
    os.mkfifo(write(file, "a.toml", "").with_name("b.toml"))
    with pytest.raises(SettingsError, match=r"b\.toml: is a pipe"):
        load(file)


def test_what_needs_no_jobs_gets_the_rest_of_the_settings(file: Path) -> None:
    write(file, "a.toml", '[a]\nevery = "banana"\n')
    settings = load_settings(file, environ={}, without_jobs=True)
    assert settings.jobs == {}
    assert settings.jobs_problem is not None
    assert "a.toml, line 2: job 'a': every" in settings.jobs_problem
