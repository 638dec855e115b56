"""The pages, made on the server by Jinja2; htmx brings parts of them up to date."""
