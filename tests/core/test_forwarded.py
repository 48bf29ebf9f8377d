"""Behind a proxy, under a prefix; and only for the hosts that the settings name."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from flask import Flask, redirect, url_for
from flask.testing import FlaskClient
from playwright.sync_api import Browser

from app.settings import Settings, SettingsError
from keeper.certificates import new_authority, new_certificate
from tests import items
from tests.browser import chromium, visit
from tests.conftest import Database, service_settings
from tests.mount import write_certificate
from tests.pages import blocks
from tools.service import Service, free_port, listens

Start = Callable[[Settings], Flask]

PREFIX = {"X-Forwarded-Prefix": "/shop"}
LINK = re.compile(r'(?:src|href|data-[\w-]+)="([^"]*/[^"]*)"')

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/bin")

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"

#: Around the block of that page; nothing stands outside the folder that it runs in.
CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate tls.crt;
        ssl_certificate_key tls.key;
        {locations}
    }}
}}
"""


@pytest.fixture
def behind(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FlaskClient]:
    """Return a function that starts a service behind some proxies, and returns its client."""
    # caplog has its handler there
    monkeypatch.setattr("app.core.logs.configure", lambda level: None)

    def behind(proxies: int = 1, *hosts: str) -> FlaskClient:
        app = start(replace(settings, trusted_proxies=proxies, trusted_hosts=hosts))
        app.add_url_rule("/moved/<path:name>", view_func=lambda name: redirect(url_for("moved")))
        app.add_url_rule("/moved/", "moved", view_func=lambda: "here")
        return app.test_client()

    return behind


def links(client: FlaskClient, path: str, headers: dict[str, str]) -> list[str]:
    """Return every link of a page, in any attribute."""
    found = LINK.findall(client.get(path, headers={"Accept": "text/html", **headers}).text)
    assert found
    return found


@pytest.mark.parametrize("path", ["/", "/nowhere"])
@pytest.mark.parametrize("prefix", ["/shop", "/shop/", "/a/b-c.d~e_f", "/"])
def test_every_link_has_the_prefix(
    behind: Callable[..., FlaskClient], path: str, prefix: str
) -> None:
    client = behind()
    own = prefix.rstrip("/")
    found = links(client, path, {"X-Forwarded-Prefix": prefix})
    assert [link for link in found if not link.startswith(f"{own}/")] == []
    parts = {re.split("[/?]", link.removeprefix(own))[1] for link in found}
    assert parts >= ({"static", "panel", "status"} if path == "/" else {"static", ""})


def test_the_next_page_has_the_prefix(
    behind: Callable[..., FlaskClient], database: Database
) -> None:
    database.execute("INSERT INTO test_items (text) SELECT 'an item' FROM generate_series(1, 21)")
    client = behind()
    answer = client.get(items.PATH, headers=PREFIX)
    assert answer.get_json()["next"].startswith("/shop/api/")


def test_redirects_have_the_prefix_and_the_proxys_host_and_scheme(
    behind: Callable[..., FlaskClient],
) -> None:
    client = behind()
    proxy = {**PREFIX, "X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "https"}
    answer = client.get("/moved", headers=proxy)
    assert answer.headers["Location"] == "https://shop.example/shop/moved/"
    assert client.get("/moved/away", headers=proxy).headers["Location"] == "/shop/moved/"


def cookie_of(client: FlaskClient, headers: dict[str, str]) -> tuple[str, bool]:
    """Return the path of the session's cookie, and whether it is for HTTPS only."""
    cookie = SimpleCookie(client.get("/", headers=headers).headers["Set-Cookie"])["session"]
    return cookie["path"], bool(cookie["secure"])


@pytest.mark.parametrize(
    ("headers", "path", "is_secure"),
    [
        ({}, "/", False),
        (PREFIX, "/shop", False),
        ({"X-Forwarded-Prefix": "/shop/"}, "/shop", False),
        ({"X-Forwarded-Proto": "https"}, "/", True),
        ({"X-Forwarded-Proto": "http"}, "/", False),
    ],
)
def test_the_cookie_is_for_the_prefix_and_the_scheme_of_the_browser(
    behind: Callable[..., FlaskClient], headers: dict[str, str], path: str, is_secure: bool
) -> None:
    assert cookie_of(behind(), headers) == (path, is_secure)


def test_without_trusted_proxies_their_headers_are_ignored(
    behind: Callable[..., FlaskClient],
) -> None:
    forwarded = {
        "X-Forwarded-Prefix": "//evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-For": "192.0.2.1",
    }
    client = behind(0)
    assert cookie_of(client, forwarded) == ("/", False)
    assert not [link for link in links(client, "/", forwarded) if "evil" in link]
    location = client.get("/moved", headers=forwarded).headers["Location"]
    assert location == "http://localhost/moved/"


def test_of_several_proxies_the_last_ones_count(behind: Callable[..., FlaskClient]) -> None:
    """What a client sends itself stands before what they append."""
    for proxies, expected in ((1, "/near"), (2, "/far"), (4, "/")):
        headers = {"X-Forwarded-Prefix": "/client, /far, /near"}
        assert cookie_of(behind(proxies), headers)[0] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("X-Forwarded-Prefix", value)
            for value in (
                "//evil.example",
                "/\\evil.example",
                "https://evil.example",
                "javascript:alert(1)",
                "shop",
                "/shop//",
                "/shop//more",
                "/shop/..",
                "/./shop",
                "/shop;x=1",
                "/shop?x",
                "/shop#x",
                "/sh\top",
                "/sh op",
                "/<script>",
                "/%2fevil.example",
                "/sh\xf6p",
            )
        ),
        *(("X-Forwarded-Proto", value) for value in ("javascript", "ftp", "https:", "wss")),
        *(
            ("X-Forwarded-Host", value)
            for value in ("evil.example/path", "a b", "user@host", "javascript:x", "[", "a,b")[:5]
        ),
        ("Host", "evil.example/path"),
        ("Host", "a,b"),
    ],
)
def test_what_is_malformed_is_a_400_without_a_link_to_it(
    behind: Callable[..., FlaskClient], caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    client = behind()
    for path in ("/", "/nowhere", "/moved", "/static/style.css"):
        caplog.clear()
        answer = client.get(path, headers={name: value, "Accept": "text/html"})
        assert answer.status_code == 400
        assert LINK.findall(answer.text) == ["/static/icon.svg", "/static/style.css", "/"]
        assert "Location" not in answer.headers
        assert "Set-Cookie" not in answer.headers
        assert "Content-Security-Policy" in answer.headers
        (line,) = caplog.records
        assert "\n" not in line.getMessage()
        assert not line.exc_info
    assert client.get("/api/nowhere", headers={name: value}).status_code == 400
    assert list(client.get("/api/nowhere", headers={name: value}).get_json()) == ["error"]


@pytest.mark.parametrize("host", ["my_service:8080", "[::1]:8080", "127.0.0.1", "LOCALHOST", ""])
def test_any_well_formed_host_is_answered_where_none_is_named(
    behind: Callable[..., FlaskClient], host: str
) -> None:
    assert behind(0).get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop.example", 200),
        ("shop.example:8443", 200),
        ("SHOP.Example", 200),
        ("a.wild.example", 200),
        ("wild.example", 200),
        ("evil.example", 400),
        ("shop.example.evil.example", 400),
        ("evilshop.example", 400),
        ("evilwild.example", 400),
        ("127.0.0.1", 400),
        ("a b", 400),
        ("", 400),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_only_trusted_hosts_are_answered(
    behind: Callable[..., FlaskClient], method: str, host: str, status: int
) -> None:
    client = behind(0, "shop.example", ".wild.example")
    for path in ("/livez", "/", "/static/style.css"):
        with client.open(path, method=method, headers={"Host": host}) as answer:
            assert answer.status_code == status


def test_another_host_gets_an_ordinary_error_and_one_line_in_the_log(
    behind: Callable[..., FlaskClient], caplog: pytest.LogCaptureFixture
) -> None:
    client = behind(0, "shop.example")
    page = client.get("/", headers={"Host": "evil.example", "Accept": "text/html"})
    assert "<h1>400 Bad Request</h1>" in page.text
    assert "Content-Security-Policy" in page.headers
    assert "evil" not in page.text
    (line,) = caplog.records
    assert "'evil.example'" in line.getMessage()
    assert "TRUSTED_HOSTS" in line.getMessage()
    assert not line.exc_info
    assert list(client.get("/api/nowhere", headers={"Host": "evil.example"}).get_json()) == [
        "error"
    ]
    caplog.clear()
    client.get("/", headers={"Host": "e" * 2000})
    assert len(caplog.records[0].getMessage()) < 250


def test_behind_a_proxy_its_host_is_the_one_that_counts(
    behind: Callable[..., FlaskClient],
) -> None:
    client = behind(1, "shop.example")
    for inner, outer, status in (
        ("10.0.0.1", "Shop.example", 200),
        ("shop.example", "evil.example", 400),
        ("shop.example", None, 200),
    ):
        headers = {"Host": inner} | ({"X-Forwarded-Host": outer} if outer else {})
        assert client.get("/livez", headers=headers).status_code == status


@pytest.mark.parametrize(
    "value", ["shop.example:8443", "*", "https://shop.example", "[::1]", "a b"]
)
def test_a_host_that_no_request_can_have_stops_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match="TRUSTED_HOSTS"):
        Settings.from_mapping({"TRUSTED_HOSTS": value})


def test_trusted_hosts_have_no_case() -> None:
    assert Settings.from_mapping({"TRUSTED_HOSTS": "Shop.Example"}).trusted_hosts == (
        "shop.example",
    )


@pytest.fixture(scope="module")
def service(
    database: Database, tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., None]
) -> Iterator[Callable[..., Service]]:
    """Return a function that starts gunicorn with some settings; each is ended."""
    running: list[Service] = []

    def start(**settings: str) -> Service:
        folder = tmp_path_factory.mktemp("service")
        running.append(Service.start(folder / "output", service_settings(database) | settings))
        wait_for(running[-1].listens, "a listening socket")
        return running[-1]

    yield start
    for one in running:
        one.stop()


def ask(port: int, head: str) -> str:
    """Send the head of a request as it stands, and return the answer."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as connection:
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_gunicorn_ignores_what_a_local_client_says_of_proxies(
    service: Callable[..., Service],
) -> None:
    """By default it trusts X-Forwarded-Proto and SCRIPT_NAME of 127.0.0.1."""
    forged = "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\nSCRIPT_NAME: /evil"
    forged += "\r\nX_Forwarded_Prefix: /evil"
    for proxies in ("0", "1"):
        port = service(TRUSTED_PROXIES=proxies).port
        answer = ask(port, f"GET / HTTP/1.1\r\nHost: localhost\r\n{forged}")
        assert answer.startswith("HTTP/1.1 200")
        assert "Path=/\r\n" in answer or "Path=/;" in answer
        assert "evil" not in answer
        assert ("Secure" in answer) is (proxies == "1")


@pytest.fixture(scope="module")
def of_one_host(service: Callable[..., Service]) -> Service:
    return service(TRUSTED_HOSTS="shop.example")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /livez HTTP/1.1\r\nHost: shop.example", 200),
        ("GET /livez HTTP/1.1\r\nHost: evil.example", 400),
        ("HEAD / HTTP/1.1\r\nHost: evil.example", 400),
        ("GET http://shop.example/livez HTTP/1.1\r\nHost: evil.example", 200),
        ("GET http://evil.example/livez HTTP/1.1\r\nHost: shop.example", 400),
        ("GET HTTP://SHOP.example:8080/livez HTTP/1.1\r\nHost: shop.example", 200),
        ("GET http://shop.example@evil.example/livez HTTP/1.1\r\nHost: shop.example", 400),
        ("GET /livez?http://evil.example/ HTTP/1.1\r\nHost: shop.example", 200),
        ("GET /livez HTTP/1.1\r\nHost: shop.example\r\nHost: evil.example", 400),
        ("GET /livez HTTP/1.0", 400),
    ],
)
def test_the_host_of_a_target_counts_for_more_than_the_header(
    of_one_host: Service, head: str, status: int
) -> None:
    assert ask(of_one_host.port, head).split()[1] == str(status)
    assert "Traceback" not in of_one_host.output.read_text()


@pytest.fixture(scope="module")
def proxied(
    service: Callable[..., Service],
    tmp_path_factory: pytest.TempPathFactory,
    wait_for: Callable[..., None],
) -> Iterator[str]:
    """Serve behind the nginx of the page, which ends TLS, and return the address."""
    if not NGINX:
        pytest.skip("nginx is not installed (on Debian: apt-get install nginx)")
    if not PAGE.exists():
        pytest.skip(f"{PAGE.name} is gone, which has nginx's configuration")
    (block,) = blocks(str(PAGE), "nginx")
    pod, port = service(TRUSTED_PROXIES="1", TRUSTED_HOSTS="127.0.0.1"), free_port()
    locations = block.text.replace("127.0.0.1:8080", f"127.0.0.1:{pod.port}")
    assert locations != block.text
    folder = tmp_path_factory.mktemp("nginx")
    write_certificate(folder, new_certificate(new_authority("test CA"), ["localhost"]))
    (folder / "nginx.conf").write_text(CONFIGURATION.format(port=port, locations=locations))
    command = [NGINX, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    with (folder / "output").open("wb") as output:
        nginx = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(lambda: listens(port) or nginx.poll() is not None, "nginx")
        assert nginx.poll() is None, (folder / "output").read_text()
        yield f"https://127.0.0.1:{port}/shop/"
    finally:
        nginx.terminate()
        nginx.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_the_page_follows_its_panel_behind_nginx(browser: Browser, proxied: str) -> None:
    with visit(browser, proxied, ignore_https_errors=True) as opened:
        page = opened.page
        # it asks for itself every second
        with page.expect_response(f"{proxied}panel") as answer:
            pass
        assert answer.value.status == 200
        (cookie,) = page.context.cookies()
        assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == ("/shop", True, True)
        # what is asked outside the prefix is a complaint, too
        assert opened.complaints == []
        page.goto(f"{proxied}nowhere")
        page.get_by_role("link", name="Back to the page").click()
        page.goto(proxied.rstrip("/"))
        assert page.url == proxied
