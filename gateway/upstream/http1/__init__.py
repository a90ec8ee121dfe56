"""Our own HTTP/1.1 client: one request at a time on a connection, connections kept and used again.

`request` puts a request into bytes, `connect` opens a connection to a name with several addresses, `connection` is the protocol
on it with the reply that is being read, and `pool` keeps the connections of all upstreams within their bounds.

It does what RFC 9112 asks of a client and nothing besides: no redirects, cookies, decoding, or headers of its own. A reply whose
end could be read in two ways breaks its connection. Deadlines are looked after by one task for all connections, so that a call
starts no timer of its own.
"""
