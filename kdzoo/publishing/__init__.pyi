from .publisher import publish as publish
