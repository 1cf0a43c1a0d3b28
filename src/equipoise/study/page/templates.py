"""The templates of what is shown in HTML, where all that is filled in is escaped."""

from __future__ import annotations

import jinja2


def template(name: str) -> jinja2.Template:
    """The template of this name, in this folder."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("equipoise.study.page", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
