import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks.web.options import TOKEN_VARIABLE, read_options

SECRET = "s3cret-s3cret"


@pytest.mark.parametrize(
    ("uri", "host", "loopback"),
    [
        ("http://localhost:8080", "127.0.0.1", True),
        ("http://:8080", "127.0.0.1", True),
        ("http://127.0.0.1:8080/", "127.0.0.1", True),
        ("http://[::1]:8080", "::1", True),
        ("http://0.0.0.0:8080", "0.0.0.0", False),
        ("http://[::]:8080", "::", False),
        ("http://192.0.2.7:8080", "192.0.2.7", False),
    ],
)
def test_only_what_says_so_is_reached_from_other_machines_and_then_needs_a_token(uri, host, loopback):
    options = read_options(uri, {})
    assert (options.host, options.port, options.loopback) == (host, 8080, loopback)
    assert bool(options.token) is not loopback
    assert options.token not in repr(options) or loopback


def test_a_token_is_made_up_anew_each_time():
    tokens = {read_options("http://0.0.0.0:8080", {}).token for _ in range(20)}
    assert len(tokens) == 20 and min(map(len, tokens)) >= 20


def test_a_given_token_counts_everywhere_and_that_of_the_address_before_that_of_the_environment():
    environment = {TOKEN_VARIABLE: SECRET}
    assert read_options("http://0.0.0.0:8080", environment).token == SECRET
    assert read_options("http://localhost:8080", environment).token == SECRET
    assert read_options("http://0.0.0.0:8080?token=another-one", environment).token == "another-one"


def test_pictures_are_as_asked_for():
    options = read_options("http://localhost:1?fps=5&quality=60&width=640", {})
    assert (options.fps, options.quality, options.width) == (5, 60, 640)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://localhost:8080", "reverse proxy"),
        ("http://localhost", "accepted: http://localhost:8080"),
        ("http://localhost:99999", "accepted: http://localhost:8080"),
        ("http://localhost:8080/page", "accepted"),
        (f"http://user:{SECRET}@localhost:8080", "accepted"),
        (f"http://localhost:8080?tok={SECRET}&token={SECRET}", "unknown option 'tok'"),
        (f"http://localhost:8080?token={SECRET}&token={SECRET}", "an option twice"),
        ("http://localhost:8080?token=", "8 to 200"),
        ("http://localhost:8080?token=a%20b%20c%20d%20e", "8 to 200"),
        ("http://localhost:8080?fps=0", "fps is a number from 0.1 to 120"),
        ("http://localhost:8080?fps=nan", "fps is a number"),
        ("http://localhost:8080?quality=x", "quality is a number from 1 to 100"),
        ("http://no-such-host.invalid:8080", "does not know the host"),
    ],
)
def test_another_form_is_refused_with_what_is_accepted_and_without_the_secret(uri, message):
    with pytest.raises(SinkError, match=message) as error:
        read_options(uri, {})
    assert SECRET not in str(error.value).replace("tok=***", "")


def test_a_token_of_the_environment_that_is_none_is_refused():
    with pytest.raises(SinkError, match=TOKEN_VARIABLE):
        read_options("http://0.0.0.0:8080", {TOKEN_VARIABLE: "short"})
