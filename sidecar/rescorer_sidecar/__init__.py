"""The sidecar: a gRPC server that scores query-document pairs with a cross-encoder."""
