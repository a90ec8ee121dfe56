"""The console's addresses."""

from fastapi import APIRouter

from gateway.control.console import assets, grants, home, keys, profile, sign_in

PREFIX = "/console"


def console_router() -> APIRouter:
    """Every page and file of the console. None of it is in the description of the admin API."""
    router = APIRouter(include_in_schema=False)
    for module in (assets, home, sign_in, profile, grants, keys):
        router.include_router(module.router)
    return router
