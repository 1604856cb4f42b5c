"""`twinlens search` with several pictures: what is printed, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from ops.http_client import ApiClient
from ops.queries import QueryUnreadable, fetched, find_queries
from ops.search import HitFilter, search_all
from schemas.exit_codes import ExitCode

COPY = {"score": 95.0, "verdict": "copy", "image": {"bucket": "pictures", "key": "a.jpg", "width": 4, "height": 3}}
SIMILAR = {**COPY, "score": 20.0, "verdict": "similar"}


def answer(request: httpx.Request) -> httpx.Response:
    """A query service finds a copy of `found`, something alike for `alike`, nothing for others; `broken` is refused."""
    if request.content == b"broken":
        return httpx.Response(422, json={"title": "Undecodable", "detail": "That is no picture."})
    hits = {b"found": [COPY, SIMILAR], b"alike": [SIMILAR]}.get(request.content, [])
    return httpx.Response(200, json={"results": hits})


async def search(folder: Path, *contents: str, copies: bool = False, as_json: bool = False) -> ExitCode:
    """Search with a file of each content."""
    for content in contents:
        (folder / f"{content}.jpg").write_text(content)
    queries = find_queries([str(folder / f"{content}.jpg") for content in contents])
    async with ApiClient("http://api", transport=httpx.MockTransport(answer)) as client:
        return await search_all(client, queries, HitFilter(only_copies=copies), as_json=as_json)


@pytest.mark.parametrize(
    ("contents", "copies", "code"),
    [
        (["found"], False, ExitCode.OK),
        (["other"], False, ExitCode.NOT_ALL),
        (["other", "found"], False, ExitCode.OK),
        (["broken", "found"], False, ExitCode.ERROR),
        (["found"], True, ExitCode.OK),
        (["alike"], False, ExitCode.OK),
        (["alike"], True, ExitCode.NOT_ALL),
    ],
)
async def test_it_ends_as_grep_does(tmp_path: Path, contents: list[str], copies: bool, code: ExitCode) -> None:
    """0 if anything was found, 1 if nothing was, 2 if a picture could not be searched with, whatever others found."""
    assert await search(tmp_path, *contents, copies=copies) is code


async def test_a_picture_that_is_refused_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told on standard error by its name, and the next one's hits follow under theirs."""
    await search(tmp_path, "broken", "found")
    out, err = capsys.readouterr()
    assert f"{tmp_path}/broken.jpg That is no picture." in err
    assert out.index(f"{tmp_path}/found.jpg") < out.index("pictures/a.jpg")


async def test_programs_get_a_line_for_each_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the query service's answer, or the error; with --copies only the copies of it."""
    await search(tmp_path, "found", "broken", copies=True, as_json=True)
    found, broken = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (found["picture"], [hit["verdict"] for hit in found["results"]]) == (f"{tmp_path}/found.jpg", ["copy"])
    assert broken == {"picture": f"{tmp_path}/broken.jpg", "error": "That is no picture."}


def test_a_folder_stands_for_its_pictures(tmp_path: Path) -> None:
    """As `add` takes it, and the order of the command line is kept."""
    for name in ("b.jpg", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    names = [query.name for query in find_queries(["https://example.org/x.png", str(tmp_path), "-"])]
    assert names == ["https://example.org/x.png", f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg", "-"]


async def test_a_url_is_fetched_within_bounds() -> None:
    """Redirects are followed; what is no success, and no server, is told."""

    def answer(request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/moved":
                return httpx.Response(302, headers={"Location": "/picture"})
            case "/picture":
                return httpx.Response(200, content=b"picture")
            case "/away":
                raise httpx.ConnectError("refused", request=request)
            case _:
                return httpx.Response(404)

    transport = httpx.MockTransport(answer)
    assert await fetched("http://web/moved", transport=transport) == b"picture"
    with pytest.raises(QueryUnreadable, match="answered 404 Not Found"):
        await fetched("http://web/none", transport=transport)
    with pytest.raises(QueryUnreadable, match="can't be fetched: refused"):
        await fetched("http://web/away", transport=transport)
