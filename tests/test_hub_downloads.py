"""Files of a hub on loopback: only what is needed, whole or not at all, going on where a try stopped; errors in a sentence."""

import json
import os
import random
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, Fault, Hub, Program, commit, run, serve, start

from chatwright.errors import ConfigError
from chatwright.hub import is_cache, is_model_file, is_repo_id, split, token_of

WEIGHTS = "model.safetensors"
SIZE, CUT = 300_000, 100_000

FETCH = """
import json, os, resource, sys
from pathlib import Path
from huggingface_hub import constants
from chatwright import hub
from chatwright.errors import ChatwrightError
from chatwright.hub import download, fetch
fetch.WAITS = (0.01, 0.01)
checked = []
check = fetch.check
fetch.check = lambda repo, file, path: (checked.append(file.name), check(repo, file, path))
for line in sys.stdin:
    asked = json.loads(line)
    constants.HF_HUB_CACHE = asked["cache"]
    if "largest" in asked:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], asked["largest"]))
    if "free" in asked:
        fetch.shutil.disk_usage = lambda path: type("Usage", (), {"free": asked["free"]})
    checked.clear()
    try:
        with hub.token_of(asked.get("token")):
            folder = hub.download(asked["name"])
        print(json.dumps({"folder": str(folder), "checked": checked}), flush=True)
    except ChatwrightError as error:
        print(json.dumps({"error": str(error), "code": error.exit_code}), flush=True)
"""


def repository(folder: Path) -> Path:
    """A model as a hub has it, with all that others need and we do not. Its contents depend on its name."""
    contents = random.Random(folder.name).randbytes(SIZE)
    for name in (WEIGHTS, f"onnx/{WEIGHTS}", "original/consolidated.safetensors", "pytorch_model.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
    for name in ("config.json", "tokenizer.json", "onnx/config.json", "merges.txt", "chat_template.jinja", "README.md"):
        (folder / name).write_text(f"{name} of {folder.name}")
    return folder


@dataclass
class Bench:
    """A hub, an empty cache, and a program that fetches from the one into the other."""

    hub: Hub
    root: Path
    program: Program

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def fetched(self, *names: str, token: str | None = None) -> list[Any]:
        """What becomes of each name: its folder, with the files that were hashed, or the sentence that refuses it."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write("".join(self.line(name, **({"token": token} if token else {})) for name in names))
        self.program.stdin.flush()
        return list(map(read, [self.program.stdout.readline() for _ in names]))

    def fetched_anew(self, *names: str, **environment: str) -> list[Any]:
        """The same by a program of its own."""
        done = self.run("".join(map(self.line, names)), **environment)
        assert done.returncode == 0, done.stderr
        return list(map(read, done.stdout.splitlines()))

    def run(self, lines: str, *, terminal: bool = False, **environment: str) -> "subprocess.CompletedProcess[str]":
        return run(self.hub, self.root, "-c", FETCH, given=lines, terminal=terminal, **environment)

    def line(self, name: str, **options: Any) -> str:
        return json.dumps({"name": name, "cache": str(self.cache), **options}) + "\n"

    def served(self, name: str) -> Path:
        return self.root / "served" / name

    def gets(self, repo: str) -> list[str]:
        """The Range header of each request for the contents of the weights."""
        return [
            one.range for one in self.hub.of(f"{repo}/{WEIGHTS}") if one.method == "GET" and "elsewhere" in one.path
        ]


def read(line: str) -> Any:
    found = json.loads(line)
    assert "\n" not in found.get("error", "")
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Program]]:
    with serve(Hub({})) as hub:
        home = tmp_path_factory.mktemp("home")
        started = start(hub, home, "-c", FETCH)
        yield hub, started
        started.communicate(timeout=10)


@pytest.fixture
def at(program: tuple[Hub, Program], tmp_path: Path) -> Bench:
    hub, started = program
    names = ("one", "two", "three", "gated", "private", "one@dev")
    hub.folders = {f"models/someone/{name}": repository(tmp_path / "served" / name) for name in names}
    hub.gated, hub.private = ("models/someone/gated",), {"models/someone/private"}
    hub.requests, hub.faults, hub.mirrored = [], {}, set()
    return Bench(hub, tmp_path, started)


def is_whole(found: dict[str, Any], served: Path) -> bool:
    """Whether the snapshot holds the files of a model, as they are served, and nothing else."""
    folder = Path(found["folder"])
    assert folder.name == commit(served)
    assert is_cache(folder)
    wanted = {"config.json", "tokenizer.json", "merges.txt", "chat_template.jinja", WEIGHTS}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == wanted
    return all((folder / name).read_bytes() == (served / name).read_bytes() for name in wanted)


def test_only_what_a_model_needs_is_fetched_once_and_hashed_once(at: Bench) -> None:
    first, again = at.fetched("someone/one", "someone/one")
    assert is_whole(first, at.served("one"))
    assert len(first["checked"]) == 5
    assert again == {"folder": first["folder"], "checked": []}
    assert at.fetched("someone/one") == [again]
    files = [one.path.partition("/resolve/")[2].partition("/")[2] for one in at.hub.requests if "/resolve/" in one.path]
    assert set(files) == {"config.json", "tokenizer.json", "merges.txt", "chat_template.jinja", WEIGHTS}
    assert at.gets("one") == [""]


def test_a_revision_is_a_branch_or_a_commit(at: Bench) -> None:
    sha = commit(at.served("one@dev"))
    main, dev, pinned, none = at.fetched("someone/one", "someone/one@dev", f"someone/one@{sha}", "someone/one@none")
    assert is_whole(main, at.served("one"))
    assert is_whole(dev, at.served("one@dev"))
    assert pinned["folder"] == dev["folder"]
    assert none == {"error": "someone/one has no revision 'none'; give a branch, a tag or a commit of it", "code": 2}
    offline = at.fetched_anew("someone/one", "someone/one@dev", f"someone/one@{sha}", HF_HUB_OFFLINE="1")
    assert [one["folder"] for one in offline] == [one["folder"] for one in (main, dev, pinned)]


def test_a_cut_connection_goes_on_by_range(at: Bench) -> None:
    at.hub.faults = {
        f"someone/one/{WEIGHTS}": [Fault(cut=CUT)],
        f"someone/two/{WEIGHTS}": [Fault(cut=CUT, reset=True)],
        f"someone/three/{WEIGHTS}": [Fault(cut=CUT), Fault(whole=True)],  # the second heeds no Range
    }
    names = ("one", "two", "three")
    for name, found in zip(names, at.fetched(*(f"someone/{name}" for name in names)), strict=True):
        assert is_whole(found, at.served(name)), name
    assert at.gets("one") == ["", f"bytes={CUT}-"]
    assert at.gets("two")[0] == "", "and then from wherever the reset left it"
    assert at.gets("three") == ["", f"bytes={CUT}-"]


def test_a_connection_that_stays_broken_is_told_and_the_next_run_goes_on_there(at: Bench) -> None:
    at.hub.faults[f"someone/one/{WEIGHTS}"] = [Fault(cut=CUT), Fault(cut=0, times=3)]
    (refused,) = at.fetched("someone/one")
    assert refused["code"] == 2
    for part in (
        "the connection to the hub broke at 100,000 of the 300,000 bytes of",
        "goes on where this one stopped",
    ):
        assert part in refused["error"]
    (offline,) = at.fetched_anew("someone/one", HF_HUB_OFFLINE="1")
    assert "could not be asked for it (HF_HUB_OFFLINE is set)" in offline["error"]
    (found,) = at.fetched_anew("someone/one")
    assert is_whole(found, at.served("one"))
    assert at.gets("one") == ["", *[f"bytes={CUT}-"] * 4]
    assert not list(at.cache.rglob("*.incomplete"))


def test_leftovers_that_do_not_fit_are_no_obstacle(at: Bench) -> None:
    at.fetched("someone/one@dev")
    digests = {path.name: path.resolve().name for path in at.cache.rglob(WEIGHTS)}
    blobs = at.cache / "models--someone--one/blobs"
    (blobs / digests[WEIGHTS]).rename(blobs / f"{digests[WEIGHTS]}.incomplete")  # whole, and not yet renamed
    (found,) = at.fetched("someone/one@dev")
    assert is_whole(found, at.served("one@dev"))
    (blobs / digests[WEIGHTS]).unlink()
    (blobs / f"{digests[WEIGHTS]}.incomplete").write_bytes(b"0" * (SIZE + 1))
    refused, found = at.fetched("someone/one@dev", "someone/one@dev")
    assert "arrived damaged" in refused["error"]
    assert is_whole(found, at.served("one@dev"))


def test_wrong_contents_are_thrown_away_and_fetched_anew(at: Bench) -> None:
    at.hub.faults = {f"someone/one/{WEIGHTS}": [Fault(wrong=True)], "someone/two/config.json": [Fault(wrong=True)]}
    for name, file in (("one", WEIGHTS), ("two", "config.json")):
        refused, again = at.fetched(f"someone/{name}", f"someone/{name}")
        assert refused["code"] == 2
        assert refused["error"].startswith(f"{file} of someone/{name} arrived damaged")
        assert is_whole(again, at.served(name))
        assert file in again["checked"]


def test_what_the_client_fetches_by_itself_is_checked_too(at: Bench) -> None:
    """A mirror with ETags of its own: the client does not find our blobs under them, as it would not one that came by xet."""
    at.hub.mirrored = {"models/someone/one", "models/someone/two"}
    at.hub.faults[f"someone/two/{WEIGHTS}"] = [Fault(), Fault(wrong=True)]
    found, refused, again = at.fetched("someone/one", "someone/two", "someone/two")
    assert is_whole(found, at.served("one"))
    assert refused["error"].startswith(f"{WEIGHTS} of someone/two arrived damaged")
    assert is_whole(again, at.served("two"))


def test_every_refusal_is_one_sentence_that_says_what_to_do(at: Bench) -> None:
    at.hub.faults = {
        "someone/one": [Fault(status=429, headers={"Retry-After": "70"}), Fault(status=500), Fault(status=403)],
        "someone/two/config.json": [Fault(status=500, times=3)],
        "someone/three/config.json": [Fault(status=429, headers={"Retry-After": "70"})],
    }
    wanted = {
        "someone/gated": "someone/gated is gated: accept its licence on its hub page, then set HF_TOKEN",
        "someone/private": "no model on the hub; check the spelling, or set HF_TOKEN if it is private",
        "someone/nothing": "'someone/nothing' is no folder here and no model on the hub",
        "a--b/c": "cannot be a model's name on the hub",
        "someone/one": "too many requests (someone/one: 429 Too Many Requests); try again in 70 seconds",
        "someone/one@": "the hub failed (someone/one: 500 Internal Server Error); try again later",
        "someone/one@main": "someone/one is not open to everybody",
        "someone/two": "the hub failed (someone/two: 500",
        "someone/three": "try again in 70 seconds",
    }
    found = at.fetched(*(name.removesuffix("@") for name in wanted))
    for (name, part), one in zip(wanted.items(), found, strict=True):
        assert part in one["error"], name
        assert one["code"] == 2
    assert not list(at.cache.rglob("snapshots")), "nothing looks like a model"


def test_the_hub_is_named_when_it_cannot_be_reached_or_is_none(at: Bench) -> None:
    (before,) = at.fetched("someone/two")
    nobody, cached = at.fetched_anew("someone/one", "someone/two", HF_ENDPOINT="http://no-such-host.invalid")
    assert cached["folder"] == before["folder"], "a machine without a network has what it had"
    assert "'someone/one' is no folder here, and the hub at http://no-such-host.invalid could not be" in nobody["error"]
    (other,) = at.fetched_anew("someone/one", HF_ENDPOINT=f"{at.hub.address}/page")
    assert other["error"].startswith(f"what answers at {at.hub.address}/page is no hub")
    assert (nobody["code"], other["code"]) == (2, 2)


def test_a_hub_that_is_busy_for_a_moment_is_asked_again(at: Bench) -> None:
    at.hub.faults["someone/one/config.json"] = [Fault(status=429, headers={"Retry-After": "1"}), Fault(status=503)]
    (found,) = at.fetched("someone/one")
    assert is_whole(found, at.served("one"))


def test_the_token_goes_to_the_hub_and_nowhere_else(at: Bench) -> None:
    gated, private = at.fetched("someone/gated", "someone/private", token=TOKEN)
    assert is_whole(gated, at.served("gated"))
    assert is_whole(private, at.served("private"))
    assert {one.authorization for one in at.hub.requests if "/elsewhere/" not in one.path} == {f"Bearer {TOKEN}"}
    assert {one.authorization for one in at.hub.requests if "/elsewhere/" in one.path} == {""}
    one, broken = at.fetched("someone/one", "someone/two", token="hf_wrong")
    for found in (one, broken):
        assert "the hub does not accept the token" in found["error"]
        assert "hf_wrong" not in found["error"]


def test_a_partial_cache_is_refused_by_what_it_lacks_and_completed(at: Bench) -> None:
    (found,) = at.fetched("someone/one")
    for name in (WEIGHTS, "merges.txt"):
        (Path(found["folder"]) / name).resolve().unlink()
    (offline,) = at.fetched_anew("someone/one", HF_HUB_OFFLINE="1")
    assert offline["error"] == (
        "the cache holds someone/one without merges.txt and model.safetensors, and the hub could not be asked "
        "(HF_HUB_OFFLINE is set); run it once with a connection"
    )
    assert is_whole(*at.fetched("someone/one"), at.served("one"))


def test_a_full_disk_leaves_nothing_behind(at: Bench) -> None:
    lines = at.line("someone/one", largest=CUT) + at.line("someone/one", free=1000)
    late, early = map(read, at.run(lines).stdout.splitlines())
    assert (late["code"], early["code"]) == (5, 5)
    assert "no room left on the disk" in late["error"]
    assert "are free; make room" in early["error"]
    assert not list(at.cache.rglob("*.incomplete"))
    assert not list(at.cache.rglob("snapshots"))
    assert is_whole(*at.fetched("someone/one"), at.served("one"))


def test_two_programs_at_once_fetch_a_file_once(at: Bench) -> None:
    with ThreadPoolExecutor(2) as pool:
        # with xet, as users have it; a file that did not come by it is fetched as any other
        for (found,) in pool.map(lambda _: at.fetched_anew("someone/one", HF_HUB_DISABLE_XET="0"), range(2)):
            assert is_whole(found, at.served("one"))
    assert at.gets("one") == [""]


@pytest.mark.parametrize(
    ("name", "can_be"),
    [
        ("gpt2", True),
        ("someone/tiny-gpt2", True),
        ("gpt2@main", True),
        ("someone/tiny-gpt2@refs/pr/3", True),
        ("a/b/c", False),
        ("a/b/c@d", False),
        ("./gpt2", False),
        ("/x", False),
        ("a b", False),
        ("a@", False),
        ("@a", False),
        ("a@b@c", False),
        ("a/b@../../c", False),
        ("a/b@/c", False),
    ],
)
def test_what_can_be_a_hub_id(name: str, can_be: bool) -> None:
    assert is_repo_id(name) is can_be


def test_a_token_that_no_header_can_hold_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_before")
    for wrong in ("", "hf_a b", "hf_a\n", "hf_ä"):
        with pytest.raises(ConfigError, match="--token must be one word") as caught, token_of(wrong):
            pass
        assert "hf_a" not in str(caught.value)
    with token_of("hf_given"):
        assert os.environ["HF_TOKEN"] == "hf_given"
    assert os.environ["HF_TOKEN"] == "hf_before"


def test_a_hub_id_is_split_at_its_revision() -> None:
    assert split("gpt2") == ("gpt2", None)
    assert split("a/b@refs/pr/3") == ("a/b", "refs/pr/3")


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("adapter_model.safetensors", True),
        ("model.safetensors.index.json", True),
        ("vocab.json", True),
        *((name, True) for name in ("vocab.txt", "merges.txt", "chat_template.jinja", "adapter_config.json")),
        *((name, True) for name in ("special_tokens_map.json", "added_tokens.json", "training_metadata.json")),
        *((name, False) for name in ("credentials.json", "my_config.json", "vocab.secret", "prompt.jinja")),
        *((name, False) for name in ("manifest.json", "trainer_state.json", "config.json.bak", "model.json")),
        ("consolidated.safetensors", False),
        ("model.fp16.safetensors", False),
        ("pytorch_model.bin", False),
        ("original/model.safetensors", False),
        ("README.md", False),
    ],
)
def test_which_files_make_a_model(path: str, is_one: bool) -> None:
    assert is_model_file(path) is is_one


def test_a_folder_of_the_cache_is_known_by_its_path(tmp_path: Path) -> None:
    assert is_cache(tmp_path / "models--a--b/snapshots" / ("0" * 40))
    assert not is_cache(tmp_path / "models--a--b/snapshots/main")
    assert not is_cache(tmp_path / "datasets--a--b/snapshots" / ("0" * 40))
    assert not is_cache(tmp_path / "models--a--b/refs" / ("0" * 40))


def test_progress_is_a_bar_on_a_terminal_a_line_elsewhere_and_off_on_request(at: Bench) -> None:
    shown = {"HF_HUB_DISABLE_PROGRESS_BARS": "", "TERM": "xterm", "COLUMNS": "120"}
    line = at.run(at.line("someone/one"), **shown).stderr
    assert re.fullmatch(r"fetching someone/one: kilobyte 300/300, [\d,]+ kilobytes/s, 0:0\d\n", line)
    bar = at.run(at.line("someone/two"), terminal=True, **shown).stderr
    for part in ("fetching someone/two", "300/300 kilobytes", "left", "\x1b["):
        assert part in bar
    shown["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    assert at.run(at.line("someone/three"), terminal=True, **shown).stderr == ""
