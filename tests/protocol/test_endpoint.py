from __future__ import annotations

import pytest

from neverblink.protocol.endpoint import LONGEST_PATH, EndpointError, endpoint


def never(directory: str) -> int:
    raise AssertionError(f"{directory} was opened for nothing")


def seven(directory: str) -> int:
    return 7


def test_a_short_path_is_used_unchanged() -> None:
    assert endpoint("/run/bot", "supervisor.sock", never) == "ipc:///run/bot/supervisor.sock"


def test_the_longest_path_that_fits_is_used_unchanged_and_a_longer_one_by_a_descriptor() -> None:
    room = LONGEST_PATH - len("/a.sock")
    directory = "/" + "d" * (room - 1)
    assert endpoint(directory, "a.sock", never) == f"ipc://{directory}/a.sock"
    assert endpoint(directory + "d", "a.sock", seven) == "ipc:///proc/self/fd/7/a.sock"


def test_the_length_of_a_path_is_counted_in_bytes() -> None:
    assert endpoint("/" + "ü" * 60, "a.sock", seven) == "ipc:///proc/self/fd/7/a.sock"


def test_a_path_that_is_not_utf_8_goes_through_a_descriptor() -> None:
    assert endpoint("/home/\udcff", "a.sock", seven) == "ipc:///proc/self/fd/7/a.sock"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_is_a_plain_file_name(name: str) -> None:
    with pytest.raises(EndpointError, match="expected a plain file name") as caught:
        endpoint("/run", name, never)
    assert (caught.value.directory, caught.value.name) == ("/run", name)


def test_a_name_that_never_fits_is_refused() -> None:
    with pytest.raises(EndpointError, match="too long"):
        endpoint("/run", "n" * 120, seven)


def test_a_relative_directory_is_refused() -> None:
    with pytest.raises(EndpointError, match="absolute"):
        endpoint("run", "a.sock", never)
