"""Where Redis is: URLs, and the general-purpose client."""

import pytest
from redis.asyncio import Redis, RedisCluster

from gateway.storage.redis.address import Address
from tests.support.redis_server import RedisServer


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", Address("single", (("cache", 6379),))),
        ("redis://10.0.0.1:7000/3", Address("single", (("10.0.0.1", 7000),), db=3)),
        ("redis://cache?db=2", Address("single", (("cache", 6379),), db=2)),
        ("redis://[::1]:7000", Address("single", (("::1", 7000),))),
        ("redis://:p%40ss%3Aw@cache", Address("single", (("cache", 6379),), password="p@ss:w")),
        ("redis://me:pw@cache/", Address("single", (("cache", 6379),), username="me", password="pw")),
        ("rediss://cache:6380", Address("single", (("cache", 6380),), tls=True)),
        (
            "rediss://cache?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            Address(
                "single",
                (("cache", 6379),),
                tls=True,
                tls_options=(("ssl_ca_certs", "/ca.pem"), ("ssl_check_hostname", False)),
            ),
        ),
        ("unix:///run/redis/redis.sock?db=4", Address("single", path="/run/redis/redis.sock", db=4)),
        ("unix://:pw@/run/redis.sock", Address("single", path="/run/redis.sock", password="pw")),
        (
            "redis+sentinel://me:pw@s1:26380,s2/orders/1",
            Address("sentinel", (("s1", 26380), ("s2", 26379)), db=1, username="me", password="pw", master_name="orders"),
        ),
        (
            "rediss+sentinel://s1/orders?sentinel_password=sp",
            Address("sentinel", (("s1", 26379),), tls=True, master_name="orders", sentinel_password="sp"),
        ),
        ("redis+cluster://c1:7000,[2001:db8::2]:7001", Address("cluster", (("c1", 7000), ("2001:db8::2", 7001)))),
        ("rediss+cluster://:pw@c1/0", Address("cluster", (("c1", 6379),), password="pw", tls=True)),
    ],
)
def test_a_url_says_where_redis_is(url: str, expected: Address) -> None:
    """Each kind of URL is read as its documentation says."""
    assert Address.of(url) == expected


@pytest.mark.parametrize(
    ("url", "about"),
    [
        ("cache:6379", "starts with one of redis://"),
        ("http://:secret@cache", "starts with one of redis://"),
        ("redis://", "names a host"),
        ("redis://:secret@:6379", "names a host"),
        ("redis://:secret@cache:port", "host or host:port"),
        ("redis://:secret@cache:70000", "host or host:port"),
        ("redis://:secret@cache:", "from 1 to 65535"),
        ("redis://:secret@cache:0", "from 1 to 65535"),
        ("redis://:secret@a,b", "has one host"),
        ("redis://:secret@cache/one", "number from 0"),
        ("redis://:secret@cache/-1", "number from 0"),
        ("redis://:secret@cache/1?db=2", "one database number"),
        ("redis://:secret@cache/1/2", "one database number"),
        ("redis://:secret@cache?timeout=3", "is not known"),
        ("redis://:secret@cache?ssl_ca_certs=x", "is not known"),
        ("redis://:secret@cache?db", "name=value"),
        ("redis://:se#cret@cache", "%23"),
        ("redis://secret@cache", "needs a password"),
        ("rediss://:secret@cache?ssl_cert_reqs=maybe", "required, optional or none"),
        ("rediss://:secret@cache?ssl_check_hostname=maybe", "true or false"),
        ("unix://:secret@host/run/x.sock", "absolute path"),
        ("unix://:secret@", "absolute path"),
        ("redis+sentinel://:secret@s1,s2", "names the master"),
        ("redis+sentinel://:secret@s1/a/b", "number from 0"),
        ("redis+sentinel://:secret@s1/a/1/2", "names the master"),
        ("redis+cluster://:secret@c1/1", "only database 0"),
        ("redis+cluster://:secret@c1,,c2", "names a host"),
        ("redis://:sec/ret@cache", "%2F"),
        ("redis://:sec?x=ret@cache", "%3F"),
        ("redis://:sec[ret@cache", "%5B"),
        ("redis://me:secret", "host:port"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str, about: str) -> None:
    """A URL that means nothing is refused with what is wrong about it, and its password is not repeated."""
    with pytest.raises(ValueError, match=r"Redis|redis|URL|unix") as refused:
        Address.of(url)
    message = str(refused.value)
    assert about in message
    for secret in ("secret", "se#cret", "sec", "ret@"):
        assert secret not in message
    assert refused.value.__cause__ is None


def test_an_address_is_shown_without_secrets() -> None:
    """Neither form of an address that may reach a log holds a password."""
    address = Address.of("redis+sentinel://me:hidden@s1/orders?sentinel_password=hidden")
    assert str(address) == "redis+sentinel://s1:26379/orders"
    assert "hidden" not in repr(address)


async def test_the_client_of_a_server_works_with_password_and_database() -> None:
    """The general-purpose client signs in and uses the database that the URL names."""
    with RedisServer(requirepass="pass") as server:
        client = Address.of(f"redis://:pass@127.0.0.1:{server.port}/5").client()
        assert isinstance(client, Redis)
        try:
            await client.set("x", "1")
            assert "'db': 5" in str(await client.client_info())
            assert await client.get("x") == b"1"
        finally:
            await client.aclose()


def test_a_cluster_has_a_client_of_its_own_kind() -> None:
    """A cluster's URL makes a client that knows slots."""
    assert isinstance(Address.of("redis+cluster://c1:7000").client(), RedisCluster)
