"""The rules of the admin API, one module a resource: plain values in, plain values out, no HTTP and no SQL. Each change is
written together with its audit row, in one transaction, and is in force when the function returns.
"""
