"""The admin API's addresses, one module a resource: each reads the request, asks its service, and shows the answer."""
