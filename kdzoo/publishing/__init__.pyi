from .exporter import Export as Export
from .exporter import export_model as export_model
from .publisher import publish as publish
