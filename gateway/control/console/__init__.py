"""The console: pages for people, beside the admin API and over the same services.

`render` makes pages out of `templates/`, `assets` serves `static/`, `charts` draws plots as SVG. Pages only read. Every change
goes from a page's form to `/admin/v1/…` as JSON, so whatever the console does, the REST API does.
"""
