"""Python stubs of the files in ``proto/rescorer``; ``make stubs`` writes them, a test compares them."""
