"""What several test files share: the folder with real data, and the rule that a machine which has it skips nothing."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

VARIABLE = "CHATWRIGHT_TEST_DATA"
# no test is about a clock: beside other work an example takes as long as it takes
settings.register_profile("chatwright", deadline=None)
settings.load_profile("chatwright")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is prepared and remembered for later stays in the session's own folder, and out of the home of who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with GPT-2's vocabulary and real texts, named by CHATWRIGHT_TEST_DATA."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} does not name the folder with GPT-2's vocabulary and the sample data")
    if not Path(folder).is_dir():
        pytest.fail(f"{VARIABLE} names {folder!r}, which is no folder")
    return Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """With the data at hand, a test that skips itself for lack of it has lost its way to it: a failure."""
    report = yield
    needs_data = "test_data" in getattr(item, "fixturenames", ()) or VARIABLE in str(report.longrepr)
    if report.skipped and needs_data and os.environ.get(VARIABLE) and "xfail" not in report.keywords:
        report.outcome = "failed"
        report.longrepr = f"skipped although {VARIABLE} is set: {report.longrepr}"
    return report
