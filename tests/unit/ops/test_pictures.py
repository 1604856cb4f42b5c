"""Which files are added, and under which keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.pictures import PathProblem, SkippedFile, Source, find_sources


def touch(folder: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def keys(*paths: Path, prefix: str = "", everything: bool = False) -> list[str]:
    """The keys that the paths get."""
    return [source.key for source in find_sources(paths, prefix=prefix, everything=everything)]


def test_a_folder_gives_its_pictures_by_their_relative_paths(tmp_path: Path) -> None:
    """Subfolders become part of the key, and endings count in upper case too."""
    touch(tmp_path, "b.JPG", "deep/er/a + ü.webp", "notes.txt", "README.md")
    assert keys(tmp_path) == ["b.JPG", "deep/er/a + ü.webp"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    """What begins with a dot is not for the bucket, even if everything is asked for."""
    touch(tmp_path, ".a.jpg", ".git/b.jpg", "c.jpg")
    assert keys(tmp_path, everything=True) == ["c.jpg"]


def test_everything_takes_files_of_every_name(tmp_path: Path) -> None:
    """A picture without an ending can be added too."""
    touch(tmp_path, "picture", "a.jpg")
    assert keys(tmp_path, everything=True) == ["a.jpg", "picture"]


def test_what_is_left_out_is_told_with_the_reason(tmp_path: Path) -> None:
    """Other names, hidden files and folders, what is no file, and what would not be indexed: each says why."""
    touch(tmp_path, "a.jpg", "notes.txt", ".git/b.jpg", ".c.jpg", "@eaDir/a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    told: list[SkippedFile] = []
    found = find_sources([tmp_path], prefix="p/", excludes=lambda key: "@eaDir" in key, left_out=told.append)
    assert [source.key for source in found] == ["p/a.jpg"]
    assert {(one.path.relative_to(tmp_path).as_posix(), one.reason) for one in told} == {
        ("notes.txt", "no picture's name"),
        (".git", "hidden"),
        (".c.jpg", "hidden"),
        ("@eaDir/a.jpg", "objects.exclude"),
        ("link.jpg", "no regular file"),
    }


def test_a_named_file_is_always_taken(tmp_path: Path) -> None:
    """Who names a file means it, whatever its ending."""
    touch(tmp_path, "picture")
    assert keys(tmp_path / "picture", prefix="new/") == ["new/picture"]


def test_two_files_for_one_key_are_refused(tmp_path: Path) -> None:
    """One would silently overwrite the other."""
    touch(tmp_path, "one/a.jpg", "two/a.jpg")
    with pytest.raises(PathProblem, match=r"would both be a\.jpg"):
        keys(tmp_path / "one", tmp_path / "two")


def test_the_same_file_named_twice_is_added_once(tmp_path: Path) -> None:
    """A repeated argument is no conflict."""
    touch(tmp_path, "a.jpg")
    assert keys(tmp_path / "a.jpg", tmp_path / "a.jpg") == ["a.jpg"]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A misspelt path is an error, not an empty folder."""
    with pytest.raises(PathProblem, match="there is no file or folder"):
        keys(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", "image/jpeg"), ("a.WEBP", "image/webp"), ("a.avif", "image/avif"), ("a", "application/octet-stream")],
)
def test_the_content_type_follows_the_name(name: str, expected: str) -> None:
    """Types that older systems do not know are known here."""
    assert Source(Path(name), name).content_type == expected
