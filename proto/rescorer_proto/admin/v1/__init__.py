"""Python stubs of ``proto/rescorer/admin/v1/admin.proto``; ``make stubs`` writes them, a test compares them."""
