"""The stubs of the admin door."""
