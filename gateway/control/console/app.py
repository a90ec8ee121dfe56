"""The console's addresses."""

from fastapi import APIRouter

from gateway.control.console import (
    accounts,
    assets,
    audit,
    grants,
    home,
    keys,
    limits,
    members,
    models,
    people,
    profile,
    sign_in,
    upstreams,
    usage,
    workspaces,
)

PREFIX = "/console"


def console_router() -> APIRouter:
    """Every page and file of the console. None of it is in the description of the admin API."""
    router = APIRouter(include_in_schema=False)
    for module in (
        assets,
        home,
        sign_in,
        profile,
        grants,
        keys,
        limits,
        models,
        upstreams,
        usage,
        workspaces,
        accounts,
        audit,
        members,
        people,
    ):
        router.include_router(module.router)
    return router
