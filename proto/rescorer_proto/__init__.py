"""Python stubs of ``proto/rescorer/v1/rescorer.proto``; ``make stubs`` writes them, a test compares them."""
