"""rescorer: cross-encoder rescoring for the OpenSearch or Elasticsearch you already run.

The client of an engine is imported from the room named after it, so that this package needs neither:

    from rescorer.opensearch import OpenSearch, AsyncOpenSearch
"""

__version__ = "0.1.0"
